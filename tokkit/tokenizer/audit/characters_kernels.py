"""Compiled loops over the characters of many pieces of UTF-8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokkit.jit import kernel

Ints = NDArray[np.int64]


@kernel
def count_characters(
    data: NDArray[np.uint8], offsets: Ints, classes: NDArray[np.uint8], wanted: int
) -> Ints:
    """Whole characters of each piece whose class shares a bit with `wanted`."""
    pieces = len(offsets) - 1
    counts = np.zeros(pieces, np.int64)
    for piece in range(pieces):
        place, end = offsets[piece], offsets[piece + 1]
        while place < end:
            length, point = character_at(data, place, end)
            if length == 0:
                place += 1
                continue
            if classes[point] & wanted:
                counts[piece] += 1
            place += length
    return counts


@kernel
def valid_pieces(data: NDArray[np.uint8], offsets: Ints) -> NDArray[np.bool_]:
    """Whether each piece is valid UTF-8 on its own."""
    pieces = len(offsets) - 1
    valid = np.ones(pieces, np.bool_)
    for piece in range(pieces):
        place, end = offsets[piece], offsets[piece + 1]
        while place < end:
            length, _ = character_at(data, place, end)
            if length == 0:
                valid[piece] = False
                break
            place += length
    return valid


@kernel
def same_bytes(
    data: NDArray[np.uint8],
    offsets: Ints,
    ids: NDArray[np.int32],
    id_offsets: Ints,
    token_data: NDArray[np.uint8],
    token_offsets: Ints,
) -> NDArray[np.bool_]:
    """Whether the bytes of each unit's tokens, joined, are the bytes of the unit."""
    units = len(offsets) - 1
    same = np.ones(units, np.bool_)
    for unit in range(units):
        place, end = offsets[unit], offsets[unit + 1]
        for position in range(id_offsets[unit], id_offsets[unit + 1]):
            token = ids[position]
            for byte in range(token_offsets[token], token_offsets[token + 1]):
                if place >= end or data[place] != token_data[byte]:
                    same[unit] = False
                    break
                place += 1
            if not same[unit]:
                break
        if place != end:
            same[unit] = False
    return same


@kernel
def character_at(data: NDArray[np.uint8], place: int, end: int) -> tuple[int, np.int64]:
    """Bytes and code point of the character that starts at `place`, (0, 0) where none does.

    Follows table 3-7 of the Unicode standard: no overlong forms, surrogates, or points beyond
    U+10FFFF.
    """
    first = np.int64(data[place])
    if first < 0x80:
        return 1, first
    if first < 0xC2 or first > 0xF4:
        return 0, np.int64(0)
    length = 2 if first < 0xE0 else (3 if first < 0xF0 else 4)
    if place + length > end:
        return 0, np.int64(0)
    point = first & (0x7F >> length)
    for k in range(1, length):
        byte = np.int64(data[place + k])
        if byte < 0x80 or byte > 0xBF:
            return 0, np.int64(0)
        point = (point << 6) | (byte & 0x3F)
    if length == 3 and (point < 0x800 or 0xD800 <= point <= 0xDFFF):
        return 0, np.int64(0)
    if length == 4 and (point < 0x10000 or point > 0x10FFFF):
        return 0, np.int64(0)
    return length, point
