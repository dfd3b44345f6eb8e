"""Lengths of rows, and whether they go with how often a token was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.errors import ConfigError

Doubles = NDArray[np.float64]
BANDS = 10
FEWEST = 20
"""Rows below which no correlation is given."""
_RESAMPLES = 1000
_LEVEL = 0.95
_FLAT = 1e-12


@dataclass(frozen=True, slots=True)
class Correlation:
    """A rank correlation with its bootstrap interval over tokens; None where one side is constant.

    `partial` is that with the third quantity's ranks taken out of both.
    """

    plain: float | None
    low: float | None
    high: float | None
    partial: float | None
    partial_low: float | None
    partial_high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Band:
    """Rows of like count: its least and greatest, and quantiles of their norms.

    `low` and `high` bound the median: order statistics with at least 95% (sign test; Conover
    1999, section 3.2), None below six rows, where none reach that.
    """

    least: int
    greatest: int
    n: int
    median: float
    low: float | None
    high: float | None
    tenth: float
    ninetieth: float


def rank_correlations(
    x: ArrayLike, y: ArrayLike, z: ArrayLike, generator: np.random.Generator
) -> Correlation:
    """Spearman of x and y (n,), plain and with z held fixed, with intervals.

    The partial one is (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)) of rank correlations:
    that of what is left of the ranks of x and y after a regression on those of z (Kendall 1942).
    Intervals are percentiles over 1,000 draws of tokens, ranked anew in each. Raises ConfigError
    for fewer than FEWEST tokens.
    """
    sides = [np.unique(np.asarray(side), return_inverse=True)[1] for side in (x, y, z)]
    count = len(sides[0])
    if count < FEWEST:
        raise ConfigError(f"a rank correlation needs {FEWEST} tokens or more, got {count}")
    plain, partial = _spearman(sides, np.ones(count))
    drawn = np.full((_RESAMPLES, 2), np.nan)
    for row in drawn:
        weights = np.bincount(generator.integers(0, count, count), minlength=count)
        row[:] = _spearman(sides, weights.astype(np.float64))
    bounds = [_bounds(drawn[:, column]) for column in (0, 1)]
    return Correlation(_known(plain), *bounds[0], _known(partial), *bounds[1], count)


def _spearman(sides: list[NDArray[np.intp]], weights: Doubles) -> tuple[float, float]:
    """Plain and partial, of sides given as the places of their values in ascending order."""
    total = weights.sum()
    centred = []
    for side in sides:
        held = np.bincount(side, weights)
        ranks = (held.cumsum() - (held - 1) / 2)[side]
        centred.append(ranks - (total + 1) / 2)
    x, y, z = centred
    xy, xz, yz = _pearson(x, y, weights), _pearson(x, z, weights), _pearson(y, z, weights)
    if np.isnan(xz) or np.isnan(yz):
        return xy, xy  # the third quantity is constant: there is nothing to hold fixed
    rest = (1 - xz**2) * (1 - yz**2)
    return xy, float((xy - xz * yz) / np.sqrt(rest)) if rest > _FLAT else float("nan")


def _pearson(x: Doubles, y: Doubles, weights: Doubles) -> float:
    product = float((weights * x) @ y)
    square = float((weights * x) @ x) * float((weights * y) @ y)
    return product / np.sqrt(square) if square > _FLAT else float("nan")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _bounds(drawn: Doubles) -> tuple[float | None, float | None]:
    kept = drawn[~np.isnan(drawn)]
    if len(kept) < len(drawn) / 2:
        return None, None
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)


def bands(counts: NDArray[np.int64], norms: Doubles) -> tuple[Band, ...]:
    """Norms (n,) by count (n,): one band of tokens never seen, then up to ten of equal size.

    Equal counts are never parted, so bands can differ in size.
    """
    found = [_band(counts[counts == 0], norms[counts == 0])] if (counts == 0).any() else []
    seen = np.flatnonzero(counts > 0)
    if len(seen):
        edges = np.unique(np.quantile(counts[seen], np.linspace(0, 1, BANDS + 1), method="lower"))
        places = np.searchsorted(edges[1:-1], counts[seen], side="right")
        for place in np.unique(places):
            chosen = seen[places == place]
            found.append(_band(counts[chosen], norms[chosen]))
    return tuple(found)


def _band(counts: NDArray[np.int64], norms: Doubles) -> Band:
    tenth, median, ninetieth = np.quantile(norms, [0.1, 0.5, 0.9])
    low, high = median_interval(norms)
    return Band(
        int(counts.min()), int(counts.max()), len(norms), float(median), low, high,
        float(tenth), float(ninetieth),
    )  # fmt: skip


def median_interval(values: Doubles) -> tuple[float | None, float | None]:
    """Order statistics that hold the median with at least 95%."""
    from scipy.stats import binom

    ordered = np.sort(values)
    rank = int(binom.ppf((1 - _LEVEL) / 2, len(ordered), 0.5))
    if rank < 1:
        return None, None
    return float(ordered[rank - 1]), float(ordered[len(ordered) - rank])
