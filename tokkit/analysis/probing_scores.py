"""How well a probe read, under weights of the test rows: an estimate and its bootstrap at once.

Every score takes `weights` (B, N), one line a resample, and returns (B,), or (B, H) by head. The
first line is all ones: the estimate. Scores under the same weights are paired, so a difference of
two has an interval of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.analysis.probing import Floats, Ints
from tokkit.errors import ConfigError

Scores = NDArray[np.float64]
LEVEL = 0.95
LEAST_OF_CLASS = 10
"""A head counts where each of its classes has as many test rows: fewer say nothing."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate with its percentile interval, of LEVEL; None where there was no number."""

    estimate: float | None
    low: float | None
    high: float | None


def group_weights(
    groups: ArrayLike, resamples: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Weights (1 + resamples, N): ones, then how often each row's group is drawn again.

    Rows of a group come and go together: a bootstrap over groups. Source: Efron (1979); Davison
    and Hinkley (1997), section 3.8.
    """
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if resamples < 1 or len(names) < 2:
        raise ConfigError(
            f"a bootstrap needs 1 or more resamples of 2 or more groups, got {resamples} of "
            f"{len(names)}"
        )
    drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    weights = np.ones((resamples + 1, len(place)), dtype=np.float32)
    weights[1:] = drawn[:, place]
    return weights


def bounds(values: Scores) -> Bounds:
    """The estimate, values[0], between the percentiles of the others; NaN is left out."""
    others = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not others.size:
        return Bounds(None, None, None)
    low, high = np.quantile(others, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Bounds(float(values[0]), float(low), float(high))


def decisions(predicted: Floats, prior: ArrayLike | None = None) -> Ints:
    """The likeliest class (N, H); with `prior` (H, K) the one whose share rose the most.

    The second maximises balanced accuracy, where every class counts alike. Ties go to the lower
    class.
    """
    shares = predicted if prior is None else predicted / np.asarray(prior, dtype=np.float32)
    return np.asarray(shares.argmax(axis=-1), dtype=np.int64)


def usable_heads(labels: Ints, classes: int, least: int = LEAST_OF_CLASS) -> NDArray[np.bool_]:
    """Heads (H,) of which each class has `least` rows or more."""
    enough = [(labels == k).sum(axis=0) >= least for k in range(classes)]
    return np.asarray(np.all(enough, axis=0))


def _share(part: Scores, whole: Scores) -> Scores:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part / whole)


def balanced_accuracy(
    chosen: Ints, labels: Ints, classes: int, weights: NDArray[np.float32]
) -> Scores:
    """Mean over the classes of the share of each that was found, by head: (B, H)."""
    recalls = []
    for k in range(classes):
        here = labels == k
        found = weights @ (here & (chosen == k)).astype(np.float32)
        recalls.append(_share(found.astype(np.float64), weights @ here.astype(np.float32)))
    return np.asarray(np.mean(recalls, axis=0))


def stratified_balanced_accuracy(
    chosen: Ints, labels: Ints, weights: NDArray[np.float32]
) -> Scores:
    """Balanced accuracy of two classes over all heads, compared within each head: (B,).

    0.5 + half the mean over heads of (share of 1 found less share of 0 taken for 1), a head with
    n_1 and n_0 weighted by n_1 n_0 / (n_1 + n_0), so that rare heads count for what they tell.
    Pooling cells instead would score above 0.5 where nothing is known: probes of common letters
    say yes more often, and those letters make up most of the true cells. Weights: Mantel and
    Haenszel (1959), in the form for differences of Greenland and Robins (1985).
    """
    present, said = labels == 1, chosen == 1
    ones, zeros, hits, alarms = (
        (weights @ part.astype(np.float32)).astype(np.float64)
        for part in (present, ~present, present & said, ~present & said)
    )
    both = np.maximum(ones + zeros, 1e-12)
    gained = ((hits * zeros - alarms * ones) / both).sum(axis=1)
    return 0.5 + 0.5 * _share(gained, (ones * zeros / both).sum(axis=1))


def accuracy(chosen: Ints, labels: Ints, weights: NDArray[np.float32]) -> Scores:
    """The share of cells that are right: (B,)."""
    right = (chosen == labels).mean(axis=1, dtype=np.float32)
    return _share((weights @ right).astype(np.float64), weights.sum(axis=1, dtype=np.float64))


def macro_f1(chosen: Ints, labels: Ints, classes: int, weights: NDArray[np.float32]) -> Scores:
    """Mean F1 over the classes that occur among the labels, of one head: (B,)."""
    values = []
    for k in range(classes):
        true, said = labels[:, 0] == k, chosen[:, 0] == k
        if not true.any():
            continue
        both, either = (
            (weights @ part.astype(np.float32)).astype(np.float64)
            for part in (true & said, true.astype(np.float32) + said)
        )
        values.append(_share(2 * both, either))
    return np.asarray(np.nanmean(values, axis=0))


def average_precision(score: Floats, labels: Ints, weights: NDArray[np.float32]) -> Scores:
    """Sum over ranks of the precision times the recall gained, by head: (B, H).

    `score` (N, H) is the probability of the class 1; equal scores share one rank, as in
    scikit-learn's average_precision_score.
    """
    found = np.empty((len(weights), labels.shape[1]))
    for head in range(labels.shape[1]):
        order = np.argsort(-score[:, head], kind="stable")
        ranked = score[order, head]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        weight = weights[:, order].astype(np.float64)
        seen = np.cumsum(weight, axis=1)[:, last]
        hits = np.cumsum(weight * (labels[order, head] == 1), axis=1)[:, last]
        gained = np.diff(hits, axis=1, prepend=0.0)
        precision = np.where(seen > 0, hits / np.maximum(seen, 1e-12), 0.0)
        found[:, head] = _share((precision * gained).sum(axis=1), hits[:, -1])
    return found


def r_squared(expected: ArrayLike, truth: ArrayLike, weights: NDArray[np.float32]) -> Scores:
    """1 - squared errors over squared distances from the mean: (B,); 0 for the mean itself."""
    said = np.asarray(expected, dtype=np.float64)
    true = np.asarray(truth, dtype=np.float64)
    wide = weights.astype(np.float64)
    total = wide.sum(axis=1)
    mean = wide @ true / total
    spread = wide @ true**2 - total * mean**2
    return 1 - _share(wide @ (true - said) ** 2, spread)
