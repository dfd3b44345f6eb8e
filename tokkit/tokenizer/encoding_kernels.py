"""Encode pretokens, each distinct one once: a bounded cache in front of the merges.

A slot of the cache is four words of 64 bits: the pretoken's first eight bytes; the next eight or,
past sixteen, a hash of all; two ids, or the place of more in a pool; and the place of a long
pretoken's bytes << 32 | its length << 8 | its number of ids. A slot without ids is free. The same
table, filled with the vocabulary, finds whole pretokens that are tokens.

Pretokens are looked up in batches: all of a batch are hashed first and their slots called into the
processor's cache, so that the waits for memory overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tokkit.jit import kernel
from tokkit.tokenizer.counting_kernels import first_bytes, load_word, same_bytes, second_word
from tokkit.tokenizer.merging_kernels import SHORT, lay_out, merge_long, merge_short

MAX_CACHED_BYTES = 120
"""Longer pretokens seldom come again; their ids would not fit the count's byte either."""
_PROBES = 48
_BATCH = 256
_ZERO, _ONE, _EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)
_HALF, _WORD = np.uint64(32), np.uint64(64)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_COUNT = np.uint64(0xFF)
_LENGTH = np.uint64(0xFFFFFF)
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xC2B2AE3D27D4EB4F)

# Places in the state of a cache, and of a run.
ENTRIES, POOLED, KEYED = 0, 1, 2
SEGMENT, PRETOKEN, POSITION, FILLED = 0, 1, 2, 3


@intrinsic
def _call_in(typing_context: Any, slots: Any, row: Any) -> Any:
    """Ask the processor for a row of slots, uint64 (n, 4), ahead of its use."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = builder.shl(arguments[1], ir.Constant(ir.IntType(64), 2))
        byte, number = ir.PointerType(ir.IntType(8)), ir.IntType(32)
        pointer = builder.bitcast(builder.gep(array.data, [word]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        # For reading, to be kept in all caches, as data.
        builder.call(prefetch, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(slots, types.uint64), generate


@kernel
def _shift_of(slots):  # type: ignore[no-untyped-def]
    """How far a hash is shifted to be one of so many slots, a power of two from 2 on."""
    shift = 64
    while 1 << (64 - shift) < slots.shape[0]:
        shift -= 1
    return np.uint64(shift)


@kernel
def _home(low, high, shift):  # type: ignore[no-untyped-def]
    """The slot where a pretoken belongs, by the upper bits of a product, which depend on all."""
    other = high * _SECOND
    return ((low ^ (other >> _HALF) ^ (other << _HALF)) * _FIRST) >> shift


@kernel
def _is_in(slots, place, keys, data, start, length, low, high):  # type: ignore[no-untyped-def]
    """Whether a slot holds these bytes."""
    packed = slots[place, 3]
    return (
        slots[place, 0] == low
        and slots[place, 1] == high
        and np.int64((packed >> _EIGHT) & _LENGTH) == length
        and (length <= 16 or same_bytes(keys, np.int64(packed >> _HALF), data, start, length))
    )


@kernel
def _find(slots, home, keys, data, start, length, low, high, probes):  # type: ignore[no-untyped-def]
    """The slot that holds a pretoken; else -1 - (a free slot); else -1 - (all slots).

    Looking ends after some probes, so that text made to collide cannot make it slow.
    """
    mask = np.uint64(slots.shape[0] - 1)
    place = home
    for _ in range(probes):
        if slots[place, 3] == _ZERO:
            return -1 - np.int64(place)
        if _is_in(slots, place, keys, data, start, length, low, high):
            return np.int64(place)
        place = (place + _ONE) & mask
    return np.int64(-1 - slots.shape[0])


@kernel
def enter_tokens(slots, data, offsets, ids):  # type: ignore[no-untyped-def]
    """Fill an empty table with the tokens data[offsets[i]:offsets[i + 1]], all different."""
    shift = _shift_of(slots)
    for number in range(ids.size):
        start, length = offsets[number], offsets[number + 1] - offsets[number]
        low = first_bytes(data, start, length)
        high = second_word(data, start, length)
        home = _home(low, high, shift)
        slot = -1 - _find(slots, home, data, data, start, length, low, high, slots.shape[0])
        slots[slot, 0] = low
        slots[slot, 1] = high
        slots[slot, 2] = np.uint64(ids[number])
        slots[slot, 3] = (np.uint64(start) << _HALF) | (np.uint64(length) << _EIGHT) | _ONE


@kernel
def move_entries(old, new):  # type: ignore[no-untyped-def]
    """Enter the pretokens of one table into a larger, empty one; returns how many found room."""
    moved = 0
    shift = _shift_of(new)
    mask = np.uint64(new.shape[0] - 1)
    for source in range(old.shape[0]):
        if old[source, 3] == _ZERO:
            continue
        place = _home(old[source, 0], old[source, 1], shift)
        for _ in range(_PROBES):
            if new[place, 3] == _ZERO:
                new[place] = old[source]
                moved += 1
                break
            place = (place + _ONE) & mask
    return moved


@kernel
def _encode(data, start, length, model, out, filled, ranks):  # type: ignore[no-untyped-def]
    """Write the ids of one pretoken to `out` from `filled` on; returns how many.

    A pretoken that is a token of the table of whole ones, where that has more than one slot, is
    that token.
    """
    byte_ids, pairs, table, results, whole, whole_bytes = model
    # A longer token than 24 bits can tell is not entered.
    if whole.shape[0] > 1 and length <= np.int64(_LENGTH):
        low = first_bytes(data, start, length)
        high = second_word(data, start, length)
        home = _home(low, high, _shift_of(whole))
        slot = _find(whole, home, whole_bytes, data, start, length, low, high, whole.shape[0])
        if slot >= 0:
            out[filled] = np.int32(whole[slot, 2])
            return np.int64(1)
    if length <= SHORT:
        lay_out(data, start, length, byte_ids, pairs, out, filled, ranks)
        return np.int64(merge_short(table, results, out, filled, length, ranks))
    for place in range(length):
        out[filled + place] = byte_ids[data[start + place]]
    return np.int64(merge_long(table, results, out, filled, length))


@kernel
def encode_units(data, offsets, model, out, id_offsets):  # type: ignore[no-untyped-def]
    """Ids of each data[offsets[i]:offsets[i + 1]], taken as one pretoken; returns how many.

    `out` int32 has room for one id a byte; fills `id_offsets` int64 (units + 1,).
    """
    ranks = np.empty(SHORT, dtype=np.int32)
    filled = np.int64(0)
    id_offsets[0] = 0
    for unit in range(offsets.size - 1):
        length = offsets[unit + 1] - offsets[unit]
        if length > 0:
            filled += _encode(data, offsets[unit], length, model, out, filled, ranks)
        id_offsets[unit + 1] = filled
    return filled


@kernel
def _keep(slots, slot, pool, keys, state, data, start, length, low, high, out, filled, count):  # type: ignore[no-untyped-def]
    """Enter a pretoken with the `count` ids that stand in `out` from `filled` on."""
    key = np.uint64(state[KEYED])
    if length > 16:
        for place in range(length):
            keys[state[KEYED] + place] = data[start + place]
        state[KEYED] += length
    if count <= 2:
        ids = np.uint64(out[filled])
        if count == 2:
            ids |= np.uint64(out[filled + 1]) << _HALF
    else:
        ids = np.uint64(state[POOLED])
        for number in range(count):
            pool[state[POOLED] + number] = out[filled + number]
        state[POOLED] += count
    slots[slot, 0] = low
    slots[slot, 1] = high
    slots[slot, 2] = ids
    slots[slot, 3] = (key << _HALF) | (np.uint64(length) << _EIGHT) | np.uint64(count)
    state[ENTRIES] += 1


@kernel
def _has_room(slots, pool, keys, state):  # type: ignore[no-untyped-def]
    return (
        2 * (state[ENTRIES] + 1) <= slots.shape[0]
        and state[POOLED] + MAX_CACHED_BYTES <= pool.size
        and state[KEYED] + MAX_CACHED_BYTES <= keys.size
    )


@kernel
def _look_ahead(data, start, ends, first, last, slots, shift, lows, highs, homes):  # type: ignore[no-untyped-def]
    """Words and home slots of the pretokens first to last, the first of which begins at `start`."""
    safe = data.size - 16
    for place in range(last - first):
        end = np.int64(ends[first + place])
        length = end - start
        if length <= 16 and start <= safe:
            # Two loads and no branch on the length: a pretoken's length cannot be foretold.
            n_low, n_high = np.uint64(min(length, 8)), np.uint64(max(length, 8) - 8)
            low = load_word(data, start) & (_ALL >> (_WORD - _EIGHT * n_low))
            rest = load_word(data, start + 8)
            high = rest & ((_ONE << (_EIGHT * n_high & np.uint64(63))) - _ONE)
            if length == 16:
                high = rest
        else:
            low = first_bytes(data, start, length)
            high = _ZERO if length > MAX_CACHED_BYTES else second_word(data, start, length)
        home = _home(low, high, shift)
        _call_in(slots, home)
        lows[place], highs[place], homes[place] = low, high, home
        start = end


@kernel
def _encode_new(data, start, length, low, high, home, model, cache, out, filled, ranks):  # type: ignore[no-untyped-def]
    """The slot of a pretoken that is not in its home slot, or -1 - (number of ids).

    It may be in a later slot; else it is encoded, and entered where there is a slot for it.
    """
    slots, pool, keys, state = cache
    if length > MAX_CACHED_BYTES:
        return -1 - _encode(data, start, length, model, out, filled, ranks)
    slot = _find(slots, home, keys, data, start, length, low, high, _PROBES)
    if slot >= 0:
        return slot
    count = _encode(data, start, length, model, out, filled, ranks)
    if -1 - slot < slots.shape[0]:
        _keep(
            *(slots, -1 - slot, pool, keys, state),
            *(data, start, length, low, high, out, filled, count),
        )
    return -1 - count


@kernel
def encode_segments(data, ends, bounds, fixed, model, cache, run, out, id_offsets):  # type: ignore[no-untyped-def]
    """Ids of pretokens, segment by segment; returns whether it came to the end.

    `ends` int32 are the pretokens' ends; segment s ends at bounds[s + 1] and is the token fixed[s],
    or text where that is -1. `cache` is (slots, pool, keys, state). `run` int64 (4,) says where to
    go on, and is left at a pretoken that the cache may have no room for. `out` int32 has room for
    one id a byte and one more; fills `id_offsets` int64 (segments + 1,).
    """
    slots, pool, keys, state = cache
    shift = _shift_of(slots)
    ranks = np.empty(SHORT, dtype=np.int32)
    lows = np.empty(_BATCH, dtype=np.uint64)
    highs = np.empty(_BATCH, dtype=np.uint64)
    homes = np.empty(_BATCH, dtype=np.uint64)
    number, position, filled = run[PRETOKEN], run[POSITION], run[FILLED]
    base = ready = number
    for segment in range(run[SEGMENT], bounds.size - 1):
        segment_end = bounds[segment + 1]
        if fixed[segment] >= 0 and position < segment_end:
            out[filled] = fixed[segment]
            filled += 1
            while position < segment_end:
                position = np.int64(ends[number])
                number += 1
        while position < segment_end:
            if number >= ready:
                base, ready = number, min(number + _BATCH, ends.size)
                _look_ahead(*(data, position, ends, base, ready, slots, shift, lows, highs, homes))
            end = np.int64(ends[number])
            length = end - position
            ahead = np.uint64(number - base)
            low, high, slot = lows[ahead], highs[ahead], homes[ahead]
            packed = slots[slot, 3]
            # As `_is_in`, which as a call would halve the speed.
            if (
                slots[slot, 0] != low
                or slots[slot, 1] != high
                or np.int64((packed >> _EIGHT) & _LENGTH) != length
                or (
                    length > 16
                    and not same_bytes(keys, np.int64(packed >> _HALF), data, position, length)
                )
            ):
                if not _has_room(slots, pool, keys, state):
                    run[SEGMENT], run[PRETOKEN] = segment, number
                    run[POSITION], run[FILLED] = position, filled
                    return False
                found = _encode_new(
                    *(data, position, length, low, high, slot, model, cache, out, filled, ranks)
                )
                if found < 0:
                    filled += -1 - found
                    position = end
                    number += 1
                    continue
                slot = np.uint64(found)
            ids = slots[slot, 2]
            count = np.int64(slots[slot, 3] & _COUNT)
            if count <= 2:
                # Both are written whatever the number: cheaper than to ask.
                out[np.uint64(filled)] = np.int32(ids & _LOW)
                out[np.uint64(filled + 1)] = np.int32(ids >> _HALF)
            else:
                for place in range(count):
                    out[filled + place] = pool[np.int64(ids) + place]
            filled += count
            position = end
            number += 1
        id_offsets[segment + 1] = filled
    run[FILLED] = filled
    return True
