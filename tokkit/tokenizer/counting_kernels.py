"""Count pretokens: a hash table filled as the text goes by.

An entry is four words of 64 bits: the pretoken's first eight bytes, the next eight (or, past
sixteen, a hash of all), its place in the data (start << 32 | length), and where it was last counted
(row << 32 | position in the output). Slots hold the upper half of the hash beside the entry's
number, so that a look-up touches an entry only when it is very likely the right one. Entries lie in
order of first appearance: the frequent ones are close together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tokkit.jit import kernel

EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xC2B2AE3D27D4EB4F)
_THIRD = np.uint64(0x165667B19E3779F9)


@intrinsic
def load_word(typing_context: Any, data: Any, position: Any) -> Any:
    """The eight bytes of a uint8 array from `position` on, as a little-endian uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        wide = builder.bitcast(pointer, ir.PointerType(ir.IntType(64)))
        return builder.load(wide, align=1)

    return types.uint64(data, types.int64), generate


@kernel
def first_bytes(data, start, length):  # type: ignore[no-untyped-def]
    """Up to eight bytes from `start` as one word, zero where there are fewer than eight."""
    if start + 8 <= data.size:
        word = load_word(data, np.int64(start))
        if length < 8:
            word &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
        return word
    word = np.uint64(0)
    for place in range(min(length, 8)):
        word |= np.uint64(data[start + place]) << np.uint64(8 * place)
    return word


@kernel
def mixed(low, high, length):  # type: ignore[no-untyped-def]
    """A 64-bit hash of two words and a length."""
    word = (low ^ (high * _SECOND) ^ (np.uint64(length) * _THIRD)) * _FIRST
    word ^= word >> np.uint64(29)
    word *= _SECOND
    return word ^ (word >> np.uint64(32))


@kernel
def long_hash(data, start, length):  # type: ignore[no-untyped-def]
    """A 64-bit hash of `length` bytes, eight at a time."""
    word = np.uint64(length)
    place = 0
    while place < length:
        word = (word ^ first_bytes(data, start + place, length - place)) * _FIRST
        word ^= word >> np.uint64(31)
        place += 8
    return word


@kernel
def second_word(data, start, length):  # type: ignore[no-untyped-def]
    """The next eight bytes as one word, or, past sixteen, a hash of all."""
    if length <= 8:
        return np.uint64(0)
    if length <= 16:
        return first_bytes(data, start + 8, length - 8)
    return long_hash(data, start, length)


@kernel
def same_bytes(first, first_start, second, second_start, length):  # type: ignore[no-untyped-def]
    """Whether two stretches of `length` bytes are equal."""
    for place in range(length):
        if first[first_start + place] != second[second_start + place]:
            return False
    return True


@kernel
def find_slot(slots, entries, known, data, start, length, low, high, code):  # type: ignore[no-untyped-def]
    """The slot of a pretoken, or the empty one where it belongs; its entry's bytes lie in `known`.

    Slots are a power of two; `code` is the pretoken's hash.
    """
    mask = np.uint64(slots.size - 1)
    place = code & mask
    tag = code >> np.uint64(32)
    while True:
        slot = slots[place]
        if slot == EMPTY:
            return np.int64(place)
        if slot >> np.uint64(32) == tag:
            entry = slot & _LOW
            if entries[entry, 0] == low and entries[entry, 1] == high:
                where = entries[entry, 2]
                if np.int64(where & _LOW) == length and (
                    length <= 16
                    or same_bytes(known, np.int64(where >> np.uint64(32)), data, start, length)
                ):
                    return np.int64(place)
        place = (place + np.uint64(1)) & mask


@kernel
def rehash(slots, entries, count):  # type: ignore[no-untyped-def]
    """Fill empty `slots` with the first `count` entries."""
    slots[:] = EMPTY
    mask = np.uint64(slots.size - 1)
    for entry in range(count):
        length = np.int64(entries[entry, 2] & _LOW)
        code = mixed(entries[entry, 0], entries[entry, 1], length)
        place = code & mask
        while slots[place] != EMPTY:
            place = (place + np.uint64(1)) & mask
        slots[place] = (code >> np.uint64(32) << np.uint64(32)) | np.uint64(entry)


@kernel
def count_pretokens(data, ends, order, bounds, rows, n_rows):  # type: ignore[no-untyped-def]
    """Count the pretokens of one shard by row.

    `ends` are the pretokens' ends; pieces are visited as `order` says (equal `rows` together), and
    piece p holds the pretokens bounds[p] to bounds[p + 1]. Returns entries (n, 4) uint64, and the
    counts as compressed rows: pointers int64 (n_rows + 1,), columns int32 and counts int64.
    """
    capacity = 1 << 12
    entries = np.empty((capacity, 4), dtype=np.uint64)
    slots = np.full(capacity * 2, EMPTY, dtype=np.uint64)
    count = 0
    columns = np.empty(ends.size, dtype=np.int32)
    counts = np.empty(ends.size, dtype=np.int32)
    pointers = np.zeros(n_rows + 1, dtype=np.int64)
    filled = 0
    row = np.int64(-1)
    for piece in order:
        if rows[piece] != row:
            for passed in range(row + 1, rows[piece] + 1):
                pointers[passed] = filled
            row = np.int64(rows[piece])
        if bounds[piece] == bounds[piece + 1]:
            continue
        start = np.int64(ends[bounds[piece] - 1]) if bounds[piece] > 0 else np.int64(0)
        for place in range(bounds[piece], bounds[piece + 1]):
            end = np.int64(ends[place])
            length = end - start
            low = first_bytes(data, start, length)
            high = second_word(data, start, length)
            code = mixed(low, high, length)
            slot = find_slot(slots, entries, data, data, start, length, low, high, code)
            found = slots[slot]
            if found == EMPTY:
                if count == capacity:
                    grown = np.empty((2 * capacity, 4), dtype=np.uint64)
                    grown[:capacity] = entries
                    entries = grown
                    capacity *= 2
                    slots = np.empty(2 * capacity, dtype=np.uint64)
                    rehash(slots, entries, count)
                    slot = find_slot(slots, entries, data, data, start, length, low, high, code)
                entries[count, 0] = low
                entries[count, 1] = high
                entries[count, 2] = (np.uint64(start) << np.uint64(32)) | np.uint64(length)
                entries[count, 3] = EMPTY
                slots[slot] = (code >> np.uint64(32) << np.uint64(32)) | np.uint64(count)
                entry = np.int64(count)
                count += 1
            else:
                entry = np.int64(found & _LOW)
            last = entries[entry, 3]
            if np.int64(last >> np.uint64(32)) == row:
                counts[last & _LOW] += 1
            else:
                columns[filled] = entry
                counts[filled] = 1
                entries[entry, 3] = (np.uint64(row) << np.uint64(32)) | np.uint64(filled)
                filled += 1
            start = end
    for passed in range(row + 1, n_rows + 1):
        pointers[passed] = filled
    return entries[:count].copy(), pointers, columns[:filled].copy(), counts[:filled].copy()


@kernel
def absorb(slots, entries, known, count, filled, data, shard_entries, numbers):  # type: ignore[no-untyped-def]
    """Add a shard's entries to the table of all; their bytes are appended to `known`.

    `slots` and `entries` must have room for all of them, `known` for their bytes. Writes each
    shard entry's number in the table to `numbers`; returns (entries, bytes) in the table now.
    """
    for place in range(shard_entries.shape[0]):
        low, high, where = shard_entries[place, 0], shard_entries[place, 1], shard_entries[place, 2]
        start, length = np.int64(where >> np.uint64(32)), np.int64(where & _LOW)
        code = mixed(low, high, length)
        slot = find_slot_wide(slots, entries, known, data, start, length, low, high, code)
        if slots[slot] == EMPTY:
            entries[count, 0] = low
            entries[count, 1] = high
            entries[count, 2] = np.uint64(filled)
            entries[count, 3] = np.uint64(length)
            known[filled : filled + length] = data[start : start + length]
            slots[slot] = (code >> np.uint64(32) << np.uint64(32)) | np.uint64(count)
            numbers[place] = count
            filled += length
            count += 1
        else:
            numbers[place] = np.int64(slots[slot] & _LOW)
    return count, filled


@kernel
def find_slot_wide(slots, entries, known, data, start, length, low, high, code):  # type: ignore[no-untyped-def]
    """As `find_slot`, for the table of all, where place and length have a word each."""
    mask = np.uint64(slots.size - 1)
    place = code & mask
    tag = code >> np.uint64(32)
    while True:
        slot = slots[place]
        if slot == EMPTY:
            return np.int64(place)
        if slot >> np.uint64(32) == tag:
            entry = slot & _LOW
            if (
                entries[entry, 0] == low
                and entries[entry, 1] == high
                and np.int64(entries[entry, 3]) == length
                and (
                    length <= 16
                    or same_bytes(known, np.int64(entries[entry, 2]), data, start, length)
                )
            ):
                return np.int64(place)
        place = (place + np.uint64(1)) & mask


@kernel
def rehash_wide(slots, entries, count):  # type: ignore[no-untyped-def]
    """Fill empty `slots` with the first `count` entries of the table of all."""
    slots[:] = EMPTY
    mask = np.uint64(slots.size - 1)
    for entry in range(count):
        code = mixed(entries[entry, 0], entries[entry, 1], np.int64(entries[entry, 3]))
        place = code & mask
        while slots[place] != EMPTY:
            place = (place + np.uint64(1)) & mask
        slots[place] = (code >> np.uint64(32) << np.uint64(32)) | np.uint64(entry)


@kernel
def keys_of(data, offsets):  # type: ignore[no-untyped-def]
    """Entries (n, 4), as `count_pretokens` gives them, of pretokens one behind the other."""
    n = offsets.size - 1
    entries = np.empty((n, 4), dtype=np.uint64)
    for place in range(n):
        start, length = offsets[place], offsets[place + 1] - offsets[place]
        entries[place, 0] = first_bytes(data, start, length)
        entries[place, 1] = second_word(data, start, length)
        entries[place, 2] = (np.uint64(start) << np.uint64(32)) | np.uint64(length)
        entries[place, 3] = EMPTY
    return entries


@kernel
def sum_rows(pointers, columns, counts, target, n_columns):  # type: ignore[no-untyped-def]
    """Add compressed rows up: row r goes into row target[r] (not falling, from 0 on).

    Returns pointers, columns and counts of the sums; each column stands once in a row.
    """
    place_of = np.full(n_columns, -1, dtype=np.int64)
    sums_columns = np.empty(columns.size, dtype=np.int32)
    sums = np.empty(columns.size, dtype=np.int64)
    n_rows = target[-1] + 1 if target.size else 0
    sums_pointers = np.zeros(n_rows + 1, dtype=np.int64)
    filled = 0
    row = np.int64(-1)
    for source in range(target.size):
        if target[source] != row:
            for passed in range(row + 1, target[source] + 1):
                sums_pointers[passed] = filled
            row = np.int64(target[source])
        begin = sums_pointers[row]
        for place in range(pointers[source], pointers[source + 1]):
            column = columns[place]
            there = place_of[column]
            if there >= begin:
                sums[there] += counts[place]
            else:
                place_of[column] = filled
                sums_columns[filled] = column
                sums[filled] = counts[place]
                filled += 1
    for passed in range(row + 1, n_rows + 1):
        sums_pointers[passed] = filled
    return sums_pointers, sums_columns[:filled].copy(), sums[:filled].copy()


@kernel
def gather_pretokens(data, entries):  # type: ignore[no-untyped-def]
    """The bytes of entries, one behind the other, with their offsets (n + 1,)."""
    offsets = np.zeros(entries.shape[0] + 1, dtype=np.int64)
    for place in range(entries.shape[0]):
        offsets[place + 1] = offsets[place] + np.int64(entries[place, 2] & _LOW)
    gathered = np.empty(offsets[-1], dtype=np.uint8)
    for place in range(entries.shape[0]):
        start = np.int64(entries[place, 2] >> np.uint64(32))
        length = offsets[place + 1] - offsets[place]
        gathered[offsets[place] : offsets[place + 1]] = data[start : start + length]
    return gathered, offsets


@kernel
def space_length(data, place):  # type: ignore[no-untyped-def]
    """How many bytes the white-space character at `place` has, as str.split knows it; else 0."""
    byte = data[place]
    if byte < 0x80:
        return 1 if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31 else 0
    if byte == 0xC2 and place + 1 < data.size:
        return 2 if data[place + 1] == 0x85 or data[place + 1] == 0xA0 else 0
    if place + 2 >= data.size:
        return 0
    second, third = data[place + 1], data[place + 2]
    if byte == 0xE2:
        if second == 0x80:
            spaces = third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF
            return 3 if spaces else 0
        return 3 if second == 0x81 and third == 0x9F else 0
    if byte == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    return 3 if byte == 0xE3 and second == 0x80 and third == 0x80 else 0


@kernel
def measure_ascii(data, start, end, in_word):  # type: ignore[no-untyped-def]
    """Words and line feeds of a stretch of ASCII, and whether it ends within a word.

    Two plain loops over bytes, which the compiler turns into wide instructions.
    """
    words, lines = np.int64(0), np.int64(0)
    for place in range(start + 1, end):
        byte, before = data[place], data[place - 1]
        space = (byte == 32) | ((byte >= 9) & (byte <= 13)) | ((byte >= 28) & (byte <= 31))
        was_space = (before == 32) | ((before >= 9) & (before <= 13))
        was_space |= (before >= 28) & (before <= 31)
        words += was_space & (not space)
    for place in range(start, end):
        lines += data[place] == 10
    words += (not in_word) and space_length(data, start) == 0
    return words, lines, space_length(data, end - 1) == 0


@kernel
def measure_text(data, start, end, in_word):  # type: ignore[no-untyped-def]
    """As `measure_ascii` for any text, characters first; may end beyond `end`, which it tells."""
    characters, words, lines = np.int64(0), np.int64(0), np.int64(0)
    place = start
    while place < end:
        byte = data[place]
        length = space_length(data, place)
        if length > 0:
            lines += byte == 10
            characters += 1
            in_word = False
            place += length
            continue
        characters += byte < 0x80 or byte >= 0xC0
        words += not in_word
        in_word = True
        place += 1
    return characters, words, lines, in_word, place


@kernel
def measure_pieces(data, starts, continued):  # type: ignore[no-untyped-def]
    """Characters, words and line feeds of each piece; a word goes on where a document does.

    Returns three int64 arrays (pieces,), whether the first character is part of a word, and
    whether the last one is.
    """
    n = starts.size - 1
    characters = np.zeros(n, dtype=np.int64)
    words = np.zeros(n, dtype=np.int64)
    lines = np.zeros(n, dtype=np.int64)
    in_word = False
    begins_in_word = data.size > 0 and space_length(data, 0) == 0
    for piece in range(n):
        in_word = in_word and continued[piece]
        place = starts[piece]
        while place < starts[piece + 1]:
            end = min(place + 4096, starts[piece + 1])
            highest = np.uint8(0)
            for inside in range(place, end):
                highest |= data[inside]
            if highest < 0x80:
                more_words, more_lines, in_word = measure_ascii(data, place, end, in_word)
                characters[piece] += end - place
                place = end
            else:
                more, more_words, more_lines, in_word, place = measure_text(
                    data, place, end, in_word
                )
                characters[piece] += more
            words[piece] += more_words
            lines[piece] += more_lines
    return characters, words, lines, begins_in_word, in_word
