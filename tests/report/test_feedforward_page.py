"""The page of the feed-forward layers: figures that say what they show, foreign text as data."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from analysis.feedforward_planted import (
    CATEGORIES,
    TOKENIZER,
    planted_model,
    small_model,
    texts,
)

from tokkit.analysis.feedforward.run import analyze_feedforward
from tokkit.report import feedforward_figures as figures
from tokkit.report.page import render_report
from tokkit.results import Table, read_result, write_result

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`*"


@pytest.fixture(scope="module")
def planted():
    return analyze_feedforward(
        planted_model(), TOKENIZER, texts(), lists=CATEGORIES, name="planted"
    ).result


@pytest.fixture(scope="module")
def mixture():
    model = small_model(experts=5, experts_per_token=1, expert_width=11)
    return analyze_feedforward(model, TOKENIZER, texts(), lists=CATEGORIES).result


def drawn(files):
    return {name.rpartition("-")[2][:-4] for name in files if name.endswith(".png")}


def test_each_kind_has_its_figures(planted, mixture):
    files = render_report([planted])
    assert drawn(files) == {"shares", "agreement", "gates", "concepts", "clamped", "across"}
    for name, content in files.items():
        if name.endswith(".svg"):
            ElementTree.fromstring(content)
            assert b"mathdefault" not in content
    html = files["index.html"].decode()
    assert "No layer is a mixture of experts" in html
    assert "answers to cap" in html
    assert "drawn by chance" in html
    assert drawn(render_report([mixture])) == {"shares", "loads"}


def test_the_same_result_gives_the_same_page(planted, tmp_path):
    write_result(planted, tmp_path)
    assert render_report([read_result(tmp_path)]) == render_report([planted])


def test_foreign_text_is_data(planted):
    tables = {
        name: dataclasses.replace(
            table,
            rows=tuple(
                tuple(
                    HOSTILE if isinstance(value, str) and value != "high" else value
                    for value in row
                )
                for row in table.rows
            ),
        )
        for name, table in planted.tables.items()
    }
    hostile = dataclasses.replace(
        planted, title=HOSTILE, settings={**planted.settings, "text": HOSTILE}, tables=tables
    )
    for name, content in render_report([hostile]).items():
        if not name.endswith(".png"):
            assert b"<script>alert" not in content
            assert b"\x1b" not in content


@pytest.mark.parametrize("broken", ["words", float("inf")])
def test_values_that_are_no_numbers_break_no_figure(planted, mixture, broken):
    for result in (planted, mixture):
        tables = {
            name: Table(
                table.title, table.columns, (tuple(broken for _ in table.columns), *table.rows[1:])
            )
            for name, table in result.tables.items()
        }
        values = dict.fromkeys(result.values, broken)
        render_report([dataclasses.replace(result, tables=tables, values=values)])


def test_nothing_to_draw():
    assert figures.shares("a", [], []) is None
    assert figures.agreement("a", []) is None
    assert figures.gates("a", []) is None
    assert figures.found("a", []) is None
    assert figures.clamped("a", [{"dose": "zero", "effect": 1.0, "control": 0.0}]) is None
    assert figures.across("a", [{"category": "x", "words": "x", "effect": 1.0}]) is None
    assert figures.loads("a", []) is None


def test_messages_say_the_numbers():
    rows = [
        {"layer": 0, "expert": n, "load": load, "even": 0.25}
        for n, load in enumerate((0.75, 0.25, 0, 0))
    ]
    found = figures.loads("a", rows)
    assert found.message == (
        "The busiest expert gets 75.0% of the choices, even would be 25.0%; 2 of 4 experts get none"
    )
    rows = [
        {"category": n, "dose": "high", "effect": e, "effect_low": e - 0.1, "effect_high": e + 0.1,
         "control": 0.0, "beyond_low": 0.2}
        for n, e in (("a", 1.0), ("b", -1.0))
    ]  # fmt: skip
    assert "in 2 of 2 cases (raised in 1, lowered in 1)" in figures.clamped("a", rows).message
