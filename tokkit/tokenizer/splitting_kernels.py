r"""Compiled splitters: one kernel for each rule, from UTF-8 bytes to the ends of pretokens.

Each kernel does by hand what its regular expression does by search: `plain` for as long as the
text is simple, then `_<rule>_match`, which returns where the match that begins at `i` ends. The
alternatives stand in the pattern's order, and a comment says where backtracking decides. Arguments
of all of them:

data       uint8 (bytes,)       valid UTF-8 of all pieces; broken UTF-8 gives some answer, no crash
starts     int64 (pieces + 1,)  piece p is data[starts[p]:starts[p + 1]]
automaton  int16                the table of the rule for plain text (`plain_rules`)
tables     two of uint8         the table of classes: index and blocks (`unicode_classes`)
ends       int32                room for the ends: one a byte and one more. The count is returned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.jit import kernel
from tokkit.tokenizer.scan_kernels import (
    APOSTROPHE,
    ASCII_END,
    Bytes,
    Entries,
    Ints,
    Tables,
    any_case_contraction,
    class_at,
    is_ascii_letter,
    is_kana_or_han,
    letters,
    line_breaks,
    lower_case_contraction,
    numbers,
    plain,
    spaces,
    visible,
)
from tokkit.tokenizer.unicode_classes import (
    LL,
    LU,
    MARK,
    NEWLINE,
    NUMBER,
    OTHER,
    PUNCTUATION,
    SPACE,
    SYMBOL,
)

Longs = NDArray[np.int64]

BLANK, SLASH = 0x20, 0x2F


@kernel
def _gpt2_match(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    short = lower_case_contraction(data, i, end)
    if short > i:
        return short
    found, j = class_at(data, i, end, tables)
    if data[i] == BLANK and j < end:
        following, k = class_at(data, j, end, tables)
        if following not in (SPACE, NEWLINE):
            found, j = following, k
    if found >= LU:
        return letters(data, j, end, tables)
    if found == NUMBER:
        return numbers(data, j, end, end, tables)
    if found <= SYMBOL:
        return visible(data, j, end, tables)
    return spaces(data, i, end, False, tables)


@kernel
def gpt2_ends(data: Bytes, starts: Longs, automaton: Entries, tables: Tables, ends: Ints) -> int:
    """Ends of the pretokens of `gpt2`."""
    count = 0
    for piece in range(len(starts) - 1):
        i, end = starts[piece], starts[piece + 1]
        while i < end:
            i, count = plain(data, i, end, automaton, tables, ends, count)
            if i < end:
                i = _gpt2_match(data, i, end, tables)
                ends[count] = i
                count += 1
    return count


@kernel
def _cl100k_match(data: Bytes, i: int, end: int, digits: int, tables: Tables) -> Any:
    if data[i] == APOSTROPHE:
        short = any_case_contraction(data, i, end)
        if short > i:
            return short
    found, j = class_at(data, i, end, tables)
    if found >= LU:
        return letters(data, j, end, tables)
    if found == NUMBER:
        return numbers(data, j, end, digits - 1, tables)
    if found != NEWLINE and j < end:
        following, k = class_at(data, j, end, tables)
        if following >= LU:
            return letters(data, k, end, tables)
        if data[i] == BLANK and following <= SYMBOL:
            return line_breaks(data, visible(data, k, end, tables), end)
    if found <= SYMBOL:
        return line_breaks(data, visible(data, j, end, tables), end)
    return spaces(data, i, end, True, tables)


@kernel
def cl100k_ends(
    data: Bytes,
    starts: Longs,
    digits: int,
    automaton: Entries,
    tables: Tables,
    ends: Ints,
) -> int:
    """Ends of the pretokens of `cl100k` and `llama3` (3 digits) and of `qwen2` (1 digit)."""
    count = 0
    for piece in range(len(starts) - 1):
        i, end = starts[piece], starts[piece + 1]
        while i < end:
            i, count = plain(data, i, end, automaton, tables, ends, count)
            if i < end:
                i = _cl100k_match(data, i, end, digits, tables)
                ends[count] = i
                count += 1
    return count


@kernel
def _cased(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    r"""The ends of `upper*lower+` and of `upper+lower*` from i; i where there is no match.

    upper is [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], lower is [\p{Ll}\p{Lm}\p{Lo}\p{M}]. Where no \p{Ll}
    follows the longest upper*, lower+ takes the last character of it that is lower as well.
    """
    both = i
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found == LL or (found < LU and found != MARK):
            break
        i = after
        if found > LL or found == MARK:
            both = i
    upper = i
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found < LL and found != MARK:
            break
        i = after
    return (i, i) if i > upper else (both, upper)


@kernel
def _o200k_match(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    found, j = class_at(data, i, end, tables)
    if found >= LU or found == MARK or (found != NUMBER and found != NEWLINE and j < end):
        matched = _o200k_word(data, i, j, end, found, tables)
        if matched > i:
            return any_case_contraction(data, matched, end)
    if found == NUMBER:
        return numbers(data, j, end, 2, tables)
    if data[i] == BLANK and j < end:
        following, k = class_at(data, j, end, tables)
        if following <= SYMBOL:
            found, j = following, k
    if found <= SYMBOL:
        return _o200k_tail(data, visible(data, j, end, tables), end)
    return spaces(data, i, end, True, tables)


@kernel
def _o200k_word(data: Bytes, i: int, j: int, end: int, found: int, tables: Tables) -> Any:
    """The two first alternatives at i, where a character of class `found` ends at j.

    The character before the word is tried first with each: it matters where it is a mark, which
    is upper and lower as well.
    """
    if found >= LU:
        first, second = _cased(data, i, end, tables)
        return first if first > i else second
    first, second = _cased(data, j, end, tables)
    if first > j:
        return first
    if found == MARK:
        return _cased(data, i, end, tables)[0]
    return second if second > j else i


@kernel
def _o200k_tail(data: Bytes, i: int, end: int) -> Any:
    r"""The end of [\r\n/]* from i."""
    while i < end and (data[i] == 0x0A or data[i] == 0x0D or data[i] == SLASH):
        i += 1
    return i


@kernel
def o200k_ends(data: Bytes, starts: Longs, automaton: Entries, tables: Tables, ends: Ints) -> int:
    """Ends of the pretokens of `o200k`."""
    count = 0
    for piece in range(len(starts) - 1):
        i, end = starts[piece], starts[piece + 1]
        while i < end:
            i, count = plain(data, i, end, automaton, tables, ends, count)
            if i < end:
                i = _o200k_match(data, i, end, tables)
                ends[count] = i
                count += 1
    return count


@kernel
def _deepseek_segment(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    """The end of the stretch from i that the third pattern sees as a text of its own.

    No number stands in it, and all or none of it is in the range of the second pattern.
    """
    inside = is_kana_or_han(data, i, end)
    while i < end:
        if data[i] < ASCII_END:
            if inside or 0x30 <= data[i] <= 0x39:
                return i
            i += 1
        else:
            found, after = class_at(data, i, end, tables)
            if found == NUMBER or is_kana_or_han(data, i, end) != inside:
                return i
            i = after
    return i


@kernel
def _deepseek_match(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    found, j = class_at(data, i, end, tables)
    if found >= LU or found == MARK:
        return _letters_or_marks(data, j, end, tables)
    if j < end:
        following, k = class_at(data, j, end, tables)
        if PUNCTUATION <= found <= SYMBOL:
            if data[i] < ASCII_END and data[j] < ASCII_END and following >= LU:
                return _ascii_letters(data, k, end)
        elif found != NEWLINE and (following >= LU or following == MARK):
            return _letters_or_marks(data, k, end, tables)
        if data[i] == BLANK and PUNCTUATION <= following <= SYMBOL:
            found, j = following, k
    if PUNCTUATION <= found <= SYMBOL:
        return line_breaks(data, _punctuation(data, j, end, tables), end)
    if found != OTHER:
        return spaces(data, i, end, True, tables)
    return _unmatched(data, j, end, tables)


@kernel
def _letters_or_marks(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    r"""The end of [\p{L}\p{M}]* from i."""
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found < LU and found != MARK:
            return i
        i = after
    return i


@kernel
def _ascii_letters(data: Bytes, i: int, end: int) -> Any:
    """The end of [A-Za-z]* from i."""
    while i < end and is_ascii_letter(data[i]):
        i += 1
    return i


@kernel
def _punctuation(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    r"""The end of [\p{P}\p{S}]* from i."""
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found < PUNCTUATION or found > SYMBOL:
            return i
        i = after
    return i


@kernel
def _unmatched(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    """The end of a gap that goes on from i: no alternative begins with what is left of it.

    Characters of no class are matched by none, except one before a letter or mark.
    """
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found != OTHER:
            return i
        if after < end:
            following, _ = class_at(data, after, end, tables)
            if following >= LU or following == MARK:
                return i
        i = after
    return i


@kernel
def deepseek_ends(
    data: Bytes, starts: Longs, automaton: Entries, tables: Tables, ends: Ints
) -> int:
    """Ends of the pretokens of `deepseek-v3`."""
    count = 0
    for piece in range(len(starts) - 1):
        i, end = starts[piece], starts[piece + 1]
        segment = i
        while i < end:
            i, count = plain(data, i, end, automaton, tables, ends, count)
            if i < end:
                if i >= segment:
                    segment = _deepseek_segment(data, i, end, tables)
                if i == segment:
                    i = numbers(data, i, end, 3, tables)
                else:
                    i = _deepseek_match(data, i, segment, tables)
                ends[count] = i
                count += 1
    return count


@kernel
def whitespace_ends(data: Bytes, starts: Longs, tables: Tables, ends: Ints) -> int:
    """Ends of the pretokens of `whitespace`."""
    count = 0
    for piece in range(len(starts) - 1):
        i, end = starts[piece], starts[piece + 1]
        while i < end:
            j = i + 1 if data[i] == BLANK else i
            after = _not_space(data, j, end, tables)
            i = after if after > j else spaces(data, i, end, False, tables)
            ends[count] = i
            count += 1
    return count


@kernel
def _not_space(data: Bytes, i: int, end: int, tables: Tables) -> Any:
    r"""The end of \S* from i."""
    while i < end:
        found, after = class_at(data, i, end, tables)
        if found in (SPACE, NEWLINE):
            return i
        i = after
    return i
