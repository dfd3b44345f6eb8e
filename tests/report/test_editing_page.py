"""The page of one edit: figures that say what they show, foreign text as data."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from analysis.planted_facts import WORDINGS, WORDS, sentences, taught

from tokkit.analysis.editing.request import EditRequest
from tokkit.analysis.editing.run import KIND, Plan, edit_fact
from tokkit.analysis.editing.tracing import TraceSettings
from tokkit.report import editing, editing_figures
from tokkit.report.page import render_report
from tokkit.results import Table, read_result, write_result

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`*"
FIGURES = {"target", "neighbours", "residual", "feedforward", "attention", "lines", "sweep"}


@pytest.fixture(scope="module")
def result():
    plan = Plan(
        tokens=400, paraphrases=WORDINGS[1:], neighbours=("the Tower Cor is in",),
        trace=TraceSettings(draws=3, window=1),
    )  # fmt: skip
    texts = [f"{text}. {text}. {text}" for text in sentences()] * 3
    request = EditRequest("Tower Anu", WORDINGS[0], "Paris")
    return edit_fact(taught(), WORDS, request, texts, plan, name="planted").result


def drawn(files):
    return {name.rpartition("-")[2][:-4] for name in files if name.endswith(".png")}


def test_every_figure_is_drawn_and_says_what_it_shows(result):
    assert result.kind == KIND == editing.KIND
    files = render_report([result])
    assert drawn(files) == FIGURES
    for name, content in files.items():
        if name.endswith(".svg"):
            ElementTree.fromstring(content)
    html = files["index.html"].decode()
    assert "“Paris” is the likelier answer after 3 of 3 prompts" in html
    assert "brings the answer back to 9" in html
    assert "at “Anu” (layer 0)" in html
    assert "The edit is best at layer 0, of 3 layers tried one by one" in html
    assert "the model said “Rome" in html


def test_the_record_on_disk_gives_the_same_page(result, tmp_path):
    write_result(result, tmp_path)
    again = render_report([read_result(tmp_path)])
    assert again["index.html"] == render_report([result])["index.html"]
    assert (tmp_path / "result.json").stat().st_size < 1 << 20


def test_foreign_text_is_data(result):
    tables = {
        name: Table(
            table.title,
            table.columns,
            tuple(
                tuple(HOSTILE if isinstance(value, str) and column.name in ("text", "said_before",
                      "said_after", "answer") else value
                      for value, column in zip(row, table.columns, strict=True))
                for row in table.rows
            ),
        )
        for name, table in result.tables.items()
    }  # fmt: skip
    settings = {**result.settings, "prompt": HOSTILE, "subject": HOSTILE, "target": HOSTILE}
    values = {**result.values, "trace_answer": HOSTILE, "present_answer": HOSTILE}
    hostile = dataclasses.replace(
        result, tables=tables, settings=settings, values=values, title=HOSTILE
    )
    files = render_report([hostile])
    html = files["index.html"].decode()
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert drawn(files) == FIGURES


def test_what_is_not_there_is_not_drawn(result):
    bare = dataclasses.replace(result, tables={}, values={"layer": 3})
    files = render_report([bare])
    assert drawn(files) == set()
    few = dict(result.tables)
    few["trace"] = dataclasses.replace(few["trace"], rows=few["trace"].rows[:-1])
    assert "lines" in drawn(render_report([dataclasses.replace(result, tables=few)]))
    assert editing_figures.trace("a", "residual", [], [], {}) is None
    assert editing_figures.trace_lines("a", [], [], {}) is None
    assert editing_figures.target("a", [], "x") is None
    assert editing_figures.neighbours("a", []) is None
    assert editing_figures.sweep("a", []) is None


def test_terminal_lines(result):
    headings, lines = editing.prompt_lines(result)
    assert len(lines) == 4
    assert all(len(line) == len(headings) for line in lines)
    assert ["Layer that was edited", "0"] in editing.main_numbers(result)[1]
