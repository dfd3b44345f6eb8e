"""Which letters stand inside each token: what a model that sees ids alone cannot see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import InputError
from tokkit.tokenizer.artifact import Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def letter_counts(tokenizer: Tokenizer) -> NDArray[np.uint8]:
    """How often each letter a to z, in either case, stands in each token's bytes.

    Returns counts of shape (vocab_size, 26); the rows of added and special tokens are zero. Raises
    InputError for a token with more than 255 of one letter.
    """
    counts = np.zeros((tokenizer.vocab_size, len(LETTERS)), dtype=np.uint8)
    for token in range(tokenizer.vocab_size):
        if tokenizer.kind(token) != "token":
            continue
        found = tokenizer.token_bytes(token).lower()
        for column, letter in enumerate(LETTERS.encode()):
            count = found.count(letter)
            if count > 255:
                raise InputError(
                    f"at most 255 of one letter are counted in a token, token {token} has {count}; "
                    f"train with a pre-tokenizer that cuts text"
                )
            counts[token, column] = count
    return counts


def swapped_letters(tokenizer: Tokenizer, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Letter counts that lie: each token with letters gets the row of another one as long.

    "As long" is the same number of letters; the row always differs from the token's own. Within
    each length the rows are a permutation of the true ones wherever such a permutation exists,
    that is, unless one row holds for more than half of the tokens; there, rows are drawn from the
    tokens that differ, with repetition. Where all tokens of a length share one row there is nothing
    to draw, and their rows are zero.

    Returns counts of shape (vocab_size, 26), drawn with `generator` alone.
    """
    counts = letter_counts(tokenizer)
    lengths = counts.sum(axis=1, dtype=np.int64)
    swapped = np.zeros_like(counts)
    for length in np.unique(lengths[lengths > 0]):
        members = np.flatnonzero(lengths == length)
        sources, targets = _exchange(counts[members], generator)
        swapped[members[targets]] = counts[members[sources]]
    return swapped


def _exchange(
    rows: NDArray[np.uint8], generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs (source, target) of indices with different rows, one for each target that has any."""
    _, group, sizes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    largest = int(sizes.max())
    if len(sizes) == 1:
        none = np.empty(0, dtype=np.intp)
        return none, none
    if 2 * largest <= len(rows):
        # Equal rows stand together, so a shift by the largest group's size leaves every group.
        shuffled = generator.permutation(len(rows))
        place = generator.permutation(len(sizes))
        targets = shuffled[np.argsort(place[group[shuffled]], kind="stable")]
        shift = int(generator.integers(largest, len(rows) - largest, endpoint=True))
        return np.roll(targets, shift), targets
    targets = np.arange(len(rows))
    sources = [generator.choice(np.flatnonzero(group != own)) for own in group]
    return np.array(sources, dtype=np.intp), targets
