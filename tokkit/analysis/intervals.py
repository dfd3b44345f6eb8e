"""Ratios of sums over documents with bootstrap intervals, the same resamples for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.stats import MIN_BLOCKS, block_weights

RESAMPLES = 1000
LEVEL = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Estimates with the bounds of their intervals, arrays of one shape; NaN where there is none.

    Bounds are NaN throughout where there are fewer than stats.MIN_BLOCKS documents.
    """

    estimate: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Resampling:
    """Which rows belong together, and how often each group is drawn in each resample.

    `groups` (rows,) numbers the groups from 0; `weights` is (resamples, groups).
    """

    groups: NDArray[np.int64]
    weights: Floats
    unit: str

    def __len__(self) -> int:
        return int(self.weights.shape[1])

    def sums(self, of_rows: ArrayLike) -> Floats:
        """Sums over the rows of each group: (rows, ...) -> (groups, ...)."""
        values = np.asarray(of_rows, dtype=np.float64)
        totals = np.zeros((len(self), *values.shape[1:]))
        np.add.at(totals, self.groups, values)
        return totals

    def ratios(self, above: ArrayLike, below: ArrayLike) -> Ratios:
        """Sums of `above` over sums of `below`, both (rows, ...) of one shape, with intervals."""
        tops, bottoms = self.sums(above), self.sums(below)
        with np.errstate(invalid="ignore", divide="ignore"):
            estimate = np.asarray(tops.sum(0) / bottoms.sum(0))
            if len(self) < MIN_BLOCKS:
                nothing = np.full_like(estimate, np.nan)
                return Ratios(estimate, nothing, nothing)
            shape = (len(self), -1)
            drawn = (self.weights @ tops.reshape(shape)) / (self.weights @ bottoms.reshape(shape))
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        return Ratios(estimate, low.reshape(estimate.shape), high.reshape(estimate.shape))

    def means(self, of_rows: ArrayLike) -> Ratios:
        """Means over rows, (rows, ...), with intervals."""
        values = np.asarray(of_rows, dtype=np.float64)
        return self.ratios(values, np.ones_like(values))


def resampling(documents: ArrayLike, generator: np.random.Generator) -> Resampling:
    """Resample documents; where they are too few, the windows cut from them.

    `documents` (rows,) says which document each row is from. Bootstrap of Rao, Wu and Yue (1992).
    """
    names, groups = np.unique(np.asarray(documents), return_inverse=True)
    unit = "documents"
    if len(names) < MIN_BLOCKS <= len(groups):
        groups, unit = np.arange(len(groups)), "windows"
    count = int(groups.max()) + 1
    weights = block_weights(np.zeros(count, dtype=np.int64), RESAMPLES, generator)
    return Resampling(groups.astype(np.int64), weights, unit)


def plain(value: object) -> float | None:
    """A number as the record holds it: None for NaN."""
    number = float(value)  # type: ignore[arg-type]
    return None if np.isnan(number) else number
