"""The page of the positions experiment: figures from the record alone, and hostile names."""

import dataclasses

import pytest
from experiments.position_records import PLANTED, plant, prepare_tiny

from tokkit.experiments.position_findings import find
from tokkit.report import position_scheme_figures as figures
from tokkit.report import position_schemes
from tokkit.results import Result, Table

HOSTILE = "<script>alert(1)</script>\x1b[31m|`*"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    config = dataclasses.replace(PLANTED, seeds=2)
    prepare_tiny(folder, config)
    plant(folder, config, order={"none": 0.6}, change={"rotary": 0.5})
    return Result(
        kind="experiment.positions",
        title="How does a transformer know order?",
        settings={"seeds": [0, 1], "profile": "quick"},
        provenance={},
        **find(folder, config),
    )


def test_the_page_has_every_figure_and_section(result):
    run = position_schemes.build(result, "positions")
    assert [figure.name for figure in run.figures()] == [
        "positions-tasks",
        "positions-gains",
        "positions-lengths",
        "positions-places",
        "positions-pairs",
        "positions-order-lengths",
    ]
    assert {"schemes", "order", "text", "beyond", "evidence", "numbers"} <= {
        section.id for section in run.sections
    }


def test_a_figure_says_what_cannot_be_asked(result):
    figure = figures.lengths("x", result.tables["text_lengths"].records())
    assert "learned cannot be asked" in figure.caption
    assert "At 4 times the trained length" in figure.message


def test_the_same_record_draws_the_same(result):
    rows = result.tables["order"].records()
    one, two = (figures.tasks("x", rows) for _ in range(2))
    assert one.svg == two.svg
    assert one.png == two.png


def test_nothing_to_draw_is_no_figure():
    for draw in (figures.lengths, figures.order_lengths, figures.tasks, figures.gains,
                 figures.pairs, figures.curves):  # fmt: skip
        assert draw("x", []) is None
    assert figures.places("x", [], 8.0) is None


def test_parts_that_are_absent_are_named(result):
    tables = {name: table for name, table in result.tables.items() if name != "text_pairs"}
    run = position_schemes.build(dataclasses.replace(result, tables=tables), "positions")
    said = " ".join(block.text for block in run.opening if hasattr(block, "text"))
    assert "Not in this record: text_pairs." in said
    assert "positions-pairs" not in [figure.name for figure in run.figures()]


def test_foreign_names_and_missing_numbers_are_drawn_harmlessly(result):
    tables = {}
    for name, table in result.tables.items():
        rows = tuple(
            tuple(
                HOSTILE if value == "rotary" else None if place % 3 == 0 and value == 0.5 else value
                for value in row
            )
            for place, row in enumerate(table.rows)
        )
        tables[name] = Table(table.title, table.columns, rows)
    run = position_schemes.build(dataclasses.replace(result, tables=tables), "positions")
    assert all("<script" not in figure.svg for figure in run.figures())
