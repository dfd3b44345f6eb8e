"""Count distinct pretokens by a 64-bit hash of each: enough for an estimate."""

from __future__ import annotations

import numpy as np

from tokkit.jit import kernel


@kernel
def add_distinct(data, ends, first, last, slots):  # type: ignore[no-untyped-def]
    """Put the hashes of pretokens `first` to `last` into `slots`; return how many were new, and
    the bytes of these.

    data uint8, ends int32 (see `pretoken_ends`), slots uint64 of a power of two, 0 where free and
    with room for all. The hash is FNV-1a (Fowler, Noll, Vo 1991) with a final mix.
    """
    mask = np.uint64(slots.size - 1)
    begin = np.int64(ends[first - 1]) if first > 0 else np.int64(0)
    added = 0
    added_bytes = np.int64(0)
    for index in range(first, last):
        end = np.int64(ends[index])
        word = np.uint64(0xCBF29CE484222325)
        for place in range(begin, end):
            word = (word ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
        word = (word ^ (word >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
        slot = (word >> np.uint64(20)) & mask
        while slots[slot] != 0 and slots[slot] != word:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            slots[slot] = word
            added += 1
            added_bytes += end - begin
        begin = end
    return added, added_bytes


@kernel
def move_all(slots, wider):  # type: ignore[no-untyped-def]
    """Put every hash of `slots` into `wider`, which is larger and empty."""
    mask = np.uint64(wider.size - 1)
    for index in range(slots.size):
        word = slots[index]
        if word != 0:
            slot = (word >> np.uint64(20)) & mask
            while wider[slot] != 0:
                slot = (slot + np.uint64(1)) & mask
            wider[slot] = word
