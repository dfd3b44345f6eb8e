"""How numbers, white space and code are cut: fixed items, encoded as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokkit.results import Column, Table
from tokkit.tokenizer.audit.characters import NUMBER, SPACE, count_kind
from tokkit.tokenizer.audit.counts import Usage
from tokkit.tokenizer.audit.efficiency import Metric, averaged
from tokkit.tokenizer.audit.replicates import Replicates
from tokkit.tokenizer.audit.tables import TOKENIZER

DIGITS = tuple(range(1, 11))
_ALL_UP_TO = 3
_SAMPLE = 400
GROUPINGS = {
    "whole": "One token",
    "digits_each": "Each digit a token",
    "even": "Groups of one size",
    "left": "Groups from the left",
    "right": "Groups from the right",
    "irregular": "Irregular",
}
OPERATORS = {
    "arithmetic": "+ - * / % ** // ++ -- @",
    "comparison": "== != < > <= >= === !== <=> <>",
    "assignment": "= += -= *= /= %= := <- |= &= ^= <<= >>= **= //= ??=",
    "logic and bits": "&& || ! & | ^ ~ << >> >>> ??",
    "structure": "-> => :: . .. ... ..= ?. : ; , # // /* */ <!-- -->",
    "brackets": "( ) [ ] { } () [] {} (( )) [[ ]] {{ }} ); }); ]) (* *)",
    "strings": '" \' ` """ \'\'\' ``` \\n \\\\ f" r"',
}
_INDENTS = (
    *(("spaces", n, " " * n) for n in range(1, 17)),
    *(("tabs", n, "\t" * n) for n in range(1, 5)),
    ("blank lines", 1, "\n"),
    ("blank lines", 2, "\n\n"),
)


def structure_metrics(usage: Usage, replicates: Replicates) -> list[Metric]:
    """Digits a token and white space in the corpus itself."""
    tokens = usage.tokens
    digits = count_kind(tokens.data, tokens.offsets, NUMBER)
    spaces = count_kind(tokens.data, tokens.offsets, SPACE)
    only_space = (spaces > 0) & (_characters(usage) == spaces)
    counted = usage.counts
    return [
        *averaged(
            replicates, "digits_per_token", "Digits a token, of tokens with a digit",
            "digits/token", "tokens with a digit", counted @ digits,
            counted @ (digits > 0).astype(np.int64),
        ),
        *averaged(
            replicates, "white_space_tokens", "Tokens of nothing but white space",
            "proportion", "tokens", counted @ only_space.astype(np.int64), usage.of_blocks,
        ),
    ]  # fmt: skip


def _characters(usage: Usage) -> Any:
    """Bytes of each token that begin a character: (vocabulary,)."""
    begins = np.concatenate([[0], np.cumsum((usage.tokens.data & 0xC0) != 0x80)])
    return np.diff(begins[usage.tokens.offsets])


# Numbers -----------------------------------------------------------------------------------------


def grouping(lengths: Sequence[int]) -> str:
    """How a number is cut, from the digits of its tokens, left to right.

    "whole": one token; "digits_each": one token a digit; "even": groups of one size; "left":
    groups of one size counted from the left, what remains last; "right": counted from the right,
    as people write thousands; "irregular": anything else.

    >>> grouping([3, 3, 1]), grouping([1, 3, 3]), grouping([2, 3, 1])
    ('left', 'right', 'irregular')
    """
    if len(lengths) == 1:
        return "whole"
    if max(lengths) == 1:
        return "digits_each"
    if len(set(lengths)) == 1:
        return "even"
    if len(set(lengths[:-1])) == 1 and lengths[-1] < lengths[0]:
        return "left"
    if len(set(lengths[1:])) == 1 and lengths[0] < lengths[-1]:
        return "right"
    return "irregular"


def numbers_of(digits: int, generator: np.random.Generator) -> list[str]:
    """All numbers of that many digits up to 3, beyond that 400 drawn evenly, no leading zero."""
    if digits <= _ALL_UP_TO:
        first = 0 if digits == 1 else 10 ** (digits - 1)
        return [str(number) for number in range(first, 10**digits)]
    drawn = generator.integers(10 ** (digits - 1), 10**digits, size=_SAMPLE)
    return [str(number) for number in drawn.tolist()]


def numbers_table(usages: Sequence[Usage], generator: np.random.Generator) -> Table:
    """How numbers of 1 to 10 digits, each standing alone, are cut."""
    items = {digits: numbers_of(digits, generator) for digits in DIGITS}
    rows = []
    for usage in usages:
        for digits, texts in items.items():
            cuts = [_lengths(usage, ids) for ids in usage.tokenizer.encode_batch(texts)]
            kinds = Counter(grouping(cut) if cut else "irregular" for cut in cuts)
            shapes = Counter("+".join(map(str, cut)) for cut in cuts)
            shape, often = min(shapes.items(), key=lambda pair: (-pair[1], pair[0]))
            shares = (kinds[kind] / len(cuts) for kind in GROUPINGS)
            mean = float(np.mean([len(cut) for cut in cuts]))
            rows.append(
                (usage.name, digits, len(cuts), mean, *shares, len(shapes), shape,
                 often / len(cuts))
            )  # fmt: skip
    columns = (
        TOKENIZER,
        Column("digits", "Digits", "digits"),
        Column("numbers", "Numbers", "numbers"),
        Column("tokens", "Tokens a number", "tokens/number"),
        *(Column(kind, label, "proportion") for kind, label in GROUPINGS.items()),
        Column("shapes", "Different ways of cutting", "ways"),
        Column("commonest", "Commonest way, in digits"),
        Column("commonest_share", "Share cut that way", "proportion"),
    )  # fmt: skip
    return Table("How numbers are cut", columns, tuple(rows))


def _lengths(usage: Usage, ids: Sequence[int]) -> list[int]:
    """Digits of each token, tokens without one (a mark of a word's beginning) left out."""
    pieces = [usage.tokens[token] for token in ids]
    return [n for piece in pieces if (n := len(piece.strip()))]


# White space and operators -----------------------------------------------------------------------


def spaces_table(usages: Sequence[Usage]) -> Table:
    """How an indented line is cut: a line feed, white space, a word."""
    rows = []
    for usage in usages:
        batch = usage.tokenizer.encode_batch([f"x\n{indent}return" for *_, indent in _INDENTS])
        for (kind, width, _), ids in zip(_INDENTS, batch, strict=True):
            pieces = [usage.tokens[token] for token in ids]
            blank = [piece for piece in pieces if piece.isspace()]
            joined = any(p[:1].isspace() and not p.isspace() for p in pieces[1:])
            rows.append((usage.name, kind, width, len(blank), joined, _chips(pieces)))
    columns = (
        TOKENIZER,
        Column("kind", "Indentation"),
        Column("width", "Characters", "characters"),
        Column("tokens", "Tokens of nothing but white space", "tokens"),
        Column("joined", "The word takes white space"),
        Column("cut", "Cut"),
    )
    return Table(
        'How indentation is cut, in "x", line feed, white space, "return"', columns, tuple(rows)
    )


def operators_table(usages: Sequence[Usage]) -> Table:
    """How operators are cut, between letters and between spaces."""
    listed = [(kind, sign) for kind, signs in OPERATORS.items() for sign in signs.split()]
    rows = []
    for usage in usages:
        tight = usage.tokenizer.encode_batch([f"a{sign}b" for _, sign in listed])
        spaced = usage.tokenizer.encode_batch([f"a {sign} b" for _, sign in listed])
        for (kind, sign), near, apart in zip(listed, tight, spaced, strict=True):
            near_pieces = [usage.tokens[token] for token in near]
            apart_pieces = [usage.tokens[token] for token in apart]
            at, size = 1, len(sign.encode())
            rows.append(
                (usage.name, kind, sign, *_overlap(near_pieces, at, size),
                 _overlap(apart_pieces, at + 1, size)[0], _chips(near_pieces),
                 _chips(apart_pieces))
            )  # fmt: skip
    columns = (
        TOKENIZER,
        Column("kind", "Kind"),
        Column("operator", "Operator"),
        Column("tokens_tight", "Tokens, between letters", "tokens"),
        Column("joined", "Joined to a letter"),
        Column("tokens_spaced", "Tokens, between spaces", "tokens"),
        Column("cut_tight", "Cut, between letters"),
        Column("cut_spaced", "Cut, between spaces"),
    )
    return Table("How operators are cut", columns, tuple(rows))


def _overlap(pieces: Sequence[bytes], start: int, size: int) -> tuple[int | None, bool | None]:
    """How many pieces hold bytes from `start` on, and whether one reaches into a letter beside.

    None where the pieces do not spell the text, as with tokenizers that change it.
    """
    bounds = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    if bounds[-1] < start + size + 1:
        return None, None
    touching = (bounds[:-1] < start + size) & (bounds[1:] > start)
    first, last = np.flatnonzero(touching)[[0, -1]]
    return int(touching.sum()), bool(bounds[first] < start or bounds[last + 1] > start + size)


def _chips(pieces: Sequence[bytes]) -> str:
    return "|".join(piece.decode("utf-8", "backslashreplace") for piece in pieces)
