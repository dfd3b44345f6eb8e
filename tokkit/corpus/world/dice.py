"""Seeded draws that are the same on every platform and in every version of numpy.

numpy promises the raw numbers of a bit generator, not what its distributions make of them (NEP 19),
so uniform numbers are made from the raw ones here, and choices from those by exact arithmetic.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from math import fsum
from typing import TypeVar

import numpy as np

T = TypeVar("T")
# Mandelbrot's shift of Zipf's law, with the value usual for English: 1 / (rank + 2.7).
ZIPF_SHIFT = 2.7
_BLOCK = 1 << 14


@cache
def zipf_shares(n: int) -> tuple[float, ...]:
    """Share of each of `n` ranks, proportional to 1 / (rank + 2.7), rank from 1; they sum to 1.

    Mandelbrot (1953). Divisions and an exact sum, so the same doubles everywhere.
    """
    weights = [1.0 / (rank + ZIPF_SHIFT) for rank in range(1, n + 1)]
    total = fsum(weights)
    return tuple(weight / total for weight in weights)


@cache
def _zipf_steps(n: int) -> tuple[float, ...]:
    # Sums of rounded shares may end below 1; a draw never reaches 1, so that the last is safe.
    return (*tuple(accumulate(zipf_shares(n)))[:-1], 1.0)


def _units(key: tuple[int, ...]) -> Iterator[float]:
    """Numbers from [0, 1): the upper 53 bits of each raw number."""
    bits = np.random.PCG64(np.random.SeedSequence(key))
    while True:
        raw = bits.random_raw(_BLOCK) >> np.uint64(11)
        yield from (raw.astype(np.float64) * 2.0**-53).tolist()


class Dice:
    """A stream of choices named by whole numbers: the same numbers give the same stream.

    `unit()` is the next number from [0, 1).
    """

    def __init__(self, *key: int) -> None:
        # A generator's own __next__ is a third faster than a method around it.
        self.unit: Callable[[], float] = _units(key).__next__

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(self.unit() * n)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all alike."""
        return choices[int(self.unit() * len(choices))]

    def zipf(self, choices: Sequence[T]) -> T:
        """One of the choices, the first most often (see `zipf_shares`)."""
        return choices[bisect_right(_zipf_steps(len(choices)), self.unit())]

    def zipf_sample(self, choices: Sequence[T], n: int) -> list[T]:
        """`n` different choices (all where there are fewer) in the order in which they came."""
        wanted = min(n, len(choices))
        steps, unit = _zipf_steps(len(choices)), self.unit
        found: dict[int, None] = {}
        while len(found) < wanted:
            found[bisect_right(steps, unit())] = None
        return [choices[rank] for rank in found]

    def sample(self, choices: Sequence[T], n: int) -> list[T]:
        """`n` different choices, all alike, in random order."""
        left = list(choices)
        return [left.pop(int(self.unit() * len(left))) for _ in range(min(n, len(left)))]

    def rounds(self, choices: Sequence[T]) -> Iterator[T]:
        """All the choices in random order, then again in another, without end."""
        while True:
            yield from self.shuffled(choices)

    def shuffled(self, choices: Sequence[T]) -> list[T]:
        """The choices in random order."""
        return self.sample(choices, len(choices))
