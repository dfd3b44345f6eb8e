"""Compiled arithmetic of one token in one text: vectors through one layer's maps.

A matrix times a vector is bound by how fast the matrix is read; sums may be taken in another order
than written, so that they run in the processor's wide registers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tokkit.jit import kernel, summing_kernel

_SQRT_2_OVER_PI = np.float32(math.sqrt(2 / math.pi))
_ONE, _HALF, _CUBIC = np.float32(1), np.float32(0.5), np.float32(0.044715)


@summing_kernel
def multiply(weight: Any, x: Any, bias: Any, out: Any) -> None:
    """Weight (O, I) times x (I,), plus bias, (O,) or empty, into out (O,)."""
    for row in range(weight.shape[0]):
        total = np.float32(0)
        for column in range(weight.shape[1]):
            total += weight[row, column] * x[column]
        out[row] = total + bias[row] if len(bias) else total


@summing_kernel
def rms_norm(x: Any, weight: Any, epsilon: float, out: Any) -> None:
    """Each row of x (N, D) over its root mean square, times weight (D,); out may be x."""
    for row in range(x.shape[0]):
        total = np.float32(0)
        for column in range(x.shape[1]):
            total += x[row, column] * x[row, column]
        scale = np.float32(1 / math.sqrt(total / x.shape[1] + epsilon))
        for column in range(x.shape[1]):
            out[row, column] = x[row, column] * scale * weight[column]


@kernel
def turn(x: Any, cosines: Any, sines: Any) -> None:
    """Turn the pairs (i, i + R/2) of each head of x (heads, K), in place; angles (R/2,)."""
    half = len(cosines)
    for head in range(x.shape[0]):
        for pair in range(half):
            first, second = x[head, pair], x[head, pair + half]
            x[head, pair] = first * cosines[pair] - second * sines[pair]
            x[head, pair + half] = second * cosines[pair] + first * sines[pair]


@summing_kernel
def attend(
    query: Any, keys: Any, values: Any, held: int, scale: float, scores: Any, out: Any
) -> None:
    """Mix the first `held` slots of values (G, slots, K) for queries (H, K) into out (H, K)."""
    group = query.shape[0] // keys.shape[0]
    for head in range(query.shape[0]):
        key, value = keys[head // group], values[head // group]
        best = np.float32(-np.inf)
        for slot in range(held):
            total = np.float32(0)
            for place in range(query.shape[1]):
                total += query[head, place] * key[slot, place]
            scores[slot] = total * np.float32(scale)
            best = max(best, scores[slot])
        whole = np.float32(0)
        for slot in range(held):
            scores[slot] = math.exp(scores[slot] - best)
            whole += scores[slot]
        out[head] = 0
        for slot in range(held):
            share = scores[slot] / whole
            for place in range(query.shape[1]):
                out[head, place] += share * value[slot, place]


@kernel
def activate(x: Any, kind: int) -> None:
    """0 SiLU, 1 GELU by tanh, 2 ReLU, of x (M,) in place."""
    for place in range(len(x)):
        value = x[place]
        if kind == 0:
            x[place] = value / (_ONE + math.exp(-value))
        elif kind == 1:
            inner = _SQRT_2_OVER_PI * (value + _CUBIC * value * value * value)
            x[place] = _HALF * value * (_ONE + math.tanh(inner))
        else:
            x[place] = max(value, np.float32(0))
