"""Figures of agreement from records: what is drawn, what is said, and what may not break them."""

from __future__ import annotations

import math

import pytest
from matplotlib.figure import Figure as MatplotlibFigure

from tokkit.report import attention_agreement_causes, attention_agreement_figures
from tokkit.report.attention_agreement_figures import agreement_figures

ROLES = ("subject", "attractors", "adverb", "first token", "other tokens")
CUT = ("subject", "attractors", "adverb", "another token")
STATES = ("subject", "attractors", "adverb", "last token")
LAYERS = 3


def bounded(name, value, wide=0.05):
    return {name: value, f"{name}_low": value - wide, f"{name}_high": value + wide}


def tables():
    weights = [
        {"query": query, "layer": layer, "role": role, "even": 0.1,
         **bounded("weight", 0.7 if role == "subject" and layer == 2 else 0.1)}
        for query in ("last token", "verb") for layer in range(LAYERS) for role in ROLES
    ]  # fmt: skip
    by_attractors = [
        {"heads": heads, "query": "last token", "attractors": n, "role": role, "items": 9,
         **bounded("weight", 0.9 - 0.2 * n if role == "subject" else 0.05)}
        for heads in ("all heads, mean", "layer 2, head 1") for n in range(4) for role in ROLES
    ]  # fmt: skip
    states = [
        {"direction": direction, "layer": layer, "role": role,
         **bounded("share", float(layer < 2 if role == "subject" else
                                  layer == 2 if role == "last token" else 0))}
        for direction in ("restoring", "breaking") for layer in range(LAYERS) for role in STATES
    ]  # fmt: skip
    knockout = [
        {"layer": layer, "role": role,
         **bounded("drop", 4.5 if (layer, role) == (2, "subject") else 0.1)}
        for layer in range(LAYERS) for role in CUT
    ]  # fmt: skip
    windows = [
        {"edges": edges, "first": first, "last": last, "role": role, "items": 9, "right": 0.4,
         "right_low": 0.3, "right_high": 0.5, **bounded("drop", 2.0)}
        for edges in ("last token", "every later token")
        for first, last in ((0, 0), (1, 2), (0, 2)) for role in CUT
    ]  # fmt: skip
    kinds = ("looks and matters", "looks, does not matter", "matters, does not look", "neither")
    heads = [
        {"layer": n // 2, "head": n % 2, "kind": kinds[n % 4], "subject": 0.1 * n,
         **bounded("restores", 0.05 * n)}
        for n in range(6)
    ]  # fmt: skip
    ranks = [{"effect": "output restores", "correlation": 0.54, "low": 0.3, "high": 0.7}]
    accuracy = [
        {"split": split, "attractors": n, "nearest": nearest, "items": 40, "right": 1 - 0.1 * n,
         "low": 0.5, "high": 1.0, "difference": 3.0}
        for split in ("train", "longer") for n in range(3)
        for nearest in (("none",) if n == 0 else ("same number", "other number"))
    ]  # fmt: skip
    return {
        "agreement_weights": weights,
        "agreement_weights_by_attractors": by_attractors,
        "agreement_states": states,
        "agreement_knockout": knockout,
        "agreement_knockout_windows": windows,
        "agreement_heads": heads,
        "agreement_ranks": ranks,
        "agreement_accuracy": accuracy,
    }


@pytest.fixture(scope="module")
def figures():
    return {figure.name.removeprefix("run-agreement-"): figure
            for figure in agreement_figures(tables(), run_id="run")}  # fmt: skip


def test_every_figure_is_drawn(figures):
    assert list(figures) == [
        "weights", "attractors", "states", "knockout", "cut", "heads", "accuracy",
    ]  # fmt: skip
    for figure in figures.values():
        assert figure.png.startswith(b"\x89PNG")
        assert "<svg" in figure.svg
        assert figure.caption


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("weights", "the subject gets most: 70.0% in layer 2"),
        ("attractors", "Layer 2, head 1: 90.0% of its weight on the subject with 0 attractors"),
        ("states", "By layer 2 most of the number has reached"),
        ("knockout", "cutting layer 2's sight of the subject costs most: 4.500 logits"),
        ("cut", "the verb is right in 40.0% of the sentences"),
        ("heads", "Of 6 heads 4 look at the subject, of which 2 matter; 1 of the others matters"),
        ("accuracy", "in 100.0% of the sentences with 0 attractors, in 80.0% with 2"),
    ],
)
def test_what_is_said(figures, name, said):
    assert said in figures[name].message


def test_numbers_beside_the_picture(figures):
    assert "0.540 [0.300, 0.700]" in figures["heads"].caption
    assert "2.0" in figures["heads"].svg  # the head named beside its mark
    assert ">100<" in figures["states"].svg


def test_a_number_that_never_moves():
    rows = [row | {"share": 0.0} for row in tables()["agreement_states"]]
    (figure,) = agreement_figures({"agreement_states": rows})
    assert "stays at the subject" in figure.message


def test_nothing_is_drawn_of_nothing():
    assert agreement_figures({}) == []
    assert agreement_figures({name: [] for name in tables()}) == []


@pytest.fixture
def painted(monkeypatch):
    """Figures are painted and laid out, not rendered; the titles of those that were."""
    titles = []

    def draw(name, message, caption, paint, *, height_inches):
        figure = MatplotlibFigure(figsize=(5.6, height_inches))
        paint(figure)
        titles.append(message)
        return name

    for module in (attention_agreement_causes, attention_agreement_figures):
        monkeypatch.setattr(module, "draw", draw)
    return titles


@pytest.mark.parametrize("hostile", [None, "<script>", math.nan], ids=str)
def test_what_is_no_number_breaks_nothing(painted, hostile):
    columns = sorted({column for rows in tables().values() for column in rows[0]})
    for column in columns:
        agreement_figures({
            name: [row | {column: hostile} if column in row else row for row in rows[:1]] + rows[1:]
            for name, rows in tables().items()
        })  # fmt: skip
    assert len(painted) == 7 * len(columns)
    assert not any("<script>" in title for title in painted)


def test_intervals_may_lack(painted):
    bare = {
        name: [{k: v for k, v in row.items() if not k.endswith(("low", "high"))} for row in rows]
        for name, rows in tables().items()
    }
    assert len(agreement_figures(bare)) == len(painted) == 7


def test_the_same_records_give_the_same_bytes(figures):
    table = {"agreement_knockout": tables()["agreement_knockout"]}
    (again,) = agreement_figures(table, run_id="run")
    assert again == figures["knockout"]
