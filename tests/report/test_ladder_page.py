"""The page of the ladder: figures from the record alone, and hostile names."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from experiments.ladder_records import PLANTED, plant, prepare_tiny

from tokkit.experiments.ladder_findings import find
from tokkit.report import ladder
from tokkit.report import ladder_figures as figures
from tokkit.report.page import render_report
from tokkit.results import Result, Table, read_result, write_result

HOSTILE = "<script>alert(1)</script>\x1b[31m|`*"
STEPS = ("pre-norm", "rmsnorm", "rotary", "swiglu", "grouped", "mixture")
BITS = {f"{way}-{step}": 2.3 for way in ("to", "only") for step in STEPS} | {
    "2017": 2.4, "null": 2.4, "only-grouped": 2.6,
}  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = prepare_tiny(tmp_path_factory.mktemp("planted"))
    plant(folder, bits=BITS, lost={("2017", 1e-2)}, diverged={("to-pre-norm", 0.4)})
    return Result(
        kind="experiment.ladder",
        title="What does each step of the modern stack bring?",
        settings={"seeds": list(range(8)), "profile": "full"},
        provenance={},
        **find(folder, PLANTED),
    )


@pytest.fixture(scope="module")
def run(result):
    return ladder.build(result, "ladder")


def test_the_page_has_every_figure_and_section(run):
    assert [figure.name for figure in run.figures()] == [
        "ladder-losses", "ladder-steps", "ladder-rates", "ladder-speed", "ladder-memory",
    ]  # fmt: skip
    assert {"losses", "each", "stability", "costs", "steps", "evidence", "numbers"} <= {
        section.id for section in run.sections
    }
    for figure in run.figures():
        ElementTree.fromstring(figure.svg)


def test_messages_say_the_numbers(run):
    said = {f.name: f.message for f in run.figures()}
    assert said["ladder-losses"].startswith(
        "From the transformer of 2017 to today's dense stack: 2."
    )
    assert (
        "trains up to a learning rate of 0.004, today's dense stack up to 0.4"
        in (said["ladder-rates"])
    )
    assert said["ladder-steps"].startswith(
        "On the chain 1 of 6 steps shown to help, 0 to cost; alone 4 of 6"
    )
    assert "50.0% of 2017's cache" in said["ladder-memory"]


def test_the_page_is_registered_and_repeats(result, tmp_path):
    write_result(result, tmp_path)
    files = render_report([read_result(tmp_path)])
    assert files == render_report([result])
    assert any("ladder-losses" in name or name.endswith("losses.png") for name in files)


def test_nothing_to_draw_is_no_figure():
    assert figures.losses("x", [], 2.0) is None
    assert figures.steps("x", [], []) is None
    assert figures.rates("x", [], [], 2.0) is None
    assert figures.speed("x", []) is None
    assert figures.memory("x", []) is None


def test_parts_that_are_absent_are_named(result):
    tables = {name: table for name, table in result.tables.items() if name != "costs"}
    run = ladder.build(dataclasses.replace(result, tables=tables), "ladder")
    said = " ".join(block.text for block in run.opening if hasattr(block, "text"))
    assert "Not in this record: costs." in said
    assert "ladder-speed" not in [figure.name for figure in run.figures()]


@pytest.mark.parametrize("broken", [None, HOSTILE, float("inf"), -1.0])
def test_foreign_and_broken_values_break_no_figure(result, broken):
    tables = {
        name: Table(table.title, table.columns, (tuple(broken for _ in table.columns), *table.rows))
        for name, table in result.tables.items()
    }
    values = dict.fromkeys(result.values, broken)
    for values_ in (values, result.values):
        run = ladder.build(dataclasses.replace(result, tables=tables, values=values_), "ladder")
        assert all("<script" not in figure.svg for figure in run.figures())
