r"""Where text can be cut so that every preset of the regex family has a boundary there.

An atom is a stretch between two such places. Splitting atoms one by one gives the pretokens of
the whole text for gpt2, cl100k, o200k, llama3, qwen2 and deepseek-v3 alike (and chars and bytes),
so a text counted once in atoms is counted for all of them.

A cut between the characters x and y is safe, whatever stands around them, when in every preset

(a) some pretoken ends there, and
(b) what stands before it is split the same way when the text ends there.

What stands after it is split the same way in any case: no pattern looks back. Where x is not
white space, (b) follows from (a), for then no pattern looks past x except to fail at y, and at an
end of text it fails as well. So these are safe:

1. after a letter, anything but a letter, a mark, or an apostrophe that begins a contraction
   (o200k joins it to the word); after a number, anything but a number;
2. after a mark or a visible character: a number, or white space other than a line break;
3. a letter after two visible characters, or after a blank and one: both belong to one run
   (a single one is joined to the letter by cl100k). Two exceptions: o200k joins slashes to a
   line break before them, and deepseek-v3 cuts between a kana mark and ASCII punctuation.

Where x is white space, gpt2's \s+(?!\S) depends on what follows, which leaves:

4. before the last character of two or more of white space, unless that one is a line break, or
   what follows is a number or in DeepSeek's range: all presets give that last one back;
5. after a single line break whose neighbours are both visible or letters or numbers; not before
   a slash when o200k may join it, that is, after anything but a letter or number.

These rules are written here as a finite automaton: the state is what stands before, and each
character leads to the next state and says where a cut is safe.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tokkit.tokenizer import unicode_classes as uc
from tokkit.tokenizer.plain_rules import WIDE

# Kinds of characters. *_CJK: those in the range of DeepSeek's second pattern.
LETTER, MARK, NUMBER, PUNCT, OTHER, BLANK, SPACE, BREAK, QUOTE, SLASH = range(10)
LETTER_CJK, MARK_CJK, PUNCT_CJK, OTHER_CJK = range(10, 14)

# What a character says about cuts, beside the state that it leads to. The lowest bit is a cut, the
# next moves it to before the previous character, so that a kernel can count without branching.
NO_CUT, CUT_HERE, CUT_UNLESS_CONTRACTION, CUT_BEFORE_PREVIOUS = range(4)

(
    START,  # nothing of this piece yet
    UNKNOWN,  # somewhere inside a text: anything may stand before
    AFTER_LETTER,
    AFTER_NUMBER,
    AFTER_MARK,  # or after a character of no class
    AFTER_PUNCT,  # it may begin a pretoken
    AFTER_PUNCTS,  # it does not, or a blank does: a letter is not joined
    AFTER_KANA_PUNCT,
    AFTER_KANA_PUNCTS,
    AFTER_LOOSE_SLASH,  # it may belong to a line break before it
    AFTER_LOOSE_SLASHES,
    AFTER_BLANK,  # the first white space, as far as is known
    AFTER_SPACE,
    AFTER_BLANKS,  # white space before it
    AFTER_SPACES,
    AFTER_BREAK,  # the only white space, after a letter, a number or nothing
    AFTER_PUNCT_BREAK,  # the only white space, after anything else visible
    AFTER_BREAKS,
) = range(18)
STATES = 18

# An entry of the table is the next state shifted by 8, so that a byte can be added to it, plus the
# action shifted by 13. The columns are those of `plain_rules`.
ACTION_SHIFT = 13

_IN_CJK = {LETTER: LETTER_CJK, MARK: MARK_CJK, PUNCT: PUNCT_CJK, OTHER: OTHER_CJK}
_CJK = {LETTER_CJK: LETTER, MARK_CJK: MARK, OTHER_CJK: OTHER}
_WHITE = (BLANK, SPACE)
_WORDS = (AFTER_LETTER, AFTER_NUMBER)
_PUNCTS = (
    AFTER_PUNCT,
    AFTER_PUNCTS,
    AFTER_KANA_PUNCT,
    AFTER_KANA_PUNCTS,
    AFTER_LOOSE_SLASH,
    AFTER_LOOSE_SLASHES,
)
_BLANKS = (AFTER_BLANK, AFTER_SPACE, AFTER_BLANKS, AFTER_SPACES)
_BREAKS = (AFTER_BREAK, AFTER_PUNCT_BREAK, AFTER_BREAKS)


def next_state(state: int, kind: int) -> int:
    """The state after a character of `kind`."""
    if kind in (LETTER, LETTER_CJK):
        return AFTER_LETTER
    if kind == NUMBER:
        return AFTER_NUMBER
    if kind in (MARK, OTHER, MARK_CJK, OTHER_CJK):
        return AFTER_MARK
    if kind in _WHITE:
        alone = state not in _BLANKS + _BREAKS
        if kind == BLANK:
            return AFTER_BLANK if alone else AFTER_BLANKS
        return AFTER_SPACE if alone else AFTER_SPACES
    if kind == BREAK:
        if state in _BLANKS + _BREAKS + (UNKNOWN,):
            return AFTER_BREAKS
        return AFTER_BREAK if state in (*_WORDS, START) else AFTER_PUNCT_BREAK
    return _after_punctuation(state, kind)


def _after_punctuation(state: int, kind: int) -> int:
    if kind == SLASH and state in (AFTER_PUNCT_BREAK, AFTER_BREAKS, UNKNOWN):
        return AFTER_LOOSE_SLASH
    if kind == SLASH and state in (AFTER_LOOSE_SLASH, AFTER_LOOSE_SLASHES):
        return AFTER_LOOSE_SLASHES
    joined = state in (AFTER_PUNCT, AFTER_PUNCTS, AFTER_BLANK, AFTER_BLANKS)
    if kind == PUNCT_CJK:
        joined = joined or state in (AFTER_KANA_PUNCT, AFTER_KANA_PUNCTS)
        return AFTER_KANA_PUNCTS if joined else AFTER_KANA_PUNCT
    return AFTER_PUNCTS if joined else AFTER_PUNCT


def action(state: int, kind: int) -> int:
    """Whether a cut is safe before a character of `kind`, or before the one before it."""
    plain = _CJK.get(kind, kind)
    if state == AFTER_LETTER:
        if kind == QUOTE:
            return CUT_UNLESS_CONTRACTION
        return NO_CUT if plain in (LETTER, MARK) else CUT_HERE
    if state == AFTER_NUMBER:
        return NO_CUT if kind == NUMBER else CUT_HERE
    if state == AFTER_MARK or state in _PUNCTS:
        if plain == LETTER:
            joined = state not in (AFTER_PUNCTS, AFTER_KANA_PUNCTS, AFTER_LOOSE_SLASHES)
            return NO_CUT if joined else CUT_HERE
        return CUT_HERE if kind == NUMBER or kind in _WHITE else NO_CUT
    if state in (AFTER_BLANKS, AFTER_SPACES):
        given_back = kind in (LETTER, MARK, PUNCT, OTHER, QUOTE, SLASH)
        return CUT_BEFORE_PREVIOUS if given_back else NO_CUT
    if state in (AFTER_BREAK, AFTER_PUNCT_BREAK):
        white = kind in (*_WHITE, BREAK)
        loose = kind == SLASH and state == AFTER_PUNCT_BREAK
        return NO_CUT if white or loose else CUT_HERE
    return NO_CUT


@cache
def automaton() -> NDArray[np.int16]:
    """The table, (STATES * 256,): `table[state << 8 | byte]`; see ACTION_SHIFT."""
    wide = [_kind_of_class(code) for code in range(uc.LO + 1)]
    columns = [*_ascii_kinds(), *wide, *(_IN_CJK.get(kind, kind) for kind in wide)]
    table = np.zeros((STATES, 256), dtype=np.int16)
    for state in range(STATES):
        for column, kind in enumerate(columns):
            entry = next_state(state, kind) << 8 | action(state, kind) << ACTION_SHIFT
            table[state, column] = entry
    return table.reshape(-1)


def _kind_of_class(code: int) -> int:
    kinds = {
        uc.OTHER: OTHER,
        uc.MARK: MARK,
        uc.PUNCTUATION: PUNCT,
        uc.SYMBOL: PUNCT,
        uc.NUMBER: NUMBER,
        uc.SPACE: SPACE,
        uc.NEWLINE: BREAK,
    }
    return kinds.get(code, LETTER)


def _ascii_kinds() -> list[int]:
    special = {" ": BLANK, "'": QUOTE, "/": SLASH}
    classes = uc.class_table().blocks[:WIDE].tolist()
    return [special.get(chr(byte), _kind_of_class(code)) for byte, code in enumerate(classes)]
