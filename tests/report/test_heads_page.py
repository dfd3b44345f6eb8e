"""The page of the heads experiment: figures from the record alone, gaps, and hostile names."""

import dataclasses

import pytest
from experiments.head_records import TINY

from tokkit.experiments.heads import run_heads
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.report import head_figures as figures
from tokkit.report import heads
from tokkit.report.blocks import Grid
from tokkit.results import Table

HOSTILE = "<script>alert(1)</script>\x1b[31m|`*"
FIGURES = ["reading", "bases", "costs", "alone", "pruning", "agreement", "cache"]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    config = ModelConfig(
        vocab_size=11, width=12, layers=1, query_heads=3, norm="layernorm", context=9
    )
    models = {HOSTILE: Transformer(config, seed=0)}
    return run_heads(
        dataclasses.replace(TINY, seeds=1), tmp_path_factory.mktemp("run"), models=models, jobs=1
    )


def with_rows(result, name, change):
    table = result.tables[name]
    rows = tuple(change(row) for row in table.rows)
    return dataclasses.replace(
        result, tables={**result.tables, name: dataclasses.replace(table, rows=rows)}
    )


@pytest.fixture(scope="module")
def page(result):
    return heads.build(result, "heads")


def test_the_page_has_every_figure_and_section(page):
    assert [figure.name for figure in page.figures()] == [f"heads-{name}" for name in FIGURES]
    assert {"arms", "reading", "redundancy", "cache", "evidence", "numbers"} <= {
        section.id for section in page.sections
    }


def test_messages_hold_the_record_s_numbers(result):
    reading = figures.reading("x", result.tables["reading"].records())
    least = min(
        row["participation"] for row in result.tables["reading"].records() if row["model"] == "free"
    )
    assert reading.message.startswith(f"Free heads read {least:.0f} or more of 16 coordinates")
    rows = [
        {"order": order, "removed": n, "heads": 4, "rise": n * k, "low": 0.0, "high": 1.0}
        for order, k in (("greedy", 0.1), ("random", 0.2))
        for n in range(5)
    ]
    assert figures.pruning("x", rows).message == (
        "Without half of the heads: 0.200 bits per byte more in greedy order, 0.400 in random order"
    )


def test_a_head_that_rises_is_not_counted_as_spare():
    row = {"seed": 0, "layer": 0, "replaced_by": "mean", "rise": 0.1, "high": 0.2}
    rows = [row | {"head": 0, "low": 0.05}, row | {"head": 1, "low": -0.05}]
    assert figures.alone("x", rows).message.startswith("1 of 2 heads")


def test_a_model_that_cannot_be_rotated_says_why(result):
    grid = heads.rotation_grid(result.tables["rotation"].records())
    assert isinstance(grid, Grid)
    lines = [" ".join(cell.text for cell in row) for row in grid.rows]
    assert sum("layer norm subtracts a mean" in line for line in lines) == 1
    assert sum("fails, as it must" in line for line in lines) == 3


def test_a_failed_check_is_seen(result):
    names = [column.name for column in result.tables["rotation"].columns]
    at = names.index("holds")
    broken = with_rows(result, "rotation", lambda row: (*row[:at], False, *row[at + 1 :]))
    grid = heads.rotation_grid(broken.tables["rotation"].records())
    assert any(cell.tone == "bad" for row in grid.rows for cell in row)


def test_hostile_names_are_shown_as_text(page):
    for figure in page.figures():
        assert "<script>alert" not in figure.svg
        assert "\x1b" not in figure.svg


def test_nothing_to_draw_is_no_figure():
    for name in FIGURES:
        assert getattr(figures, name)("x", []) is None


def test_absent_tables_are_named_and_the_rest_is_shown(result):
    kept = {name: result.tables[name] for name in ("costs", "llama")}
    run = heads.build(dataclasses.replace(result, tables=kept), "heads")
    assert [figure.name for figure in run.figures()] == ["heads-costs"]
    (told,) = [block.text for block in run.opening if getattr(block, "text", "")]
    assert told.startswith("Not in this record: reading, rotation, alone, pruning")


@pytest.mark.parametrize("name", FIGURES)
def test_rows_without_numbers_are_left_out(result, name):
    table = result.tables["rotation" if name == "bases" else name]
    words = {"first", "second", "arm", "order", "replaced_by", "model", "map", "cost_of"}
    rows = tuple(
        tuple(v if c.name in words else None for v, c in zip(row, table.columns, strict=True))
        for row in table.rows
    )
    assert getattr(figures, name)("x", Table("", table.columns, rows).records()) is None


def test_the_same_record_draws_the_same(result):
    rows = result.tables["agreement"].records()
    one, two = (figures.agreement("x", rows) for _ in range(2))
    assert one.svg == two.svg
    assert one.png == two.png
