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
_FLIP_TOLERANCE = 1e-6
_CHUNK_CELLS = 1 << 23
MIN_BLOCKS = 10
"""Fewer blocks than this tell too little of the spread for an interval."""


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


def block_weights(
    strata: ArrayLike, resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Weights of blocks in each bootstrap resample, drawn within strata: (resamples, blocks).

    `strata` (blocks,) holds integers that say to which stratum each block belongs. Of the n
    blocks of a stratum n - 1 are drawn with replacement and weighted n / (n - 1), so that totals
    keep their size and the variance between blocks is not understated, however few they are; a
    stratum of one block keeps weight 1. A total of any resample is `weights @ block_totals`; use
    the same weights for everything measured on the same blocks, which pairs it.

    Raises ConfigError without blocks or resamples. Method: Rao, Wu and Yue (1992), "Some recent
    work on resampling methods for complex surveys", Survey Methodology 18(2).
    """
    of_block = np.asarray(strata)
    if of_block.ndim != 1 or of_block.size == 0 or resamples < 1:
        raise ConfigError(
            "a block bootstrap needs 1 or more blocks and resamples, "
            f"not {of_block.size} and {resamples}"
        )
    weights = np.ones((resamples, of_block.size))
    for stratum in np.unique(of_block):
        members = np.flatnonzero(of_block == stratum)
        n = members.size
        if n > 1:
            drawn = generator.multinomial(n - 1, np.full(n, 1 / n), size=resamples)
            weights[:, members] = drawn * (n / (n - 1))
    return weights


def sign_flip_p(
    contributions: ArrayLike, generator: np.random.Generator, *, arrangements: int = 20_000
) -> Floats:
    """Two-sided p-values of many paired differences at once: (tests,).

    `contributions` (blocks, tests) holds what each block adds to each difference; under the null
    each is as likely with the other sign. The statistic is the sum. Up to 16 blocks all signs are
    counted, beyond that `arrangements` are drawn, the same for every test, and the observed one
    counts as one, so that p is never 0. Raises ConfigError unless the array is filled and finite.
    Method as in `factorial_permutation`.
    """
    cells = np.asarray(contributions, dtype=np.float64)
    if cells.ndim != 2 or cells.size == 0 or not np.isfinite(cells).all():
        raise ConfigError(
            "contributions must be a filled (blocks, tests) array of finite numbers, "
            f"not one of shape {cells.shape}; leave out what could not be computed"
        )
    blocks, _ = cells.shape
    # Scaled so that float32 products compare safely: ties are within the tolerance.
    scale = np.abs(cells).sum(axis=0)
    scaled = cells / np.where(scale > 0, scale, 1.0)
    exact = blocks <= MAX_EXACT_SIGNS
    threshold = np.abs(scaled.sum(axis=0)) - _FLIP_TOLERANCE
    if exact:
        signs = 1.0 - 2.0 * ((np.arange(2**blocks)[:, None] >> np.arange(blocks)) & 1)
        return np.asarray((np.abs(signs @ scaled) >= threshold).mean(axis=0))
    as_extreme = np.zeros(cells.shape[1])
    narrow = scaled.astype(np.float32)
    chunk = max(1, _CHUNK_CELLS // blocks)
    for start in range(0, arrangements, chunk):
        size = min(chunk, arrangements - start)
        bits = np.unpackbits(
            np.frombuffer(generator.bytes(size * blocks // 8 + 1), np.uint8), count=size * blocks
        )
        signs = bits.reshape(size, blocks).astype(np.float32) * 2 - 1
        as_extreme += (np.abs(signs @ narrow) >= threshold).sum(axis=0)
    return np.asarray((as_extreme + 1) / (arrangements + 1))


def gini(costs: ArrayLike) -> Floats:
    """The Gini coefficient along the last axis: 0 where all bear the same cost.

    The mean absolute difference over all ordered pairs, divided by twice the mean: at most
    (n - 1) / n. NaN where a cost is NaN or all are 0. Source: Gini (1912); over the tokens that
    groups pay for the same content, Foroutan, Meister et al. (2025), "Parity-aware byte-pair
    encoding".

    >>> float(gini([1.0, 3.0]))
    0.25
    """
    ordered = np.sort(np.asarray(costs, dtype=np.float64), axis=-1)
    n = ordered.shape[-1]
    ranks = 2 * np.arange(1, n + 1) - n - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((ordered * ranks).sum(axis=-1) / (n * ordered.sum(axis=-1)))


def lorenz(costs: ArrayLike) -> tuple[Floats, Floats]:
    """The Lorenz curve of `costs` (n,): shares of those who bear least, and of what they bear.

    Both arrays have n + 1 values from 0 to 1. Raises ConfigError unless the costs are 0 or more
    and not all 0. Source: Lorenz (1905), Publications of the American Statistical Association 9.
    """
    ordered = np.sort(np.asarray(costs, dtype=np.float64))
    if ordered.ndim != 1 or not ordered.size or not (ordered >= 0).all() or ordered[-1] <= 0:
        raise ConfigError("a Lorenz curve needs costs of 0 or more, of which one is above 0")
    borne = np.concatenate([[0.0], np.cumsum(ordered)]) / ordered.sum()
    return np.linspace(0, 1, ordered.size + 1), borne
