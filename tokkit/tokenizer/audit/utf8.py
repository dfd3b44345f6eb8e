"""How the bytes of a token can stand in valid UTF-8: what may come before and after them."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Ends = tuple[tuple[bytes, ...], int]
"""Bytes that complete a character, and how many of them, the first, differ in kind."""

_MOST_COMPLETIONS = 4096
# Chinese and Japanese are letters like others to most patterns, but not to DeepSeek's.
_CJK = ((0x3040, 0x30FF), (0x4E00, 0x9FA5))


def leading_continuations(token: bytes) -> int:
    """How many bytes at the start of `token` continue a character."""
    count = 0
    while count < len(token) and 0x80 <= token[count] < 0xC0:
        count += 1
    return count


def is_part_of_text(token: bytes) -> bool:
    r"""Whether `token` stands anywhere in any valid UTF-8.

    >>> is_part_of_text(b"\xa9!"), is_part_of_text(b"\xff"), is_part_of_text(b"a\xc3a")
    (True, False, False)
    """
    inner = leading_continuations(token)
    if inner > 3:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(token[inner:], final=False)
    except UnicodeDecodeError:
        return False
    return True


def completions(token: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Bytes to put before and after `token`, part of some text, so that all is whole characters.

    First a character of each kind that a pattern tells apart, on either side; then others, at
    most 4,096. Gives ("", "") alone for a token of whole characters.
    """
    inner = leading_continuations(token)
    if inner == len(token) and inner:
        yield from _around(token)
        return
    before, kinds_before = _heads(token[:inner])
    after, kinds_after = _tails(_unfinished(token[inner:]))
    yield from itertools.product(before[:kinds_before], after[:kinds_after])
    if len(before) > 1 and len(after) > 1:
        for k in range(max(len(before), len(after))):
            yield before[k % len(before)], after[k % len(after)]
    else:
        yield from itertools.product(before[kinds_before:], after)
        yield from itertools.product(before, after[kinds_after:])


def _unfinished(data: bytes) -> bytes:
    """The bytes of a character that `data` breaks off."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoder.decode(data, final=False)
    return decoder.getstate()[0]


@cache
def _tails(start: bytes) -> Ends:
    """Ends of the characters that begin with `start`."""
    if not start:
        return (b"",), 1
    spelled, sizes = _spellings()
    fits = sizes > len(start)
    for place, byte in enumerate(start):
        fits &= spelled[:, place] == byte
    characters, kinds = _ordered(np.flatnonzero(fits))
    return tuple(character[len(start) :] for character in characters), kinds


@cache
def _heads(rest: bytes) -> Ends:
    """Beginnings of the characters that end with `rest`."""
    if not rest:
        return (b"",), 1
    points = np.concatenate([_holding(rest, size - len(rest), size) for size in (2, 3, 4)])
    characters, kinds = _ordered(points)
    return tuple(character[: -len(rest)] for character in characters), kinds


@cache
def _around(middle: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """What may stand on both sides of bytes that lie within one character."""
    found = []
    for size in (2, 3, 4):
        for place in range(1, size - len(middle) + 1):
            characters, _ = _ordered(_holding(middle, place, size))
            found += [(c[:place], c[place + len(middle) :]) for c in characters]
    return tuple(dict.fromkeys(found))


def _holding(part: bytes, place: int, size: int) -> Ints:
    """Code points of `size` bytes that have `part` from `place` on."""
    if place < 1 or place + len(part) > size:
        return np.zeros(0, np.int64)
    spelled, sizes = _spellings()
    fits = sizes == size
    for offset, byte in enumerate(part):
        fits &= spelled[:, place + offset] == byte
    return np.flatnonzero(fits)


@cache
def _spellings() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The UTF-8 of every code point, filled up with zeros, and its length; 0 for surrogates."""
    from tokkit.tokenizer.unicode_classes import CODE_POINTS

    points = np.arange(CODE_POINTS)
    sizes = (1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)).astype(np.uint8)
    sizes[0xD800:0xE000] = 0
    spelled = np.zeros((CODE_POINTS, 4), np.uint8)
    spelled[:0x80, 0] = points[:0x80]
    for size, mark in ((2, 0xC0), (3, 0xE0), (4, 0xF0)):
        own = np.flatnonzero(sizes == size)
        spelled[own, 0] = mark | (own >> 6 * (size - 1))
        for place in range(1, size):
            spelled[own, place] = 0x80 | ((own >> 6 * (size - 1 - place)) & 0x3F)
    return spelled, sizes


def _ordered(points: Ints) -> tuple[Sequence[bytes], int]:
    """Characters, one of each kind first, at most 4,096 evenly picked; and how many kinds."""
    from tokkit.tokenizer.unicode_classes import class_table

    kinds = class_table().of(points).astype(np.int64)
    for first, last in _CJK:
        kinds[(points >= first) & (points <= last)] += 16
    _, of_each = np.unique(kinds, return_index=True)
    step = -(-len(points) // _MOST_COMPLETIONS) or 1
    others = np.setdiff1d(np.arange(0, len(points), step), of_each)
    chosen = points[np.concatenate([of_each, others])]
    return [chr(point).encode() for point in chosen.tolist()], len(of_each)
