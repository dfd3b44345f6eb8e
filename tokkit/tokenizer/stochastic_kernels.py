"""Encode at random: BPE-dropout and StochasTok, from random words that depend on the place alone.

The generator is SplitMix64 in counter form (Steele et al. 2014): the n-th word of a key, without a
state, so that neither threads nor the order of the work can change what is drawn.
"""

from __future__ import annotations

import numpy as np

from tokkit.jit import kernel
from tokkit.tokenizer.merging_kernels import (
    NO_RANK,
    SHORT,
    close_up,
    laid_in_blocks,
    lay_out,
    leftmost,
    lift,
    merge_at,
    merge_near,
    refresh,
)

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_UNIT = 2.0**-53
_FOR_DROPOUT = np.uint64(1)
_FOR_SPLITS = np.uint64(2)


@kernel
def random_word(key, number):  # type: ignore[no-untyped-def]
    """The `number`-th of the 64-bit random words of `key` (SplitMix64, Steele et al. 2014)."""
    word = np.uint64(key) + (np.uint64(number) + np.uint64(1)) * _SPREAD
    word = (word ^ (word >> np.uint64(30))) * _FIRST
    word = (word ^ (word >> np.uint64(27))) * _SECOND
    return word ^ (word >> np.uint64(31))


@kernel
def random_key(purpose, seed, document, place):  # type: ignore[no-untyped-def]
    """The key of the random words for one place of one document; each purpose has its own."""
    return random_word(random_word(random_word(purpose, seed), document), place)


@kernel
def random_unit(key, number):  # type: ignore[no-untyped-def]
    """The `number`-th random word of `key` as a number from 0 to below 1."""
    return np.float64(random_word(key, number) >> np.uint64(11)) * _UNIT


@kernel
def merge_short_with_dropout(table, results, symbols, base, n, ranks, dropout, key, tally):  # type: ignore[no-untyped-def]
    """As `merge_short`, with each possible merge left out with a probability at each step.

    BPE-dropout, Provilkov et al. (2020), algorithm 1: the lowest rank of those that stay is
    merged, and merging ends where all are left out. Only as many are drawn for as are looked at,
    in order of rank, which gives the same distribution. Adds to `tally` int64 (2,) how many merges
    were drawn for and left out.
    """
    drawn = np.int64(0)
    while n > 1:
        skipped = 0
        while True:
            best = -1
            lowest = NO_RANK
            for place in range(n - 1):
                # What was left out in this step has a negative rank.
                if 0 <= ranks[place] < lowest:
                    lowest = ranks[place]
                    best = place
            if best < 0:
                break
            drawn += 1
            if random_unit(key, drawn) >= dropout:
                break
            ranks[best] = -1 - ranks[best]
            skipped += 1
        tally[1] += skipped
        if best < 0:
            break
        if skipped:
            for place in range(n - 1):
                if ranks[place] < 0:
                    ranks[place] = -1 - ranks[place]
        merge_near(best, table, results, symbols, base, n, ranks)
        n -= 1
    tally[0] += drawn
    return np.int64(n)


@kernel
def merge_long_with_dropout(table, results, symbols, base, n, dropout, key, tally):  # type: ignore[no-untyped-def]
    """As `merge_short_with_dropout`, from the same random words, for any length."""
    if n < 2:
        return np.int64(n)
    ranks, counts, before, after, tree = laid_in_blocks(table, symbols, base, n)
    left_out = np.empty(16, dtype=np.int64)
    drawn = np.int64(0)
    while True:
        skipped = 0
        place = np.int64(-1)
        while tree[1] != NO_RANK:
            place = leftmost(tree, ranks)
            drawn += 1
            if random_unit(key, drawn) >= dropout:
                break
            if skipped == left_out.size:
                wider = np.empty(2 * skipped, dtype=np.int64)
                wider[:skipped] = left_out
                left_out = wider
            left_out[skipped] = (np.int64(place) << 32) | np.int64(ranks[place])
            skipped += 1
            ranks[place] = NO_RANK
            refresh(tree, ranks, counts, place // SHORT)
            place = np.int64(-1)
        tally[1] += skipped
        if place < 0:
            break
        for number in range(skipped):
            restored = left_out[number] >> 32
            rank = np.int32(left_out[number] & 0xFFFFFFFF)
            ranks[restored] = rank
            block = restored // SHORT
            if rank < tree[(tree.size >> 1) + block]:
                lift(tree, block, rank)
        merge_at(place, table, results, symbols, base, ranks, counts, before, after, tree)
    tally[0] += drawn
    return close_up(symbols, base, counts, after)


@kernel
def encode_segments_with_dropout(  # type: ignore[no-untyped-def]
    data, ends, bounds, fixed, documents, positions, model, dropout, seed, tally, out, id_offsets
):
    """As `encode_segments`, with BPE-dropout and without a cache; returns the number of ids.

    Segment s lies in document documents[s], from its byte positions[s] on: a pretoken's random
    words depend on nothing but the seed and where it stands in its document.
    """
    byte_ids, pairs, table, results, _, _ = model
    ranks = np.empty(SHORT, dtype=np.int32)
    position, number, filled = np.int64(0), 0, np.int64(0)
    id_offsets[0] = 0
    for segment in range(bounds.size - 1):
        start, segment_end = bounds[segment], bounds[segment + 1]
        if fixed[segment] >= 0 and start < segment_end:
            out[filled] = fixed[segment]
            filled += 1
        while position < segment_end:
            end = np.int64(ends[number])
            number += 1
            length = end - position
            if fixed[segment] < 0:
                place_in_document = positions[segment] + position - start
                key = random_key(_FOR_DROPOUT, seed, documents[segment], place_in_document)
                if length <= SHORT:
                    lay_out(data, position, length, byte_ids, pairs, out, filled, ranks)
                    filled += merge_short_with_dropout(
                        table, results, out, filled, length, ranks, dropout, key, tally
                    )
                else:
                    for place in range(length):
                        out[filled + place] = byte_ids[data[position + place]]
                    filled += merge_long_with_dropout(
                        table, results, out, filled, length, dropout, key, tally
                    )
            position = end
        id_offsets[segment + 1] = filled
    return filled


@kernel
def _draw(key, number, n):  # type: ignore[no-untyped-def]
    """A random number from 0 to n - 1, from the upper half of a random word times n."""
    word = random_word(key, number) >> np.uint64(32)
    return np.int64((word * np.uint64(n)) >> np.uint64(32))


@kernel
def split_tokens(  # type: ignore[no-untyped-def]
    ids, bounds, steps, documents, numbers, seed, splits, left, right, out, new_bounds
):
    """Split random tokens of each window ids[bounds[w]:bounds[w + 1]] into two, steps[w] times.

    StochasTok, Sims et al. (2025): each step draws a position of the sequence as it is then, and
    one of the token's splits left[s], right[s] for s from splits[id] to splits[id + 1]; a token
    without one is left. `out` int32 has room for bounds[-1] + sum(steps) ids; returns how many
    there are, and fills `new_bounds`. Returns also how many splits were made.
    """
    filled, made = np.int64(0), np.int64(0)
    new_bounds[0] = 0
    for window in range(steps.size):
        begin, n = bounds[window], bounds[window + 1] - bounds[window]
        if n == 0 or steps[window] == 0:
            for place in range(n):
                out[filled + place] = ids[begin + place]
            filled += n
            new_bounds[window + 1] = filled
            continue
        # Kept in order of being made, linked in order of the text: a place drawn from the one is as
        # random as a place drawn from the other, and nothing has to move.
        tokens = np.empty(n + steps[window], dtype=np.int32)
        after = np.empty(tokens.size, dtype=np.int64)
        tokens[:n] = ids[begin : begin + n]
        for place in range(n):
            after[place] = place + 1
        after[n - 1] = -1
        key = random_key(_FOR_SPLITS, seed, documents[window], numbers[window])
        for step in range(steps[window]):
            place = _draw(key, 2 * step, n)
            token = tokens[place]
            choices = splits[token + 1] - splits[token]
            if choices == 0:
                continue
            chosen = splits[token] + _draw(key, 2 * step + 1, choices)
            tokens[place] = left[chosen]
            tokens[n] = right[chosen]
            after[n] = after[place]
            after[place] = n
            n += 1
            made += 1
        link = np.int64(0)
        while link >= 0:
            out[filled] = tokens[link]
            filled += 1
            link = after[link]
        new_bounds[window + 1] = filled
    return filled, made
