r"""What the patterns do on plain text, as finite automata: the fast part of the splitters.

An automaton stands after some characters of a pretoken. A character goes on with the pretoken, or
it cannot, and then a pretoken ends before it, or it is hard: then the exact matcher of
`splitting_kernels` takes the pretoken again from where it began. Plain are ASCII and letters. Hard
are other characters beyond ASCII, control characters, white space that begins a pretoken, other
than one blank, and an apostrophe where a contraction may begin; for o200k also letters without
case, for deepseek-v3 kana and Han. So the automata need neither look ahead nor go back.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tokkit.tokenizer.unicode_classes import LL, LM, LO, LT, LU

# Kinds of characters, one letter each. Beyond ASCII only letters have kinds: u (upper and title
# case), l (lower case), o (no case), h (in the range of kana and Han).
_KINDS = {
    "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "a": "abcdefghijklmnopqrstuvwxyz",
    "1": "0123456789",
    "'": "'",
    "/": "/",
    "_": " ",
    "n": "\r\n",
    "t": "\t\v\f",
}
_WIDE_KINDS = {LU: "u", LT: "u", LL: "l", LM: "o", LO: "o"}
_HARD = "?"
_VISIBLE = "."
_RUN = ".'/"
_LETTERS = "Aauloh"

Rule = dict[str, dict[str, str]]  # state: {kinds of the next character: the state after it}

_GPT2: Rule = {
    "start": {_LETTERS: "word", "1": "number", "./": "run", "_": "blank"},
    "blank": {_LETTERS: "word", "1": "number", _RUN: "run", "_nt": _HARD},
    "word": {_LETTERS: "word"},
    "number": {"1": "number"},
    "run": {_RUN: "run"},
}
_CL100K: Rule = {
    "start": {_LETTERS: "word", "1": "one", "./": "mark", "_": "blank"},
    "blank": {_LETTERS: "word", _RUN: "run", "_nt": _HARD},
    # One visible character, which a word may follow.
    "mark": {_LETTERS: "word", _RUN: "run", "n": "breaks"},
    "word": {_LETTERS: "word"},
    "one": {"1": "two"},
    "two": {"1": "three"},
    "three": {},
    "run": {_RUN: "run", "n": "breaks"},
    "breaks": {"n": "breaks"},
}
_QWEN2: Rule = {**_CL100K, "one": {}}
_O200K: Rule = {
    **_CL100K,
    "start": {"Au": "upper", "al": "word", "oh": _HARD, "1": "one", "./": "mark", "_": "blank"},
    "blank": {"Au": "upper", "al": "word", "oh": _HARD, _RUN: "run", "_nt": _HARD},
    "mark": {"Au": "upper", "al": "word", "oh": _HARD, _RUN: "run", "n": "breaks"},
    "upper": {"Au": "upper", "al": "word", "oh'": _HARD},
    "word": {"al": "word", "oh'": _HARD},
    "breaks": {"n/": "breaks"},
}
_DEEPSEEK: Rule = {
    **_CL100K,
    "start": {"Aaulo": "word", "1": "one", _RUN: "mark", "_": "blank"},
    "blank": {"Aaulo": "word", _RUN: "run", "h_nt": _HARD},
    # Only ASCII letters follow a visible character.
    "mark": {"Aa": "name", _RUN: "run", "n": "breaks"},
    "name": {"Aa": "name"},
    "word": {"Aaulo": "word"},
}
RULES: dict[str, Rule] = {
    "gpt2": _GPT2,
    "cl100k": _CL100K,
    "llama3": _CL100K,
    "qwen2": _QWEN2,
    "o200k": _O200K,
    "deepseek-v3": _DEEPSEEK,
}

# An entry of a table is the next state shifted by 8, so that a column can be added to it, and
# these. The column of an ASCII character is its byte; those beyond stand by class from WIDE on,
# and then again those in the range of kana and Han.
CUT_SHIFT = 12
CUT = 1 << CUT_SHIFT  # a pretoken ends before this character
STOP = 1 << 13  # hard: go back to the last end
STATE = CUT - 1
WIDE, WIDE_CJK = 0x80, 0x80 + LO + 1


def kind_of(column: int) -> str:
    """The kind of what stands in a column: one letter, visible, or hard."""
    if column >= WIDE_CJK:
        return "h" if column - WIDE_CJK in _WIDE_KINDS else _HARD
    if column >= WIDE:
        return _WIDE_KINDS.get(column - WIDE, _HARD)
    for kind, characters in _KINDS.items():
        if chr(column) in characters:
            return kind
    return _VISIBLE if 0x21 <= column <= 0x7E else _HARD


@cache
def automaton(preset: str) -> NDArray[np.int16]:
    """The table of a preset, (states * 256,): `table[state << 8 | column]` is the next entry."""
    rule = RULES[preset]
    states = {state: number for number, state in enumerate(rule)}
    table = np.zeros((len(states), 256), dtype=np.int16)
    for state, number in states.items():
        for column in range(256):
            table[number, column] = _entry(rule, states, state, kind_of(column))
    return table.reshape(-1)


def _entry(rule: Rule, states: dict[str, int], state: str, kind: str) -> int:
    following = _after(rule, state, kind)
    cut = 0
    if following is None and kind != _HARD:
        cut = 0 if state == "start" else CUT
        following = _after(rule, "start", kind)
    if following is None or following == _HARD:
        return cut | STOP
    return cut | states[following] << 8


def _after(rule: Rule, state: str, kind: str) -> str | None:
    return next((after for kinds, after in rule[state].items() if kind in kinds), None)
