"""Figures of untrained tokens: what they say, and that they need not be there."""

from __future__ import annotations

import pytest

from tokkit.report import embedding_untrained_figures as figures

HISTOGRAM = [
    {"group": group, "low": low, "high": low + 1.0, "tokens": tokens, "of": sum(bins)}
    for group, bins in {
        "known to be untrained": [3, 0, 0, 0],
        "never seen": [19, 1, 0, 0],
        "seen": [2, 8, 80, 10],
    }.items()
    for low, tokens in enumerate(bins)
]
BY_COUNT = [
    {"count_low": low, "count_high": high, "tokens": 1234, "p5": base, "p25": base + 0.1,
     "median": base + 0.2, "p75": base + 0.3, "p95": base + 0.4}
    for low, high, base in ((0, 0, 0.0), (1, 9, 0.3), (1000, 9999, 0.7))
]  # fmt: skip
VERIFIED = [
    {"rank_low": low, "rank_high": high, "asked": 40, "not_repeated": share, "low": share - 0.04,
     "high": share + 0.04, "median": 0.1, "can_verify": True}
    for low, high, share in ((0.0, 0.001, 0.5), (0.001, 0.02, 0.2), (0.02, 1.0, 0.05))
]  # fmt: skip
AREAS = [
    {"indicator": f"Score {place}", "primary": place == 1, "area": area, "low": area - 0.01,
     "high": area + 0.01, "null_area": 0.5, "null_low": 0.45, "null_high": 0.55}
    for place, area in enumerate((0.61, 0.973, 0.1))
]  # fmt: skip


def test_the_distribution_tells_how_many_others_lie_as_low():
    figure = figures.distribution("a", HISTOGRAM, "Distance")
    # Nine in ten of those never seen lie in the first bin, and two of 100 seen ones.
    assert (
        figure.message
        == "2% of the other tokens lie as low as nine in ten of the tokens never seen"
    )
    assert "never seen (20)" in figure.svg
    assert "Distance (low: suspicious)" in figure.svg


def test_verified_tokens_are_ticks_of_the_distribution():
    tokens = [
        {"indicator": 0.1, "verified": "under-trained", "kind": "ordinary"},
        {"indicator": 0.2, "verified": "is repeated", "kind": "ordinary"},
        {"indicator": 0.3, "verified": "under-trained", "kind": "reference"},
    ]
    figure = figures.distribution("a", HISTOGRAM, "Distance", tokens)
    assert "verified by prompts (1)" in figure.svg
    assert "Ticks" in figure.caption


def test_without_counts_the_reference_is_compared_with_all_others():
    rows = [row for row in HISTOGRAM if row["group"] != "never seen"]
    assert figures.distribution("a", rows, "D").message.endswith("rows known to be untrained")
    alone = [row for row in rows if row["group"] == "seen"]
    assert figures.distribution("a", alone, "D").message.startswith("How the indicator is spread")


def test_counts_are_told_from_never_seen_to_the_most_frequent():
    figure = figures.by_count("b", BY_COUNT, "Distance")
    assert (
        "from 0.2 for tokens never seen to 0.9 for tokens seen 1k times or more" in figure.message
    )
    assert "1k–10k" in figure.svg


def test_the_verified_share_stands_beside_its_control():
    figure = figures.verified("c", VERIFIED)
    assert "50% of the most suspicious tokens, and 5% of ordinary ones" in figure.message
    weak = [row | {"can_verify": False} for row in VERIFIED]
    assert figures.verified("c", weak).message.endswith("prompting verifies nothing")


def test_areas_name_the_score_of_the_rule():
    assert "97.3% of pairs" in figures.areas("d", AREAS).message
    bare = [row | {"null_area": None} for row in AREAS]
    assert figures.areas("d", bare).svg.count("Score") == 3


@pytest.mark.parametrize(
    "drawn",
    [
        figures.distribution("a", [], "D"),
        figures.distribution("a", [{"group": "seen", "low": None}], "D"),
        figures.by_count("b", BY_COUNT[:1], "D"),
        figures.verified("c", []),
        figures.areas("d", [{"indicator": "x", "area": "high"}]),
    ],
)
def test_nothing_is_drawn_of_nothing(drawn):
    assert drawn is None
