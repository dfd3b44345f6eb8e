"""Every number of an audit, worked out for the corpus, without each block, and for each resample.

A metric is a vector of replicates: first its value on the whole corpus, then its value with each
block of documents left out, then its value in each bootstrap resample. Whatever is computed from
metrics (a ratio, a mean over groups, a difference between tokenizers) is the same arithmetic on
these vectors, so its interval and its test come along. All tokenizers share the resamples, which
pairs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.stats import MIN_BLOCKS, block_weights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value within its interval; what could not be computed is None, and `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None


class Replicates:
    """The replicates of one counted corpus: rows are 1 whole + `blocks` left out + `resamples`.

    `groups` (blocks,) is the group of each block, an index into `names`. Blocks are drawn within
    their group, because a corpus is made to have the groups that it has.
    """

    def __init__(
        self,
        groups: Ints,
        names: tuple[str, ...],
        *,
        resamples: int,
        generator: np.random.Generator,
        level: float = 0.95,
    ) -> None:
        self.groups, self.names, self.level = groups, names, level
        self.blocks = len(groups)
        self.weights = block_weights(groups, resamples, generator)
        whole, without = np.ones((1, self.blocks)), 1.0 - np.eye(self.blocks)
        self._design = np.concatenate([whole, without, self.weights])
        self._members = np.bincount(groups, minlength=len(names))

    def totals(self, of_blocks: ArrayLike) -> Floats:
        """Totals over blocks: (blocks,) or (blocks, k) to (rows,) or (rows, k)."""
        return np.asarray(self._design @ np.asarray(of_blocks, dtype=np.float64))

    def group_totals(self, of_blocks: ArrayLike) -> Floats:
        """Totals within each group: (blocks,) to (rows, groups)."""
        values = np.asarray(of_blocks, dtype=np.float64)
        spread = np.zeros((self.blocks, len(self.names)))
        spread[np.arange(self.blocks), self.groups] = values
        return self.totals(spread)

    def ratio(self, above: ArrayLike, below: ArrayLike) -> Floats:
        """The ratio of two totals, pooled over blocks: (rows,)."""
        return divide(self.totals(above), self.totals(below))

    def mean_over_blocks(self, above: ArrayLike, below: ArrayLike) -> Floats:
        """The mean of each block's own ratio, blocks without a denominator left out: (rows,)."""
        of_block = divide(np.asarray(above, np.float64), np.asarray(below, np.float64))
        known = np.isfinite(of_block)
        return self.ratio(np.where(known, of_block, 0.0), known)

    def ratio_by_group(self, above: ArrayLike, below: ArrayLike) -> Floats:
        """The ratio of two totals within each group: (rows, groups)."""
        return divide(self.group_totals(above), self.group_totals(below))

    def from_left_out(self, values: ArrayLike) -> Floats:
        """Replicates from the values on the whole and without each block: (1 + blocks,) to (rows,).

        Resamples come from its linear part: each block counts for what leaving it out changes.
        The plain bootstrap is wrong here. It holds two thirds of the blocks, so it sees fewer
        distinct tokens than the corpus does, and a metric of the frequency distribution is
        shifted by that. The spread is the jackknife's, which errs on the wide side. Source: Efron
        and Stein (1981), Annals of Statistics 9(3); Efron and Tibshirani (1993), chapter 20.
        """
        known = np.asarray(values, dtype=np.float64)
        whole, without = known[0], known[1:]
        n = np.maximum(self._members, 1)
        means = np.bincount(self.groups, without, minlength=len(n)) / n
        slope = -(n - 1)[self.groups] * (without - means[self.groups]) / n[self.groups]
        return np.concatenate([known, whole + self.weights @ slope])

    def centred(self, rows: Floats, low: float = 0.0, high: float = 1.0) -> Floats:
        """`rows` with its resamples moved so that their mean is the value, and kept in bounds.

        For a metric that is least where groups are equal: chance alone makes resamples less equal
        than the corpus, so that without this an interval could not reach equality.
        """
        whole, drawn = rows[: 1 + self.blocks], rows[1 + self.blocks :]
        known = drawn[np.isfinite(drawn)]
        if not known.size:
            return rows
        return np.concatenate([whole, np.clip(drawn - known.mean() + rows[0], low, high)])

    def why_no_interval(self, group: int | None = None) -> str | None:
        """Why the blocks, or those of one group, are too few for an interval, or None."""
        if group is not None:
            n = int(self._members[group])
            few = n < MIN_BLOCKS
            return f"{n} blocks, and an interval needs {MIN_BLOCKS}" if few else None
        lone = [self.names[g] for g in np.flatnonzero(self._members == 1)]
        if lone and self.blocks > 1:
            return f"group {lone[0]!r} is a single block, whose spread cannot be told"
        free = self.blocks - int((self._members > 0).sum()) + 1
        if free < MIN_BLOCKS:
            return f"{free} blocks beyond one a group, and an interval needs {MIN_BLOCKS}"
        return None

    def estimate(self, rows: Floats, group: int | None = None) -> Estimate:
        """The value with its percentile interval; without a value or an interval, with a reason."""
        if not np.isfinite(rows[0]):
            return Estimate(None, None, None, "its denominator is 0 in this text")
        value, reason = float(rows[0]), self.why_no_interval(group)
        drawn = rows[1 + self.blocks :]
        drawn = drawn[np.isfinite(drawn)]
        if reason is None and not drawn.size:
            reason = "it has no value in any resample"
        if reason:
            return Estimate(value, None, None, f"no interval: {reason}")
        tail = (1 - self.level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return Estimate(value, float(low), float(high), None)

    def contributions(self, rows: Floats) -> Floats:
        """What each block adds to a value, by its pseudo-value: (blocks,), which sum to it."""
        without = rows[1 : 1 + self.blocks]
        shift = (self.blocks - 1) * (without - without.mean())
        return np.asarray((rows[0] - shift) / self.blocks)


def divide(above: ArrayLike, below: ArrayLike) -> Floats:
    """`above` / `below`, NaN where `below` is 0."""
    top, bottom = np.asarray(above, np.float64), np.asarray(below, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom == 0, np.nan, top / bottom)
