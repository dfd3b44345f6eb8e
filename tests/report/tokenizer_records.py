"""Small records of audits, comparisons and sweeps, of the shape that the library makes."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from typing import Any

from tokkit.results import Column, Result, Table
from tokkit.tokenizer import assemble
from tokkit.tokenizer.audit import audit
from tokkit.tokenizer.compare import compare
from tokkit.tokenizer.counting import count
from tokkit.tokenizer.sweep import sweep

HOSTILE = "<script>alert(1)</script>|*_`\u202e\x1b[31m\x00$x$ [a](http://e)"
HOSTILE_TOKEN = b"<b>\x1b]0;x\x07"


def corpus(folder: Any, groups: tuple[str, ...]) -> Any:
    """A JSONL file of text in these groups, the hostile token among it."""
    path = folder / "corpus.jsonl"
    words = ["straw", "berry", "raw", "12345", "(x == y)", HOSTILE_TOKEN.decode()]
    with path.open("w") as file:
        for number in range(173):
            text = " ".join(words[(number * k) % 6] for k in range(1, 30)) + "\n"
            # Distinct lengths, so that groups differ.
            group = groups[number % len(groups)]
            text = text.upper() if group == groups[-1] else text
            file.write(json.dumps({"text": text * 3, "group": group}) + "\n")
    return path


def hostile_tokenizer(pretokenizer: str = "gpt2", *, more: bool = False) -> Any:
    """A tokenizer with a token of HTML and terminal commands; with `more`, others in its place."""
    merges = [(b"s", b"t"), (b"a", b"w"), (b"r", b"aw"), (b" ", b"b")]
    if more:
        merges += [(b"e", b"r"), (b"er", b"r")]
        return assemble(merges, pretokenizer=pretokenizer, special_tokens=("<|end|>",))
    grown = HOSTILE_TOKEN[:1]
    for byte in HOSTILE_TOKEN[1:]:
        merges.append((grown, bytes([byte])))
        grown += bytes([byte])
    return assemble(merges, pretokenizer=pretokenizer, special_tokens=("<|end|>",))


@cache
def all_results(folder: Any) -> dict[str, Result]:
    """One result of each kind, with hostile names of tokenizers and groups."""
    table = count([corpus(folder, (HOSTILE, "plain"))], group_field="group")
    one, two = hostile_tokenizer(), hostile_tokenizer("o200k", more=True)
    named = {HOSTILE: one, "second": two}
    return {
        "audit": audit(named, table, words={"straw": 3, "berry": 2}, resamples=60),
        "compare": compare(named, table, text=HOSTILE, resamples=60),
        "sweep": sweep(table, sizes=[257, 263, 271], pretokenizers=["gpt2", "chars"], resamples=60),
    }


def without_numbers(result: Result) -> Result:
    """The record with every measured number null, as where nothing could be computed."""
    kept = {"length", "rank", "digits", "vocab_size", "k"}
    tables = {}
    for name, table in result.tables.items():
        rows = tuple(
            tuple(
                value if isinstance(value, str) or column.name in kept else None
                for value, column in zip(row, table.columns, strict=True)
            )
            for row in table.rows
        )
        tables[name] = dataclasses.replace(table, rows=rows)
    return dataclasses.replace(result, tables=tables)


def metric_table(*rows: tuple[Any, ...]) -> Table:
    """A table of metrics: rows are tokenizer, metric, unit, average, value, low, high, blocks."""
    names = ("tokenizer", "metric", "unit", "average", "value", "low", "high", "blocks")
    columns = (*(Column(name, name) for name in names), Column("denominator", "denominator"))
    return Table("Metrics", columns, tuple((*row, "tokens") for row in rows))
