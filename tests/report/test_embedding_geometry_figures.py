"""Figures of an embedding's geometry: what they say, and when there is nothing to draw."""

from __future__ import annotations

import pytest

from tokkit.report import embedding_geometry_figures as figures


def spectrum_rows(**changed):
    return [
        {"rank": rank, "centred": 0.4 / rank, "raw": 0.5 / rank, "initial": None, "spread": 0.02}
        | changed
        for rank in (1, 2, 5, 10)
    ]


def band(least, greatest, median, **changed):
    return {
        "least": least, "greatest": greatest, "tokens": 10, "median": median,
        "low": median - 0.1, "high": median + 0.1, "tenth": median - 1, "ninetieth": median + 1,
    } | changed  # fmt: skip


BANDS = [band(0, 0, 1.0, low=None, high=None), band(1, 4, 2.0), band(5, 90, 3.0)]


def cloud(name, largest=31, **changed):
    return {"cloud": name, "n": 1200, "k": 10, "skewness": 2.0, "largest": largest} | changed


OCCURRENCES = [
    {"cloud": name, "times": times, "share": share}
    for name in ("these rows, centred", "before training, centred", "same spread", "other")
    for times, share in ((0, 1.0), (1, 0.9), (16, 0.1))
]


def measure(name, kind, value, **changed):
    return {
        "measure": name, "rows": kind, "value": value, "low": value - 0.01, "high": value + 0.01,
        "initial": None, "spread": 0.98, "spectrum": None,
    } | changed  # fmt: skip


def test_the_spectrum_names_the_widest_direction_and_its_null():
    drawn = figures.spectrum("s", spectrum_rows())
    assert drawn.message == (
        "The widest direction holds 40.0% of the variance, of random rows 2.0%"
    )
    assert "Random, same spread" in drawn.svg
    assert "Before training" not in drawn.svg
    before = figures.spectrum("s", spectrum_rows(initial=0.05))
    assert before.message.endswith("before training 5.0%")
    assert "Before training" in before.svg


@pytest.mark.parametrize(
    ("rho", "low", "high", "word"),
    [
        (0.5, 0.4, 0.6, "longer"),
        (-0.5, -0.6, -0.4, "shorter"),
        (0.1, -0.1, 0.3, "neither longer nor shorter"),
    ],
)
def test_norms_say_no_more_than_the_interval_allows(rho, low, high, word):
    drawn = figures.norms("n", BANDS, {"plain": rho, "low": low, "high": high})
    shown = f"{rho:.2f}".replace("-", "−")
    assert drawn.message == (
        f"Rows of tokens trained more often are {word}: rank correlation {shown}"
    )
    assert "Never trained" in drawn.svg


def test_norms_without_a_correlation_or_a_band_never_trained():
    drawn = figures.norms("n", BANDS[1:])
    assert drawn.message == "Norms of rows by how often their tokens were trained"
    assert "never" not in drawn.svg.lower()


def test_hubs_are_compared_with_what_is_at_hand():
    measured = [cloud("these rows, centred"), cloud("same spread", 17)]
    drawn = figures.hubs("h", OCCURRENCES, measured)
    assert drawn.message == (
        "The largest hub is a neighbour of 31 of 1,200 rows; among random rows, of 17"
    )
    assert "Each row has 10 neighbours" in drawn.caption
    drawn = figures.hubs("h", OCCURRENCES, [*measured, cloud("before training, centred", 18)])
    assert drawn.message.endswith("; before training, of 18")


def test_isotropy_tells_the_mean_cosines():
    rows = [
        measure("iso_score", "centred", 0.12),
        measure("mean_cosine", "raw", 0.44),
        measure("mean_cosine", "centred", -0.0001),
        measure("effective_rank", "centred", 300.0),
    ]
    drawn = figures.isotropy("i", rows)
    assert drawn.message == (
        "Two rows have a mean cosine of 0.44 as they are, 0.00 without the mean row"
    )
    assert "IsoScore, without the mean row" in drawn.svg
    assert "Before training" not in drawn.svg


def test_nothing_is_drawn_of_nothing():
    assert figures.spectrum("s", []) is None
    assert figures.spectrum("s", spectrum_rows(centred=None)) is None
    assert figures.norms("n", []) is None
    assert figures.norms("n", BANDS[:1]) is None
    assert figures.hubs("h", [], []) is None
    assert figures.isotropy("i", []) is None


def test_the_same_rows_give_the_same_bytes():
    first, second = (figures.norms("n", BANDS) for _ in range(2))
    assert first.svg_file == second.svg_file
    assert first.png[:8] == b"\x89PNG\r\n\x1a\n"
