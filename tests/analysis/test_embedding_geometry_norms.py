"""Norms against counts: ranks by hand, beside scipy, planted, and of noise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from tokkit.analysis.embeddings.geometry_norms import (
    FEWEST,
    bands,
    median_interval,
    rank_correlations,
)
from tokkit.errors import ConfigError


def correlations(x, y, z):
    return rank_correlations(x, y, z, np.random.default_rng(0))


def partial_by_regression(x, y, z):
    """Ranks of x and y, less what a line through the ranks of z explains of them."""
    x, y, z = (rankdata(side) for side in (x, y, z))
    left = [side - np.polyval(np.polyfit(z, side, 1), z) for side in (x, y)]
    return np.corrcoef(*left)[0, 1]


def test_both_correlations_are_those_of_scipy_and_of_a_regression_of_ranks():
    generator = np.random.default_rng(2)
    z = generator.integers(1, 9, 200)
    x, y = z + generator.normal(size=200), generator.poisson(z)
    found = correlations(x, y, z)
    assert found.plain == pytest.approx(spearmanr(x, y).statistic)
    assert found.partial == pytest.approx(partial_by_regression(x, y, z))
    assert found.n == 200
    # All that they share comes from z: the plain one is there, the partial one is not.
    assert found.low > 0.2
    assert found.partial_low < 0 < found.partial_high


def test_the_interval_is_that_of_draws_ranked_anew():
    generator = np.random.default_rng(3)
    x = generator.normal(size=60)
    y = x + generator.normal(size=60)
    drawn = []
    for _ in range(1000):
        chosen = generator.integers(0, 60, 60)
        drawn.append(spearmanr(x[chosen], y[chosen]).statistic)
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = correlations(x, y, np.zeros(60))
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)
    assert found.partial == found.plain, "a constant explains nothing"


def test_noise_gives_nothing_and_a_constant_no_number():
    generator = np.random.default_rng(4)
    found = correlations(*generator.normal(size=(3, 300)))
    assert found.low < 0 < found.high
    assert correlations(np.ones(30), np.arange(30), np.arange(30)).plain is None
    same = correlations(np.arange(30), generator.normal(size=30), np.arange(30))
    assert same.partial is None, "nothing is left of x when z says all of it"


def test_a_monotone_scale_changes_nothing():
    generator = np.random.default_rng(5)
    x, y, z = generator.normal(size=(3, 50))
    assert correlations(x, y, z) == correlations(x, np.exp(y), z)


def test_too_few_tokens_are_refused():
    with pytest.raises(ConfigError, match=f"needs {FEWEST} tokens or more, got 3"):
        correlations([1, 2, 3], [1, 2, 3], [1, 2, 3])


def test_bands_part_the_never_trained_and_no_equal_counts():
    counts = np.array([0, 0, *[1] * 50, *range(2, 52)])
    norms = np.arange(102.0)
    found = bands(counts, norms)
    assert (found[0].least, found[0].greatest, found[0].n, found[0].median) == (0, 0, 2, 0.5)
    assert found[0].low is None
    assert sum(band.n for band in found) == 102
    edges = [(band.least, band.greatest) for band in found[1:]]
    assert edges[0][0] == 1
    assert edges[-1][1] == 51
    assert all(high < low for (_, high), (low, _) in pairwise(edges))
    assert bands(np.zeros(0, np.int64), np.zeros(0)) == ()


def test_the_interval_of_a_median_by_hand():
    # Of 10 values the second and ninth hold the median with 1 - 22/1024 = 97.9%.
    assert median_interval(np.arange(10.0)) == (1, 8)
    assert median_interval(np.arange(6.0)) == (0, 5)
    assert median_interval(np.arange(5.0)) == (None, None)
