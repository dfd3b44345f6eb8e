"""How much two vocabularies share: their tokens as bytes, whatever their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_FIRST_CUTOFF = 256


@dataclass(frozen=True, slots=True)
class RankedToken:
    """An ordinary token of a vocabulary: its id, bytes and place (from 0) in the order of ids."""

    id: int
    bytes: bytes
    rank: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two vocabularies share: counts of distinct token bytes.

    `at_rank` holds (k, shared, jaccard) for the first k tokens of both, k doubling from 256.
    """

    first: int
    second: int
    shared: int
    at_rank: tuple[tuple[int, int, float], ...]

    @property
    def jaccard(self) -> float | None:
        """Shared / all distinct tokens, None when neither has any (Jaccard 1912)."""
        union = self.first + self.second - self.shared
        return self.shared / union if union else None


def ordinary_tokens(tokenizer: Any) -> list[RankedToken]:
    """The ordinary tokens in order of id, the first of those with the same bytes.

    Special, added and unused ids are left out, and so are tokens without bytes. For a byte-pair
    encoding the order of ids is that of its merges, after the bytes.
    """
    found: dict[bytes, int] = {}
    for token in range(tokenizer.vocab_size):
        if tokenizer.kind(token) == "token":
            data = tokenizer.token_bytes(token)
            if data:
                found.setdefault(data, token)
    return [RankedToken(token, data, rank) for rank, (data, token) in enumerate(found.items())]


def overlap(first: Sequence[RankedToken], second: Sequence[RankedToken]) -> Overlap:
    """Compare two vocabularies, whole and by their first tokens."""
    ours, theirs = [t.bytes for t in first], [t.bytes for t in second]
    shared = len(set(ours) & set(theirs))
    rows = []
    k = _FIRST_CUTOFF
    # As far as both go: beyond that a smaller vocabulary would only look unlike.
    while k < min(len(ours), len(theirs)):
        rows.append(_at(ours, theirs, k))
        k *= 2
    if ours and theirs:
        rows.append(_at(ours, theirs, min(len(ours), len(theirs))))
    return Overlap(len(ours), len(theirs), shared, tuple(rows))


def _at(ours: Sequence[bytes], theirs: Sequence[bytes], k: int) -> tuple[int, int, float]:
    shared = len(set(ours[:k]) & set(theirs[:k]))
    return k, shared, shared / (2 * k - shared)


def only_in(some: Sequence[RankedToken], others: Sequence[RankedToken]) -> list[RankedToken]:
    """The tokens of `some` whose bytes are no token of `others`, in order of rank."""
    known = {token.bytes for token in others}
    return [token for token in some if token.bytes not in known]
