"""The page of attention: figures that say what they show, foreign text as data."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from tokenizer.foreign_files import learned

from tokkit.analysis.attention import mask_claim, run
from tokkit.analysis.attention.run import KIND, analyze_attention
from tokkit.analysis.section import Section
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.report import attention, page
from tokkit.report import attention_head_figures as of_heads
from tokkit.report import attention_sentence_figures as of_sentence
from tokkit.report.page import render_report
from tokkit.results import Column, Table

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`*"
TOKENIZER = learned("gpt2")
TEXTS = [f"{n} cats chased the dogs of {n + 7} tired people until noon" * 2 for n in range(12)]
ABLATION = Table(
    "Without",
    tuple(Column(n, n) for n in ("measure", "heads", "sets", "change", "low", "high", "p")),
    (
        ("loss on the second copy", "2 found", 1, 3.0, 2.5, 3.5, 0.001),
        ("loss on the second copy", "2 others", 8, 0.1, 0.0, 0.2, None),
    ),
)


@pytest.fixture(scope="module")
def result():
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size, width=16, layers=2, query_heads=2, context=32
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_claim, "small_models", lambda seed: {})
        patch.setattr(run, "agreement_section", lambda *_, **__: Section({}))
        found = analyze_attention(
            Transformer(config, seed=1).eval(), TOKENIZER, TEXTS, name="small",
            sentence="the cat was",
        )  # fmt: skip
    return dataclasses.replace(found, tables={**found.tables, "ablation": ABLATION})


def test_the_figures(result):
    files = render_report([result])
    drawn = {name.rpartition("-")[2][:-4] for name in files if name.endswith(".png")}
    assert drawn == {
        "pattern", "lines", "distance", "multiples", "vectors", "entropy", "reach", "sinks",
        "previous", "mask", "induction", "ablation",
    }  # fmt: skip
    for name, content in files.items():
        if name.endswith(".svg"):
            ElementTree.fromstring(content)
            assert b"mathdefault" not in content
    html = files["index.html"].decode()
    assert "The last token&#39;s weights" in html or "The last token's weights" in html
    assert page._BUILDERS[KIND] is attention.build


def test_foreign_text_is_data(result):
    values = {name: HOSTILE if isinstance(value, str) else value
              for name, value in result.values.items()}  # fmt: skip
    tables = {
        **result.tables,
        "sentence": _all(result.tables["sentence"], "token"),
        "scores": _all(result.tables["scores"], "token"),
        "ablation": _all(_all(ABLATION, "heads"), "measure"),
    }
    hostile = dataclasses.replace(result, title=HOSTILE, values=values, tables=tables)
    for name, content in render_report([hostile]).items():
        if not name.endswith(".png"):
            assert b"<script>alert" not in content
            assert b"\x1b" not in content


def _all(table, column):
    place = [c.name for c in table.columns].index(column)
    rows = tuple((*row[:place], HOSTILE, *row[place + 1 :]) for row in table.rows)
    return dataclasses.replace(table, rows=rows)


BROKEN = ("words", float("inf"), None, -7, 10**9)


@pytest.mark.parametrize("first", [0, 3])
def test_values_that_do_not_fit_break_no_figure(result, first):
    def broken(count):
        return tuple(BROKEN[(first + at) % len(BROKEN)] for at in range(count))

    tables = {
        name: Table(table.title, table.columns, (broken(len(table.columns)), *table.rows[1:]))
        for name, table in result.tables.items()
    }
    values = dict(zip(result.values, broken(len(result.values)), strict=True))
    render_report([dataclasses.replace(result, tables=tables, values=values)])


def test_nothing_to_draw():
    assert of_sentence.pattern("a", [], [], "h") is None
    assert of_sentence.lines("a", ["x"], [], "h") is None
    assert of_sentence.multiples("a", [], 3, (0, 0)) is None
    assert of_sentence.vectors("a", [], "q", "k", None) is None
    assert of_heads.entropy("a", []) is None
    assert of_heads.previous("a", []) is None
    assert of_heads.mask("a", [], None) is None
    assert of_heads.induction("a", [], None, None) is None
    assert of_heads.ablation("a", []) is None


def test_messages_say_the_numbers():
    words = ["The", "cat", "was"]
    rows = [
        {"query": q, "key": k, "weight": w}
        for q, line in enumerate(([1.0], [0.5, 0.5], [0.1, 0.75, 0.15]))
        for k, w in enumerate(line)
    ]
    found = of_sentence.pattern("a", words, rows, "Layer 0, head 1")
    assert found.message == "Layer 0, head 1: “was” gives 75.0% of its weight to “cat”"
    small = [
        {"layer": 0, "head": 0, "thousandths": "1000; 500 500; 100 750 150"},
        {"layer": 0, "head": 1, "thousandths": "1000; 500 500; 600 250 150"},
    ]
    found = of_sentence.multiples("a", small, 3, (0, 1))
    assert found.message.startswith("In 1 of 2 heads")
    rows = [
        {"place": t, "changed": p, "logit": float(p <= t), "unmasked_logit": 1.0}
        for t in range(3)
        for p in range(3)
    ]
    found = of_heads.mask("a", rows, 3)
    assert found.message.startswith("0 of 3 earlier places move")
    assert found.message.endswith("without the mask 3 do")
    found = of_heads.ablation("a", ABLATION.records())
    assert "3.000 nats a token [2.500, 3.500]; without others: 0.100" in found.message


def test_main_numbers_name_what_was_found(result):
    _, lines = attention.main_numbers(result)
    said = {line[0]: line[1] for line in lines}
    assert said["Sentence"] == "the cat was"
    assert said["Heads"] == "4"
    assert any("No head of this model" in text for text in attention.sentences(result))
