"""Apply merges to the bytes of one pretoken: always the lowest rank first, leftmost on ties.

A short pretoken is searched whole at every step. A long one lies in blocks of 128 symbols: inside
a block symbols close up, blocks that become empty are unlinked, and a tree over the blocks' lowest
ranks finds the leftmost of the lowest at once. That is O(n (128 + log n)) time and eight bytes of
working memory a byte, less than a heap of pairs needs, and there are no stale entries to skip.

Merges are in an open-addressing table, int64 of a power of two of slots: left id << 43, right id
<< 22 and rank in one word, or -1. The ranks of pairs of bytes stand in a table of their own, int32
(65536,): they are asked for first, and most often.
"""

from __future__ import annotations

import numpy as np

from tokkit.jit import kernel

NO_RANK = np.int32(2**31 - 1)
SHORT = 128
"""Pretokens of up to as many bytes are merged by the plain loop; also the size of a block."""
_EMPTY = np.int64(-1)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_ID_BITS, _RANK_BITS = 21, 22
_RANKS = (1 << _RANK_BITS) - 1
MAX_IDS = 1 << 20
"""Ids must be below this, and ranks below four times as many, to lie in one word together."""


@kernel
def _home(key, slots):  # type: ignore[no-untyped-def]
    code = np.uint64(key) * _SPREAD
    return np.int64((code ^ (code >> np.uint64(32))) & np.uint64(slots - 1))


@kernel
def fill_merges(table, merges):  # type: ignore[no-untyped-def]
    """Enter merges, int32 (n, 3) in order of rank; a pair that stands twice has its last rank."""
    table[:] = _EMPTY
    for rank in range(merges.shape[0]):
        key = (np.int64(merges[rank, 0]) << _ID_BITS) | np.int64(merges[rank, 1])
        place = _home(key, table.size)
        while table[place] != _EMPTY and table[place] >> _RANK_BITS != key:
            place = (place + 1) & (table.size - 1)
        table[place] = (key << _RANK_BITS) | rank


@kernel
def rank_of(table, left, right):  # type: ignore[no-untyped-def]
    """The rank of a pair of ids, or NO_RANK."""
    key = (np.int64(left) << _ID_BITS) | np.int64(right)
    place = _home(key, table.size)
    while True:
        found = table[place]
        if found >> _RANK_BITS == key:
            return np.int32(found & _RANKS)
        if found == _EMPTY:
            return NO_RANK
        place = (place + 1) & (table.size - 1)


@kernel
def rank_byte_pairs(table, byte_ids, pairs):  # type: ignore[no-untyped-def]
    """Fill `pairs` int32 (65536,) with the rank of each two bytes, first << 8 | second."""
    for pair in range(pairs.size):
        pairs[pair] = rank_of(table, byte_ids[pair >> 8], byte_ids[pair & 0xFF])


@kernel
def lay_out(data, start, length, byte_ids, pairs, symbols, base, ranks):  # type: ignore[no-untyped-def]
    """Write the ids of single bytes from symbols[base] on, and the ranks of their pairs."""
    second = np.int64(data[start])
    symbols[base] = byte_ids[second]
    for place in range(1, length):
        first, second = second, np.int64(data[start + place])
        symbols[base + place] = byte_ids[second]
        ranks[place - 1] = pairs[(first << 8) | second]


@kernel
def merge_near(place, table, results, symbols, base, n, ranks):  # type: ignore[no-untyped-def]
    """Perform the merge at `place` of n symbols; those after it move up by one."""
    symbols[base + place] = results[ranks[place]]
    for later in range(place + 1, n - 1):
        symbols[base + later] = symbols[base + later + 1]
        ranks[later - 1] = ranks[later]
    if place > 0:
        ranks[place - 1] = rank_of(table, symbols[base + place - 1], symbols[base + place])
    if place + 2 < n:
        ranks[place] = rank_of(table, symbols[base + place], symbols[base + place + 1])


@kernel
def merge_short(table, results, symbols, base, n, ranks):  # type: ignore[no-untyped-def]
    """Merge symbols[base : base + n] in place; returns how many are left.

    `ranks` holds the ranks of the pairs; `results` int32 (merges,) the id that each rank gives.
    """
    while n > 1:
        best = 0
        lowest = ranks[0]
        for place in range(1, n - 1):
            if ranks[place] < lowest:
                lowest = ranks[place]
                best = place
        if lowest == NO_RANK:
            break
        merge_near(best, table, results, symbols, base, n, ranks)
        n -= 1
    return n


@kernel
def lift(tree, block, lowest):  # type: ignore[no-untyped-def]
    """Set the lowest rank of a block, and of all that the tree has above it."""
    node = (tree.size >> 1) + block
    tree[node] = lowest
    node >>= 1
    while node >= 1:
        lower = min(tree[2 * node], tree[2 * node + 1])
        if tree[node] == lower:
            break
        tree[node] = lower
        node >>= 1


@kernel
def refresh(tree, ranks, counts, block):  # type: ignore[no-untyped-def]
    """Set the lowest rank of a block from the ranks of its pairs."""
    lowest = NO_RANK
    for place in range(block * SHORT, block * SHORT + counts[block]):
        lowest = min(lowest, ranks[place])
    lift(tree, block, lowest)


@kernel
def leftmost(tree, ranks):  # type: ignore[no-untyped-def]
    """The place of the leftmost pair of the lowest rank, which must be in the tree."""
    lowest = tree[1]
    node = 1
    while node < tree.size >> 1:
        node *= 2
        if tree[node] != lowest:
            node += 1
    place = (node - (tree.size >> 1)) * SHORT
    while ranks[place] != lowest:
        place += 1
    return place


@kernel
def _remove(values, place, end):  # type: ignore[no-untyped-def]
    for later in range(place, end - 1):
        values[later] = values[later + 1]


@kernel
def laid_in_blocks(table, symbols, base, n):  # type: ignore[no-untyped-def]
    """Ranks of all pairs, symbols in each block, blocks before and after, and the tree."""
    n_blocks = (n + SHORT - 1) // SHORT
    leaves = 1
    while leaves < n_blocks:
        leaves *= 2
    ranks = np.empty(n_blocks * SHORT, dtype=np.int32)
    counts = np.empty(n_blocks, dtype=np.int32)
    before = np.empty(n_blocks, dtype=np.int32)
    after = np.empty(n_blocks, dtype=np.int32)
    tree = np.full(2 * leaves, NO_RANK, dtype=np.int32)
    for place in range(n - 1):
        ranks[place] = rank_of(table, symbols[base + place], symbols[base + place + 1])
    ranks[n - 1 :] = NO_RANK
    for block in range(n_blocks):
        counts[block] = min(SHORT, n - block * SHORT)
        before[block] = block - 1
        after[block] = block + 1 if block + 1 < n_blocks else -1
        lowest = NO_RANK
        for place in range(block * SHORT, block * SHORT + counts[block]):
            lowest = min(lowest, ranks[place])
        tree[leaves + block] = lowest
    for node in range(leaves - 1, 0, -1):
        tree[node] = min(tree[2 * node], tree[2 * node + 1])
    return ranks, counts, before, after, tree


@kernel
def merge_at(place, table, results, symbols, base, ranks, counts, before, after, tree):  # type: ignore[no-untyped-def]
    """Perform the merge at `place`, across blocks if need be, and rank the pairs beside it."""
    block = place // SHORT
    end = block * SHORT + counts[block]
    symbols[base + place] = results[ranks[place]]
    if place + 1 < end:
        _remove(symbols, base + place + 1, base + end)
        _remove(ranks, place, end)
        end -= 1
        counts[block] -= 1
        # Its own rank now comes from its right neighbour's; the pair is ranked anew below.
    else:
        other = after[block]
        first = other * SHORT
        _remove(symbols, base + first, base + first + counts[other])
        _remove(ranks, first, first + counts[other])
        counts[other] -= 1
        if counts[other] == 0:
            after[block] = after[other]
            if after[other] >= 0:
                before[after[other]] = block
            lift(tree, other, NO_RANK)
        else:
            refresh(tree, ranks, counts, other)
    right = np.int64(-1)
    if place + 1 < end:
        right = place + 1
    elif after[block] >= 0:
        right = np.int64(after[block]) * SHORT
    ranks[place] = NO_RANK
    if right >= 0:
        ranks[place] = rank_of(table, symbols[base + place], symbols[base + right])
    if place > block * SHORT:
        left = place - 1
        ranks[left] = rank_of(table, symbols[base + left], symbols[base + place])
    elif before[block] >= 0:
        other = before[block]
        left = np.int64(other) * SHORT + counts[other] - 1
        ranks[left] = rank_of(table, symbols[base + left], symbols[base + place])
        refresh(tree, ranks, counts, other)
    refresh(tree, ranks, counts, block)


@kernel
def close_up(symbols, base, counts, after):  # type: ignore[no-untyped-def]
    """Move what the blocks hold together; returns how many symbols there are."""
    filled = np.int64(0)
    block = np.int64(0)
    while block >= 0:
        for place in range(block * SHORT, block * SHORT + counts[block]):
            symbols[base + filled] = symbols[base + place]
            filled += 1
        block = np.int64(after[block])
    return filled


@kernel
def merge_long(table, results, symbols, base, n):  # type: ignore[no-untyped-def]
    """As `merge_short`, for any length."""
    ranks, counts, before, after, tree = laid_in_blocks(table, symbols, base, n)
    while tree[1] != NO_RANK:
        place = leftmost(tree, ranks)
        merge_at(place, table, results, symbols, base, ranks, counts, before, after, tree)
    return close_up(symbols, base, counts, after)
