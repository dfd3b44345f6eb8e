"""The page of a training: figures with units, the baseline, and a record that lacks things."""

from __future__ import annotations

from dataclasses import replace

from tokkit.report.page import render_report
from tokkit.report.training import bits_figure, build, found, loss_figure
from tokkit.results import Column, Result, Table

STEP = Column("step", "Step", "steps")
CURVE = [(step, 5 - step / 50, 1e-3) for step in range(10, 110, 10)]
EVALUATIONS = [(50, 4.2, 2.5), (100, 3.5, 2.0)]


def record() -> Result:
    curve = (STEP, Column("loss", "Loss", "nats"), Column("learning_rate", "Learning rate"))
    evaluations = (STEP, Column("loss", "Loss", "nats"), Column("bits_per_byte", "Bits per byte"))
    return Result(
        kind="model.train",
        title="Training on text",
        settings={"seed": 0, "model": {"width": 16}},
        values={"bits_per_byte": 2.0, "unigram_bits_per_byte": 3.25, "steps": 100,
                "parameters": 12345, "best_step": 100, "best_bits_per_byte": 2.0},
        tables={
            "curve": Table("Loss while training", curve, tuple(CURVE)),
            "evaluations": Table("Validation", evaluations, tuple(EVALUATIONS)),
        },
        claims=(),
        provenance={"tokkit_version": "0"},
    )  # fmt: skip


def rows(result: Result, name: str):
    return result.tables[name].records()


def test_the_page_has_both_figures_and_the_main_numbers():
    files = render_report([record()])
    assert {"figures/train-loss.svg", "figures/train-bits.png", "index.html"} <= files.keys()
    page = files["index.html"].decode()
    assert "After 100 steps a byte of held-out text takes 2.000 bits" in page
    assert "token frequencies alone take 3.250" in page
    assert "12,345" in page
    markdown = files["report.md"].decode()
    assert "Bits per byte, unigram baseline" in markdown
    assert render_report([record()]) == files


def test_figures_name_their_units_and_follow_the_theme():
    result = record()
    loss = loss_figure("loss", rows(result, "curve"), rows(result, "evaluations"))
    bits = bits_figure("bits", rows(result, "evaluations"), 3.25)
    for figure, label in ((loss, "Loss (nats a token)"), (bits, "Bits per byte")):
        svg = figure.svg_file.decode()
        assert label in svg
        assert "Training step" in svg
        assert "prefers-color-scheme: dark" in svg
        assert "currentColor" in svg
    assert (
        loss.message == "The training loss ends at 3.000 nats a token, the validation loss at 3.500"
    )
    assert bits.message == (
        "Held-out text takes 2.000 bits per byte at best, token frequencies alone 3.250"
    )


def test_a_record_without_validation_or_tables():
    bare = replace(
        record(), values={"bits_per_byte": None, "steps": 3, "unigram_bits_per_byte": None},
        tables={"curve": record().tables["curve"]},
    )  # fmt: skip
    assert found(bare) == ""
    titles = [section.title for section in build(bare, "run").sections]
    assert "Loss" in titles
    assert "Bits per byte" not in titles
    assert render_report([replace(bare, tables={}, values={})])["index.html"]
    assert loss_figure("loss", [], []) is None
