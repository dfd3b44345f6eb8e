"""The page of a sweep over vocabulary sizes and pre-tokenizers."""

from __future__ import annotations

from tokkit.report import formatting, generic, sweep_figures
from tokkit.report.arms import mapping, records
from tokkit.report.blocks import Run, Text, grid_of
from tokkit.results import Result

KIND = "tokenizer.sweep"
_COLUMNS = ("pretokenizer", "vocab_size", "tokens", "bytes_per_token", "pareto")


def build(result: Result, run_id: str) -> Run:
    """The page of one sweep."""
    rows = records(result, "sweep", _COLUMNS)
    corpus = mapping(result.values.get("corpus"))
    sections = (
        generic.section(
            "front",
            "Compression against size",
            (
                sweep_figures.front(f"{run_id}-front", rows, _where(result)),
                sweep_figures.differences(f"{run_id}-differences", rows),
            ),
        ),
        generic.section(
            "costs", "What size costs", (sweep_figures.costs(f"{run_id}-costs", rows),)
        ),
        generic.section(
            "numbers",
            "All numbers",
            tuple(
                grid_of(table, folded=name != "sweep")
                for name, table in result.tables.items()
                if table.rows
            ),
        ),
        *generic.origin_sections(result, corpus),
    )
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        tuple(Text(text, lead=place == 0) for place, text in enumerate(sentences(result))),
        tuple(part for part in sections if part.blocks),
    )


def _where(result: Result) -> str:
    where = mapping(result.values.get("corpus")).get("measured_on")
    return formatting.visible(str(where or "the corpus"))


def sentences(result: Result) -> list[str]:
    """What was measured on which text, in words."""
    corpus = mapping(result.values.get("corpus"))
    rows = records(result, "sweep", _COLUMNS)
    front = [row for row in rows if row["pareto"]]
    said = []
    if rows:
        said.append(
            f"Of {formatting.plural(len(rows), 'vocabulary').replace('ys', 'ies')} "
            f"{len(front)} are on the front: no other compresses better with fewer parameters."
        )
    measured, trained = (
        formatting.number(corpus.get(name)) for name in ("bytes_measured", "bytes_trained_on")
    )
    if corpus.get("why_not_held_out"):
        said.append(
            f"Measured on the {measured} bytes that were trained on, which flatters large "
            f"vocabularies: {corpus['why_not_held_out']}."
        )
    elif corpus:
        said.append(f"Trained on {trained} bytes and measured on {measured} held-out ones.")
    return said


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each vocabulary, as text."""
    headings = [
        "Pre-tokenizer", "Tokens", "Bytes a token", "Trained on", "Used (%)", "Rényi (%)",
        "Gini (%)", "Input embedding", "On the front",
    ]  # fmt: skip
    lines = []
    for row in records(result, "sweep", _COLUMNS):
        bounds = formatting.interval(row.get("low"), row.get("high"))
        value = formatting.number(row["bytes_per_token"])
        lines.append(
            [
                formatting.visible(str(row["pretokenizer"])),
                formatting.number(row["tokens"]),
                value if bounds == formatting.MISSING else f"{value} {bounds}",
                formatting.number(row.get("trained_bytes_per_token")),
                *(
                    formatting.number(row.get(name), "proportion")
                    for name in ("vocabulary_used", "renyi_efficiency", "gini")
                ),
                formatting.number(row.get("input_parameters")),
                "yes" if row["pareto"] else "no",
            ]
        )
    return headings, lines
