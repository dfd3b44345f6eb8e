"""Compiled passes over the rows of a matrix: what a row holds, and a number that names it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokkit.jit import kernel

_MAGNITUDE = np.uint32(0x7FFFFFFF)


@kernel
def survey(bits: Any, multipliers: Any, magnitude: Any, digest: Any) -> None:
    """Largest magnitude (as bits) and hash of each row of bits (N, D), the uint32 of float32.

    As integers, magnitudes stand in the order of their values, infinity above all of them and NaN
    above infinity. The hash is multilinear, sum of bits x multipliers (D,) modulo 2^64; 0 and -0
    are the same number, and so the same bits here.
    """
    for row in range(bits.shape[0]):
        largest = np.uint32(0)
        total = np.uint64(0)
        for column in range(bits.shape[1]):
            size = bits[row, column] & _MAGNITUDE
            largest = max(largest, size)
            value = bits[row, column] if size != 0 else np.uint32(0)
            total += np.uint64(value) * multipliers[column]
        magnitude[row] = largest
        digest[row] = total
