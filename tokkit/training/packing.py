"""Rows of equal length cut from a stream of documents, and their order, from numbers alone.

The chosen documents stand one after another; row r is the stretch of T tokens from r x T on. With
an end token (stored after each document) each stored token is predicted exactly once an epoch:
what goes in at the first token of a document is the end token, which so marks the start too, and
elsewhere the token before. Without one nothing tells what a document begins with, and its first
token is not predicted. Nothing is ever predicted from another document, and a row says which
document each of its tokens belongs to, so that attention stays inside.

The order of an epoch is a permutation computed a place at a time (a Feistel network; Luby and
Rackoff 1988, with cycle walking; Black and Rogaway 2002): nothing is held, however many rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit.errors import ConfigError
from tokkit.training.objective import IGNORED, Batch

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
_ROUNDS = 6


def split_documents(documents: int, share: float, seed: int) -> Numbers:
    """Which documents are held out for validation: about `share` of them, in order.

    A document is held out where the hash of its number and the seed, as a fraction, is below
    `share`; so it stays when documents are added behind. At least one is held out and one is not,
    whatever the hashes: those with the lowest and the highest one. None with a share of 0.

    Raises ConfigError for a share outside of 0..1 (1 excluded), and for fewer than two documents.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"the validation share must be from 0 to below 1, got {share}")
    if share == 0:
        return np.empty(0, dtype=np.int64)
    if documents < 2:
        raise ConfigError(
            f"whole documents are held out for validation, but the corpus has {documents}: give "
            "more documents (JSONL has one a line), or a validation share of 0"
        )
    hashes = mixed(np.arange(documents, dtype=np.uint64) ^ mixed(_word(seed)))
    held_out = hashes < np.uint64(int(share * 2**64))
    held_out[hashes.argmin()] = True
    held_out[hashes.argmax()] = False
    return np.flatnonzero(held_out)


def shuffled(places: Numbers, count: int, key: Sequence[int]) -> Numbers:
    """Where each of `places`, of 0..count - 1, comes in the permutation that `key` names."""
    bits = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    keys = _round_keys(key)[:, None]
    found = places.astype(np.uint64)
    outside = np.ones(len(found), dtype=bool)
    while outside.any():
        # A walk along the cycle of the larger permutation ends where it comes back inside.
        left: Words = found[outside] >> bits
        right: Words = found[outside] & mask
        for word in keys:
            left, right = right, left ^ (mixed(right ^ word) & mask)
        found[outside] = left << bits | right
        outside = found >= np.uint64(count)
    return found.astype(np.int64)


def _round_keys(key: Sequence[int]) -> Words:
    word = _word(0)
    for number in key:
        word = mixed(word ^ _word(number))
    rounds: Words = np.arange(1, _ROUNDS + 1).astype(np.uint64)
    return mixed(word + rounds)


def _word(number: int) -> Words:
    return np.array([number], dtype=np.uint64)


def mixed(words: Words) -> Words:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): each word's bits well mixed."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@dataclass(frozen=True)
class PackedRows:
    """Documents as rows of `context` tokens.

    ids        the stored ids of all documents, one after another; may be mapped from a file
    offsets    (documents + 1,): document d is ids[offsets[d]:offsets[d + 1]]
    documents  which of them, in order
    end_id     the token that each of them ends with, or None
    """

    ids: NDArray[np.integer]
    offsets: Numbers
    documents: Numbers
    context: int
    end_id: int | None

    @cached_property
    def _starts(self) -> Numbers:
        """Where each chosen document begins in the stream, and the stream's end."""
        lengths = self.offsets[self.documents + 1] - self.offsets[self.documents]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @property
    def tokens(self) -> int:
        """How many tokens the stream has."""
        return int(self._starts[-1])

    def __len__(self) -> int:
        return -(-self.tokens // self.context)

    def rows(self, numbers: Numbers) -> Batch:
        """The rows of these numbers, as a dense batch; the last of all is padded at its end."""
        places = numbers[:, None] * self.context + np.arange(self.context)
        inside = places < self.tokens
        places = np.minimum(places, self.tokens - 1)
        which = np.searchsorted(self._starts, places, side="right") - 1
        within = places - self._starts[which]
        stored = self.offsets[self.documents[which]] + within
        here = np.asarray(self.ids[stored]).astype(np.int64)
        if self.end_id is not None:
            before = np.asarray(self.ids[np.maximum(stored - 1, 0)]).astype(np.int64)
            inputs, targets = np.where(within == 0, self.end_id, before), here
        else:
            goes_on = places + 1 < self._starts[which + 1]
            after = np.asarray(self.ids[np.where(goes_on, stored + 1, stored)]).astype(np.int64)
            inputs, targets = here, np.where(goes_on, after, IGNORED)
        # Padding is a document of its own: seen by nothing, predicting nothing.
        group = np.where(inside, which, which + 1) - which[:, :1]
        return Batch(
            torch.from_numpy(np.where(inside, inputs, 0)),
            None,
            None,
            torch.from_numpy(np.where(inside, targets, IGNORED)),
            torch.from_numpy(group),
        )

    def batch_at(self, step: int, size: int, seed: int) -> Batch:
        """The `size` rows of a step: the rows of all epochs, each in its own order, cut evenly."""
        epochs, places = np.divmod(step * size + np.arange(size, dtype=np.int64), len(self))
        numbers = np.concatenate(
            [
                shuffled(places[epochs == epoch], len(self), (seed, int(epoch)))
                for epoch in np.unique(epochs)
            ]
        )
        return self.rows(numbers)


def parts_of(batch: Batch, *, parts: int, rank: int = 0, count: int = 1) -> list[Batch]:
    """What process `rank` of `count` takes of a dense batch, in `parts` to be added up.

    Each part's `share` is its part of all targets, so that the losses add up to the mean.
    """
    predicted = int((batch.targets != IGNORED).sum())
    own = torch.arange(len(batch.ids)).tensor_split(count)[rank]
    found = []
    for rows in own.tensor_split(parts):
        targets = batch.targets[rows]
        share = int((targets != IGNORED).sum()) / max(1, predicted)
        documents = None if batch.documents is None else batch.documents[rows]
        found.append(Batch(batch.ids[rows], None, None, targets, documents, share))
    return found
