"""Ids back to bytes."""

from __future__ import annotations

import numpy as np

from tokkit.jit import kernel


@kernel
def joined_size(ids, starts, lengths):  # type: ignore[no-untyped-def]
    """Bytes of all ids together; -1 - the place of the first id that has none.

    `starts` and `lengths` int64 (vocab_size,) say where each token's bytes are; length -1: none.
    """
    total = np.int64(0)
    for place in range(ids.size):
        token = np.int64(ids[place])
        if token < 0 or token >= starts.size or lengths[token] < 0:
            return -1 - np.int64(place)
        total += lengths[token]
    return total


@kernel
def join_bytes(ids, starts, lengths, data, out):  # type: ignore[no-untyped-def]
    """Write the bytes of all ids to `out`, which has room for all of them."""
    filled = np.int64(0)
    for place in range(ids.size):
        token = np.int64(ids[place])
        start = starts[token]
        for byte in range(lengths[token]):
            out[filled + byte] = data[start + byte]
        filled += lengths[token]
