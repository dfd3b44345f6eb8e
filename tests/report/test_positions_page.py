"""The page of positions: figures that say what they show, foreign text as data."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from tokenizer.foreign_files import learned

from tokkit.analysis.positions.run import KIND, analyze_positions, analyze_scheme
from tokkit.model.config import POSITIONS, ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.report import page, position_figures, position_heat_figures, positions
from tokkit.report.page import render_report
from tokkit.results import Table, read_result, write_result

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`*"
TOKENIZER = learned("gpt2")
TEXTS = [f"{n} cats chased the dogs of {n + 7} tired people until noon" * 3 for n in range(14)]
COMMON = {"loss", "shuffled", "distance", "reach", "sinks"}
OWN = {
    "rope": {"wavelengths", "rounding", "bands"},
    "learned": {"alike", "power"},
    "sinusoidal": {"alike", "power"},
    "alibi": {"slopes"},
    "none": set(),
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(page._BUILDERS, KIND, positions.build)


@pytest.fixture(scope="module")
def results():
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size, width=16, layers=2, query_heads=2, context=32
    )
    return {
        scheme: analyze_positions(
            Transformer(dataclasses.replace(config, positions=scheme), seed=1).eval(),
            TOKENIZER, TEXTS, name="small", about={"seed": 2},
        )
        for scheme in POSITIONS
    }  # fmt: skip


@pytest.mark.parametrize("scheme", POSITIONS)
def test_each_scheme_has_its_figures(results, scheme):
    files = render_report([results[scheme]])
    drawn = {name.rpartition("-")[2][:-4] for name in files if name.endswith(".png")}
    assert drawn == COMMON | OWN[scheme]
    for name, content in files.items():
        if name.endswith(".svg"):
            ElementTree.fromstring(content)
            assert b"mathdefault" not in content
    html = files["index.html"].decode()
    assert "Loss by position" in html
    assert "✓ fails" in html
    assert "windows of 32 tokens were read" in html


def test_the_same_result_gives_the_same_page(results, tmp_path):
    write_result(results["rope"], tmp_path)
    assert render_report([read_result(tmp_path)]) == render_report([results["rope"]])


def test_a_scheme_without_weights():
    config = ModelConfig(vocab_size=9, width=8, layers=1, query_heads=2, context=40)
    html = render_report([analyze_scheme(config, name="plain")])["index.html"].decode()
    assert "Settings alone, no weights" in html
    assert "1 of 2 rotary pairs never complete a turn within 40 tokens" in html
    assert "How far the heads look" not in html


def test_foreign_text_is_data(results):
    result = results["rope"]
    hostile = dataclasses.replace(
        result,
        title=HOSTILE,
        values={**result.values, "intervals_over": HOSTILE, "scheme": HOSTILE},
        tables={**result.tables, "frequencies": _all(result.tables["frequencies"], "layers")},
    )
    for name, content in render_report([hostile]).items():
        if not name.endswith(".png"):
            assert b"<script>alert" not in content
            assert b"\x1b" not in content


def _all(table, column):
    place = [c.name for c in table.columns].index(column)
    rows = tuple((*row[:place], HOSTILE, *row[place + 1 :]) for row in table.rows)
    return dataclasses.replace(table, rows=rows)


@pytest.mark.parametrize("broken", ["words", float("inf")])
def test_values_that_are_no_numbers_break_no_figure(results, broken):
    for result in (results["rope"], results["learned"]):
        tables = {
            name: Table(
                table.title, table.columns, (tuple(broken for _ in table.columns), *table.rows[1:])
            )
            for name, table in result.tables.items()
        }
        values = dict.fromkeys(result.values, broken)
        render_report([dataclasses.replace(result, tables=tables, values=values)])


def test_nothing_to_draw():
    plain, heat = position_figures, position_heat_figures
    assert plain.wavelengths("a", [], 10) is None
    assert plain.slopes("a", []) is None
    assert plain.rounding("a", [{"way": "other", "position": 3, "deviation": 0.1}]) is None
    assert plain.loss_by_position("a", []) is None
    assert plain.shuffled("a", [{"window": 1, "more": 0.0}]) is None
    assert plain.power("a", [], periodic=None, p=None) is None
    assert heat.alike("a", [{"position": 0, "other": 0, "cosine": 1.0}]) is None
    assert heat.by_distance("a", []) is None
    assert heat.bands("a", []) is None
    assert heat.reaches("a", []) is None
    assert heat.sinks("a", []) is None


def test_messages_say_the_numbers():
    rows = [{"window": 2, "more": 1.5}, {"window": 8, "more": 3.25}]
    found = position_figures.shuffled("a", rows)
    assert found.message.endswith("costs 1.500 nats a token, shuffling everything 3.250")
    rows = [{"layer": 0, "head": n, "sink": s} for n, s in enumerate((0.2, 0.7, 0.6))]
    assert position_heat_figures.sinks("a", rows).message.startswith("2 of 3 heads put more")
