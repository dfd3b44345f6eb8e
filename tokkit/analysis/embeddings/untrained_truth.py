"""How well an indicator ranks tokens that are known never to have been seen above the others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Area:
    """The area under the ROC curve within its interval, and the sizes of the two groups."""

    value: float
    low: float
    high: float
    positives: int
    negatives: int
    level: float


def auc_with_interval(scores: ArrayLike, positive: ArrayLike, *, level: float = _LEVEL) -> Area:
    """The chance that a positive has a higher score than a negative, ties counting half.

    `scores` (n,) are finite, `positive` (n,) is bool. The estimate is the Mann-Whitney statistic
    over the number of pairs. The interval is Newcombe's (2006, "Confidence intervals for an effect
    size measure based on the Mann-Whitney statistic", part 2, method 5): the areas from which the
    estimate is no further than the normal quantile times the standard error that Hanley and McNeil
    (1982) give for that area; so it holds at 0 and at 1 too, where a bootstrap has no width.

    Raises ConfigError where the two differ in length, a score is not finite, or a group is empty.

    >>> auc_with_interval([1.0, 2.0, 2.0, 3.0], [False, False, True, True]).value
    0.875
    """
    values = np.asarray(scores, dtype=np.float64)
    mask = np.asarray(positive, dtype=bool)
    if values.ndim != 1 or values.shape != mask.shape:
        raise ConfigError(
            f"each score needs its group, got {values.shape} scores and {mask.shape} groups"
        )
    if not np.isfinite(values).all():
        raise ConfigError("scores must be finite: leave out rows that were not measured")
    m, n = int(mask.sum()), int((~mask).sum())
    if not (m and n):
        raise ConfigError(
            f"an area under the curve needs both groups, got {m} positives and {n} negatives"
        )
    from scipy.stats import rankdata

    above = float(rankdata(values)[mask].sum()) - m * (m + 1) / 2
    area = above / (m * n)
    low, high = _newcombe(area, m, n, level)
    return Area(area, low, high, m, n, level)


def _newcombe(area: float, m: int, n: int, level: float) -> tuple[float, float]:
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf((1 + level) / 2))
    inner = (m + n) / 2 - 1

    def excess(theta: float) -> float:
        spread = theta * (1 - theta) / (m * n)
        spread *= 1 + inner * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return abs(theta - area) - z * math.sqrt(spread)

    # An area of 0 or 1 is itself a root, where the standard error is 0: the other one is wanted.
    step = max(1e-3 / (m * n), 1e-15)
    low = 0.0 if area <= 0 else float(brentq(excess, 0.0, min(area, 1 - step)))
    high = 1.0 if area >= 1 else float(brentq(excess, max(area, step), 1.0))
    return low, high


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation within its interval, over n pairs."""

    value: float
    low: float
    high: float
    n: int


def rank_correlation(first: ArrayLike, second: ArrayLike, *, level: float = _LEVEL) -> Correlation:
    """Spearman's correlation of two arrays (n,), with the interval of Bonett and Wright (2000).

    Raises ConfigError for fewer than four pairs; a constant array gives NaN.
    """
    from scipy.stats import norm, rankdata

    pair = np.stack([rankdata(np.asarray(values)) for values in (first, second)])
    n = pair.shape[1]
    if n < 4:
        raise ConfigError(f"a rank correlation with an interval needs 4 pairs or more, got {n}")
    if (np.ptp(pair, axis=1) == 0).any():
        return Correlation(math.nan, math.nan, math.nan, n)
    value = float(np.clip(np.corrcoef(pair)[0, 1], -1, 1))
    inside = math.atanh(min(max(value, -1 + 1e-15), 1 - 1e-15))
    reach = float(norm.ppf((1 + level) / 2)) * math.sqrt((1 + value**2 / 2) / (n - 3))
    return Correlation(value, math.tanh(inside - reach), math.tanh(inside + reach), n)


@dataclass(frozen=True, slots=True)
class Judged:
    """What one score is worth against the counts of the training text.

    never   area for tokens that never stood there; rare: for those of RARE times at most
    longer  area for tokens of more than one byte; None where too few of them were never seen
    null    the area for never-seen tokens that the same score has where nothing was learned
    counts  rank correlation of the score, low where suspicious, with the counts
    """

    never: Area
    rare: Area | None
    longer: Area | None
    null: Area
    counts: Correlation


RARE = 10
FEWEST_EACH = 20
"""So many tokens that were seen, and that were not, are needed to judge an indicator."""


def judge(
    indicator: Floats, null: Floats, counts: Ints, longer: NDArray[np.bool_]
) -> Judged | None:
    """Judge an indicator, low where suspicious, (n,), and its null, (n,), by `counts` (n,).

    `longer` (n,) marks tokens of more than one byte: single bytes are tokens of every vocabulary,
    seen or not, and merges must be told apart without them. None where fewer than FEWEST_EACH
    tokens were seen, or never seen.
    """
    never, rare = counts == 0, counts <= RARE
    if not _are_enough(never):
        return None
    return Judged(
        auc_with_interval(-indicator, never),
        auc_with_interval(-indicator, rare) if _are_enough(rare) else None,
        auc_with_interval(-indicator[longer], never[longer])
        if _are_enough(never[longer])
        else None,
        auc_with_interval(-null, never),
        rank_correlation(indicator, counts),
    )


def _are_enough(positive: NDArray[np.bool_]) -> bool:
    return min(int(positive.sum()), int((~positive).sum())) >= FEWEST_EACH
