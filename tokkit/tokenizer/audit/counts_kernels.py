"""Compiled loops over the tokens of blocks: their counts, and what each block adds to a sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokkit.jit import kernel

Ints = NDArray[np.int64]


@kernel
def count_in_blocks(
    block_starts: Ints,
    units: Ints,
    counts: Ints,
    ids: NDArray[np.int32],
    id_offsets: Ints,
    vocab_size: int,
) -> tuple[Ints, Ints, Ints]:
    """Counts of tokens from counts of pretokens, both by block, in compressed rows.

    `block_starts`, `units`, `counts` are the rows (blocks, units); `ids` from `id_offsets[u]` to
    `id_offsets[u + 1]` are the tokens of unit u. Returns row starts, sorted ids, counts.
    """
    blocks = len(block_starts) - 1
    found = np.zeros(vocab_size, np.int64)
    starts = np.zeros(blocks + 1, np.int64)
    columns = np.empty(1 << 16, np.int64)
    values = np.empty(1 << 16, np.int64)
    size = 0
    for block in range(blocks):
        for cell in range(block_starts[block], block_starts[block + 1]):
            unit = units[cell]
            for place in range(id_offsets[unit], id_offsets[unit + 1]):
                found[ids[place]] += counts[cell]
        if size + vocab_size > len(columns):
            room = 2 * len(columns) + vocab_size
            wider = np.empty(room, np.int64)
            wider[:size] = columns[:size]
            columns = wider
            wider = np.empty(room, np.int64)
            wider[:size] = values[:size]
            values = wider
        for token in range(vocab_size):
            if found[token]:
                columns[size] = token
                values[size] = found[token]
                found[token] = 0
                size += 1
        starts[block + 1] = size
    return starts, columns[:size].copy(), values[:size].copy()


@kernel
def left_out_sums(
    block_starts: Ints,
    columns: Ints,
    counts: Ints,
    totals: Ints,
    alpha: float,
    at_least: int,
    minimum: int,
) -> NDArray[np.float64]:
    """Sums over tokens of functions of their count x, whole and without each block.

    Columns of the result (1 + blocks, 7): x; x log2 x; x^alpha; 1; 1 where x >= `at_least`; 1 and
    ln x where x >= `minimum`. Tokens with x = 0 add nothing.
    """
    blocks = len(block_starts) - 1
    sums = np.zeros((blocks + 1, 7))
    terms = np.zeros((len(totals), 7))
    for token in range(len(totals)):
        _add_terms(terms, token, totals[token], alpha, at_least, minimum)
        for k in range(7):
            sums[0, k] += terms[token, k]
    for block in range(blocks):
        row = block + 1
        for cell in range(block_starts[block], block_starts[block + 1]):
            token = columns[cell]
            for k in range(7):
                sums[row, k] -= terms[token, k]
            left = totals[token] - counts[cell]
            _add_terms(sums, row, left, alpha, at_least, minimum)
        for k in range(7):
            sums[row, k] += sums[0, k]
    return sums


@kernel
def _add_terms(
    sums: NDArray[np.float64],
    row: int,
    count: int,
    alpha: float,
    at_least: int,
    minimum: int,
) -> None:
    if count <= 0:
        return
    x = float(count)
    log = np.log(x)
    sums[row, 0] += x
    sums[row, 1] += x * log / np.log(2.0)
    sums[row, 2] += np.exp(alpha * log)
    sums[row, 3] += 1.0
    if count >= at_least:
        sums[row, 4] += 1.0
    if count >= minimum:
        sums[row, 5] += 1.0
        sums[row, 6] += log
