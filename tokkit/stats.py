"""Intervals and tests: thin names over numpy and scipy.

Pure functions that return frozen records. Random generators are passed in, so a number can be
had again from its seed. scipy is imported where it is used: nothing here slows a command's start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.errors import ConfigError

Floats = NDArray[np.float64]

MAX_EXACT_SIGNS = 16
_SAMPLED_ARRANGEMENTS = 100_000
_TIE_TOLERANCE = 1e-12
_CHUNK_CELLS = 1 << 23


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between the bounds of its confidence interval, and what it rests on.

    `n_seeds` and `n_items` count the seeds and items that had a value; `level` is a share.
    """

    estimate: float
    low: float
    high: float
    n_seeds: int
    n_items: int
    level: float


@dataclass(frozen=True, slots=True)
class Test:
    """A test's statistic, its two-sided p-value, the name of the method, and the sample size."""

    __test__ = False  # pytest would collect a class of this name

    statistic: float
    p: float
    method: str
    n: int


def hierarchical_bootstrap(
    values: ArrayLike,
    generator: np.random.Generator,
    *,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The mean of `values` with a percentile interval over seeds and items, which are crossed.

    `values` is a float array (seeds, items); NaN marks an item that was not asked in that seed.
    Each resample draws seeds with replacement and items with replacement, the same items for
    every seed, because every seed is asked the same items: a crossed two-way bootstrap. With one
    seed only the items vary, with one item only the seeds. For a difference between two arms
    pass the array of differences: that pairs them by seed and item.

    The interval is wide for the noise of single cells and narrow for the variance between seeds,
    which it understates by the factor (seeds - 1) / seeds. Raises ConfigError when `values` is
    not two-dimensional or holds no number. Method: Owen (2007), "The pigeonhole bootstrap",
    Annals of Applied Statistics 1(2).
    """
    _check_level(level)
    if resamples < 1:
        raise ConfigError(f"resamples must be 1 or more, not {resamples}; 2000 is usual")
    cells = _present_cells(values)
    present = ~np.isnan(cells)
    filled = np.where(present, cells, 0.0)
    n_seeds, n_items = cells.shape
    means = []
    chunk = max(1, _CHUNK_CELLS // n_items)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        seed_weights = _resample_weights(n_seeds, size, generator)
        item_weights = _resample_weights(n_items, size, generator)
        totals = ((item_weights @ filled.T) * seed_weights).sum(axis=1)
        counts = ((item_weights @ present.T.astype(np.float64)) * seed_weights).sum(axis=1)
        drawn = counts > 0
        means.append(totals[drawn] / counts[drawn])
    estimate = float(filled.sum() / present.sum())
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), n_seeds, n_items, level)


def _present_cells(values: ArrayLike) -> Floats:
    """`values` as floats, without the seeds and items that hold no number at all."""
    cells = np.asarray(values, dtype=np.float64)
    if cells.ndim != 2:
        raise ConfigError(
            f"values must be a (seeds, items) array, not one of shape {cells.shape}; "
            "give one seed as a single row"
        )
    if np.isinf(cells).any():
        raise ConfigError("values must be finite or NaN, but one is infinite; leave it out as NaN")
    present = ~np.isnan(cells)
    kept: Floats = cells[present.any(axis=1)][:, present.any(axis=0)]
    if kept.size == 0:
        raise ConfigError(
            f"values must hold at least one number, but the array of shape {cells.shape} "
            "holds none; leave an empty group out"
        )
    return kept


def _resample_weights(size: int, resamples: int, generator: np.random.Generator) -> Floats:
    """How often each of `size` things is drawn in `size` draws: (resamples, size)."""
    drawn = generator.integers(0, size, size=(resamples, size))
    drawn += np.arange(resamples)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float64)


def factorial_permutation(cells: ArrayLike, generator: np.random.Generator | None = None) -> Test:
    """Test the main effect of a factor varied within seeds and blocks, by flipping signs.

    `cells` is a float array (seeds, blocks), or (seeds,) where there is one block, of differences
    between the factor's two levels. Under the null the levels could be swapped within each cell,
    so each difference is as likely with the other sign; the statistic is the mean difference. All
    2^cells arrangements are counted up to 2^16; beyond that 100,000 are drawn from `generator`.
    Two-sided; the observed arrangement counts as one, so p is never 0.

    Where the blocks of a seed may share their noise, pass each seed's mean over blocks instead.
    Raises ConfigError on an empty array, one of another rank, a value that is not finite, or more
    than 16 cells without a generator. Method: Fisher (1935), "The Design of Experiments", section
    21; the count for a sample is that of Phipson and Smyth (2010).
    """
    array = np.asarray(cells, dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ConfigError(
            "differences must be a filled (seeds,) or (seeds, blocks) array, "
            f"not one of shape {array.shape}; give one number a seed and block"
        )
    if not np.isfinite(array).all():
        raise ConfigError(
            f"differences must be finite, but {int((~np.isfinite(array)).sum())} of {array.size} "
            "are not; leave out the seeds that are not complete"
        )
    differences = array.ravel()
    n = differences.size
    threshold = abs(differences.sum()) - _TIE_TOLERANCE * np.abs(differences).sum()
    if n <= MAX_EXACT_SIGNS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        p = np.mean(np.abs(signs @ differences) >= threshold)
        method = f"exact sign-flip permutation ({2**n} arrangements)"
    elif generator is None:
        raise ConfigError(
            f"an exact test takes at most {MAX_EXACT_SIGNS} differences, not {n}; "
            "give a generator to sample arrangements"
        )
    else:
        as_extreme = _count_sampled_flips(differences, threshold, generator)
        p = (as_extreme + 1) / (_SAMPLED_ARRANGEMENTS + 1)
        method = f"sampled sign-flip permutation ({_SAMPLED_ARRANGEMENTS} arrangements)"
    return Test(float(differences.mean()), float(p), method, n)


def _count_sampled_flips(
    differences: Floats, threshold: float, generator: np.random.Generator
) -> int:
    as_extreme = 0
    chunk = max(1, _CHUNK_CELLS // differences.size)
    for start in range(0, _SAMPLED_ARRANGEMENTS, chunk):
        size = min(chunk, _SAMPLED_ARRANGEMENTS - start)
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(size, differences.size))
        as_extreme += int((np.abs(signs @ differences) >= threshold).sum())
    return as_extreme


def mcnemar(only_first: int, only_second: int) -> Test:
    """Compare two right-or-wrong answers to the same questions, by the exact binomial test.

    `only_first` counts the questions that only the first got right, `only_second` those that only
    the second did; where both agree, a question says nothing. The statistic is `only_first` minus
    `only_second`, n their sum; with no such question p is 1. Two-sided. Raises ConfigError on a
    negative count. Method: McNemar (1947), Psychometrika 12(2), in its exact form.
    """
    from scipy.stats import binomtest

    if only_first < 0 or only_second < 0:
        raise ConfigError(
            f"counts of questions must be 0 or more, not {only_first} and {only_second}; "
            "count the questions on which the two disagree"
        )
    n = only_first + only_second
    p = float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0
    return Test(float(only_first - only_second), p, "exact McNemar", n)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for being many, so that the chance of any false alarm stays controlled.

    None (a test that could not be done) stays None and is not counted. Raises ConfigError on a
    value outside 0 to 1. Method: Holm (1979), Scandinavian Journal of Statistics 6(2).

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    for p in p_values:
        if p is not None and not 0 <= p <= 1:
            raise ConfigError(f"a p-value must lie in 0 to 1, not {p}; give None for a missing one")
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = min(1.0, max(highest, (len(known) - rank) * p))
        adjusted[index] = highest
    return adjusted


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The share `successes` / `n` with its score interval, which holds at 0, at 1 and at small n.

    The interval knows of one seed (`n_seeds` is 1) and `n` independent items. Raises ConfigError
    when there is no trial or more successes than trials. Method: Wilson (1927), Journal of the
    American Statistical Association 22(158).
    """
    from scipy.stats import binomtest

    _check_level(level)
    if not (n >= 1 and 0 <= successes <= n):
        raise ConfigError(
            f"a share needs 1 or more trials and 0 to that many successes, not {successes} of {n}; "
            "leave an empty group out"
        )
    bounds = binomtest(successes, n).proportion_ci(level, method="wilson")
    return Interval(successes / n, float(bounds.low), float(bounds.high), 1, n, level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, not {level}; 0.95 is usual")
