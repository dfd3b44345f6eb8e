"""Compiled parts that the splitters share: UTF-8, classes of characters, runs of one class.

Arguments as in `splitting_kernels`. Nothing is read at or past `end`, whatever the bytes are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.jit import kernel
from tokkit.tokenizer.plain_rules import CUT_SHIFT, STATE, STOP, WIDE, WIDE_CJK
from tokkit.tokenizer.unicode_classes import LU, NEWLINE, NUMBER, SPACE, SYMBOL

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Entries = NDArray[np.int16]
Tables = tuple[Bytes, Bytes]

APOSTROPHE = 0x27
ASCII_END = 0x80


@kernel
def code_point(data: Bytes, i: int, end: int) -> Any:
    """The code point at i, whose lead byte is not ASCII, and where the next begins."""
    lead = data[i]
    width = 2 if lead < 0xE0 else (3 if lead < 0xF0 else 4)
    if i + width > end:
        return 0, end
    if width == 2:
        return (lead & 0x1F) << 6 | (data[i + 1] & 0x3F), i + 2
    if width == 3:
        tail = (data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F)
        return (lead & 0x0F) << 12 | tail, i + 3
    tail = (data[i + 1] & 0x3F) << 12 | (data[i + 2] & 0x3F) << 6 | (data[i + 3] & 0x3F)
    return (lead & 0x07) << 18 | tail, i + 4


@kernel
def class_at(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    """The class of the character at i, and where the next begins."""
    index, blocks = tables
    if data[i] < ASCII_END:
        return blocks[data[i]], i + 1
    point, after = code_point(data, i, end)
    return blocks[index[point >> 7] << 7 | point & 0x7F], after


@kernel
def is_ascii_letter(byte: int) -> Any:
    """Whether a byte is an ASCII letter."""
    return 0x61 <= byte | 0x20 <= 0x7A


@kernel
def letters(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    r"""The end of \p{L}* from i."""
    while 0 <= i < end:
        if is_ascii_letter(data[i]):
            i += 1
        elif data[i] < ASCII_END:
            return i
        else:
            found, after = class_at(data, i, end, tables)
            if found < LU:
                return i
            i = after
    return i


@kernel
def numbers(data: Bytes, i: int, end: int, most: int, tables: Tables) -> Any:
    r"""The end of \p{N}{0,most} from i."""
    while i < end and most > 0:
        found, after = class_at(data, i, end, tables)
        if found != NUMBER:
            return i
        i = after
        most -= 1
    return i


@kernel
def visible(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    r"""The end of [^\s\p{L}\p{N}]* from i."""
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found > SYMBOL:
            return i
        i = after
    return i


@kernel
def line_breaks(data: Bytes, i: int, end: int) -> Any:
    r"""The end of [\r\n]* from i."""
    while i < end and (data[i] == 0x0A or data[i] == 0x0D):
        i += 1
    return i


@kernel
def spaces(data: Bytes, i: int, end: int, breaks: bool, tables: Tables) -> Any:
    r"""The end of `\s*[\r\n]+|\s+(?!\S)|\s+` from i, where white space begins.

    The first alternative counts with `breaks` only: \s* gives back all that follows the last line
    break. The second gives back one character where a visible one follows, the third takes it
    when there is no other.
    """
    first, last, after_break = i, i, -1
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found not in (SPACE, NEWLINE):
            break
        if found == NEWLINE:
            after_break = after
        last, i = i, after
    if breaks and after_break >= 0:
        return after_break
    return i if i == end or last == first else last


@kernel
def lower_case_contraction(data: Bytes, i: int, end: int) -> Any:
    """The end of '(?:[sdmt]|ll|ve|re) from i, or i where there is none."""
    if i + 1 >= end or data[i] != APOSTROPHE:
        return i
    one = data[i + 1]
    if one == 0x73 or one == 0x64 or one == 0x6D or one == 0x74:
        return i + 2
    if i + 2 >= end:
        return i
    two = data[i + 2]
    if one == 0x6C:
        return i + 3 if two == 0x6C else i
    return i + 3 if two == 0x65 and (one == 0x76 or one == 0x72) else i


@kernel
def any_case_contraction(data: Bytes, i: int, end: int) -> Any:
    """The end of (?i:'s|'t|'re|'ve|'m|'ll|'d) from i, or i where there is none.

    Without regard to case, s is U+017F too (C5 BF), the long s; no other letter has a third form.
    """
    if i + 1 >= end or data[i] != APOSTROPHE:
        return i
    one = data[i + 1] | 0x20
    if one == 0x73 or one == 0x64 or one == 0x6D or one == 0x74:
        return i + 2
    if i + 2 >= end:
        return i
    if data[i + 1] == 0xC5:
        return i + 3 if data[i + 2] == 0xBF else i
    two = data[i + 2] | 0x20
    if one == 0x6C:
        return i + 3 if two == 0x6C else i
    return i + 3 if two == 0x65 and (one == 0x76 or one == 0x72) else i


@kernel
def in_kana_or_han(point: int) -> Any:
    """Whether a code point is in DeepSeek's range, U+3040..U+30FF or U+4E00..U+9FA5."""
    return 0x3040 <= point <= 0x9FA5 and (point <= 0x30FF or point >= 0x4E00)


@kernel
def is_kana_or_han(data: Bytes, i: int, end: int) -> Any:
    """Whether the character at i is in that range."""
    return data[i] >= ASCII_END and in_kana_or_han(code_point(data, i, end)[0])


@kernel
def wide_column(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    """The column, in an automaton, of the character at i, beyond ASCII; where the next begins."""
    index, blocks = tables
    point, after = code_point(data, i, end)
    found = blocks[index[point >> 7] << 7 | point & 0x7F]
    return found + (WIDE_CJK if in_kana_or_han(point) else WIDE), after


@kernel
def plain(
    data: Bytes, i: int, end: int, automaton: Entries, tables: Tables, ends: Ints, count: int
) -> Any:
    """Write ends from i for as long as the automaton knows them.

    Returns where it stopped, which is where the next pretoken begins, and the new count.
    """
    before, begin, entry = count, i, 0
    while 0 <= i < end:
        if data[i] < ASCII_END:
            column, after = data[i], i + 1
        else:
            column, after = wide_column(data, i, end, tables)
        entry = automaton[(entry & STATE) + column]
        # Without a branch, which no processor could foresee: written always, counted if true.
        ends[count] = i
        count += entry >> CUT_SHIFT & 1
        if entry >= STOP:
            return (ends[count - 1] if count > before else begin), count
        i = after
    ends[count] = end
    return end, count + 1
