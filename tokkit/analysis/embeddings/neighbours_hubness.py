"""Hubness: how unevenly rows are named as neighbours by others.

N_k(x) counts the rows among whose k nearest x is. Its mean is k whatever the cloud looks like; its
skewness tells a few hubs, neighbours of very many, from the even spread (Radovanovic, Nanopoulos
and Ivanovic 2010, section 2). Even noise has hubs in high dimensions, so a null stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.geometry_spectrum import Measure

_RESAMPLES = 500
_CELLS = 1 << 22


@dataclass(frozen=True, slots=True)
class Hubness:
    """Of n rows with k neighbours each; `counts` (n,) is N_k of each row, at its place.

    skewness        third standardised moment of N_k, with a bootstrap interval over rows
    never_named     share of rows that are nobody's neighbour (antihubs)
    largest         N_k of the largest hub
    """

    n: int
    k: int
    skewness: Measure
    never_named: Measure
    largest: int
    counts: NDArray[np.int64]


def hubness(places: NDArray[np.integer], n: int, generator: np.random.Generator) -> Hubness:
    """Hubness of neighbours given as places 0..n-1, (n, k); -1 is none.

    The intervals draw rows with their N_k as they are: the graph is not drawn anew.
    """
    named = places[places >= 0]
    counts = np.bincount(named, minlength=n)
    skews, nevers = [], []
    for _ in range(-(-_RESAMPLES * n // _CELLS)):
        draws = max(1, min(_RESAMPLES, _CELLS // n))
        drawn = counts[generator.integers(0, n, (draws, n))]
        skews.append(skewness(drawn))
        nevers.append((drawn == 0).mean(axis=1))
    return Hubness(
        n=n,
        k=places.shape[1],
        skewness=_with_interval(float(skewness(counts)), np.concatenate(skews)),
        never_named=_with_interval(float((counts == 0).mean()), np.concatenate(nevers)),
        largest=int(counts.max()),
        counts=counts,
    )


def _with_interval(value: float, drawn: NDArray[np.float64]) -> Measure:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Measure(value, float(low), float(high))


def skewness(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """m3 / m2^1.5 along the last axis, with divisor n; 0 where all counts are equal."""
    centred = counts - counts.mean(axis=-1, keepdims=True)
    second = np.square(centred).mean(axis=-1)
    third = (np.square(centred) * centred).mean(axis=-1)
    powered = second**1.5
    found: NDArray[np.float64] = np.divide(
        third, powered, out=np.zeros_like(powered), where=powered > 0
    )
    return found


def named_at_least(counts: NDArray[np.integer]) -> list[tuple[int, float]]:
    """(times, share of the rows that are named at least so often), at 0, 1, 2, 4, ...."""
    top, times = int(counts.max()), [0, 1]
    while times[-1] < top:
        times.append(min(2 * times[-1], top))
    return [(step, float((counts >= step).mean())) for step in dict.fromkeys(times)]
