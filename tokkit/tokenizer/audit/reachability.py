"""Which tokens can come out of a byte-level BPE encoder, in any text.

Two facts decide it. First, a token that stands in the encoding of some pretoken is also the whole
encoding of its own bytes: no merge crosses its ends, the lowest merge of the pretoken is the lowest
within it, and so the merges inside are those it undergoes alone. Hence a token whose bytes encode
otherwise never comes out. Second, a token also needs a text in which the pre-tokenizer leaves it
whole; a text in which it is met settles that it has one. The search for such a text tries the
token alone, then with the rest of its broken characters, then between characters of every class,
one on each side. What it does not find is told apart from what is proved.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.tokenizer.audit.characters import are_valid
from tokkit.tokenizer.audit.counts import Tokens, join
from tokkit.tokenizer.audit.utf8 import completions, is_part_of_text

Ints = NDArray[np.int64]

REACHABLE, MERGES, SAME_BYTES, NOT_TEXT, PRETOKENIZER, NOT_FOUND, OTHER = range(7)
CLASSES = {
    MERGES: "its merges do not build it",
    SAME_BYTES: "another id has the same bytes and is taken",
    NOT_TEXT: "its bytes stand in no valid UTF-8",
    PRETOKENIZER: "the pre-tokenizer cuts it in every context tried",
    NOT_FOUND: "no text with it was found, and no proof that there is none",
}
# A character of each class that a pattern tells apart, and those it names.
_AROUND = "aA1 \n\r\t.'_中あ\u0301ǅʰ$\u200b²/slLeE"
_ROUNDS = (16, 512, 4096)
_MOST_SEARCHED = 5000
_TOKENS_A_BATCH = 500

Context = tuple[bytes, bytes]
"""Bytes to put before and after a token."""


@dataclass(frozen=True, slots=True)
class Reach:
    """`kind` (vocabulary,) is a constant of this module for each id; OTHER: no ordinary token."""

    kind: NDArray[np.int8]

    def ids(self, kind: int) -> Ints:
        """The ids of a class."""
        return np.flatnonzero(self.kind == kind)


def find_reach(encoder: Any, tokens: Tokens, met: NDArray[np.bool_] | None = None) -> Reach:
    """Decide for each ordinary token of a byte-level BPE whether any text gives it.

    `encoder` is that of a tokenizer whose pre-tokenizer is known; `met` (vocabulary,) marks
    tokens that are known to have come out of it.
    """
    tokenizer = encoder.tokenizer
    kind = np.full(len(tokens), OTHER, np.int8)
    fixed = tokenizer.special_ids | tokenizer.added_ids | getattr(tokenizer, "unused_ids", set())
    ordinary = np.setdiff1d(np.arange(len(tokens)), np.fromiter(fixed, np.int64, len(fixed)))
    kind[ordinary] = _alone(encoder, tokens, ordinary)
    if met is not None:
        kind[ordinary[met[ordinary]]] = REACHABLE
    _find_whole(tokenizer.pretokenizer, tokens, kind)
    open_ids = np.flatnonzero(kind == NOT_FOUND)
    for token in open_ids:
        if not is_part_of_text(tokens[token]):
            kind[token] = NOT_TEXT
    _search(encoder, tokenizer.pretokenizer, tokens, kind)
    return Reach(kind)


def _alone(encoder: Any, tokens: Tokens, ordinary: Ints) -> NDArray[np.int8]:
    """Whether the bytes of a token encode to it: NOT_FOUND (as yet) if so, else why not."""
    ids, offsets = encoder.encode_units(tokens.data, tokens.offsets)
    single = np.diff(offsets) == 1
    first = np.full(len(tokens), -1, np.int64)
    first[single] = ids[offsets[:-1][single]]
    kind = np.where(single, SAME_BYTES, MERGES)
    kind[first == np.arange(len(tokens))] = NOT_FOUND
    return np.asarray(kind[ordinary], dtype=np.int8)


def _find_whole(rule: Any, tokens: Tokens, kind: NDArray[np.int8]) -> None:
    """Mark tokens that are a whole text and a whole pretoken: then they come out of that text."""
    from tokkit.tokenizer.splitting import pretoken_ends

    valid = are_valid(tokens.data, tokens.offsets)
    asked = np.flatnonzero((kind == NOT_FOUND) & valid)
    data, starts = join([tokens[token] for token in asked])
    ends = pretoken_ends(data, starts, rule)
    inside = np.searchsorted(ends, starts[1:], side="left") - np.searchsorted(
        ends, starts[:-1], side="right"
    )
    kind[asked[inside == 0]] = REACHABLE


def _search(encoder: Any, rule: Any, tokens: Tokens, kind: NDArray[np.int8]) -> None:
    """Look for a context for what is open, in rounds of more and more contexts."""
    open_ids = np.flatnonzero(kind == NOT_FOUND)[:_MOST_SEARCHED].tolist()
    spelled = {token: tokens[token] for token in open_ids}
    fitted: set[int] = set()
    for rounds in range(len(_ROUNDS) + 1):
        tried = {
            token: contexts
            for token in open_ids
            if kind[token] == NOT_FOUND and (contexts := _contexts(spelled[token], rounds))
        }
        for some in _batches(list(tried), _TOKENS_A_BATCH):
            met, whole = _try(encoder, rule, tokens, {token: tried[token] for token in some})
            fitted |= whole
            kind[list(met)] = REACHABLE
    for token in open_ids:
        if kind[token] == NOT_FOUND and token not in fitted:
            kind[token] = PRETOKENIZER


def _batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _contexts(token: bytes, rounds: int) -> Sequence[Context]:
    """Texts to put around a token in one round: none where an earlier round tried all.

    First the rest of its broken characters, more in each round; last a character of each class.
    """
    if rounds < len(_ROUNDS):
        start, end = (0, *_ROUNDS)[rounds : rounds + 2]
        return tuple(itertools.islice(completions(token), start, end))
    some = tuple(itertools.islice(completions(token), 4))
    if some == ((b"", b""),):
        return _between_characters()
    return tuple(
        (before + head, tail + after)
        for before, after in _between_characters()
        if not (before and after)
        for head, tail in some
    )


@cache
def _between_characters() -> tuple[Context, ...]:
    around = [b"", *(character.encode() for character in _AROUND)]
    return tuple(itertools.product(around, around))


def _try(
    encoder: Any, rule: Any, tokens: Tokens, tried: Mapping[int, Sequence[Context]]
) -> tuple[set[int], set[int]]:
    """Tokens that came out of their text, and those that lay within one pretoken of it."""
    from tokkit.tokenizer.splitting import pretoken_ends

    befores = [before for contexts in tried.values() for before, _ in contexts]
    afters = [after for contexts in tried.values() for _, after in contexts]
    repeats = [len(contexts) for contexts in tried.values()]
    wanted = np.repeat(np.fromiter(tried, np.int64, len(tried)), repeats)
    spelled = itertools.chain.from_iterable(
        itertools.repeat(tokens[token], len(contexts)) for token, contexts in tried.items()
    )
    data, starts = join([b"".join(parts) for parts in zip(befores, spelled, afters, strict=True)])
    begin = starts[:-1] + np.fromiter(map(len, befores), np.int64, len(befores))
    end = begin + tokens.lengths[wanted]
    ends = pretoken_ends(data, starts, rule)
    place = np.searchsorted(ends, begin, side="right")
    fits = np.flatnonzero(ends[place] >= end)
    if not len(fits):
        return set(), set()
    first = np.where(place > 0, ends[np.maximum(place - 1, 0)], 0)[fits]
    last = ends[place][fits]
    units, unit_starts = join([data[a:b].tobytes() for a, b in zip(first, last, strict=True)])
    ids, _ = encoder.encode_units(units, unit_starts)
    reached = np.concatenate([[0], np.cumsum(tokens.lengths[ids])])
    # Where in the joined units the token should begin; each unit's ids add up to its bytes.
    target = unit_starts[:-1] + begin[fits] - first
    index = np.minimum(np.searchsorted(reached, target), len(ids) - 1)
    came = (reached[index] == target) & (ids[index] == wanted[fits])
    return set(wanted[fits][came].tolist()), set(wanted[fits].tolist())
