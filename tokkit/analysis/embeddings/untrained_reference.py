"""Rows that are known to be untrained: what the indicators measure the distance from.

Land and Bartolo (2024) name them by hand for each model. Here they are found by what a tokenizer
proves and what the rows themselves show, never by counts: these are kept to judge the result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.embeddings.untrained_reach import PROVED, Reached
from tokkit.analysis.matrix import Matrix
from tokkit.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SAME_DIRECTION = 0.999
"""Cosine from which two special tokens' rows have moved as one.

Tokens that never stand in a text all get the same gradient; two that do stand in texts mean
different things. (The value was chosen on SmolLM2, where the next pair has 0.993.)
"""
FEWEST_ALIKE = 3
FEWEST = 3
"""A reference of fewer rows than this is none."""
GIVEN, NO_TOKEN, NEVER_ENCODED, NAMED_UNUSED, ALIKE = (
    "given by the caller",
    "the row has no token",
    "the tokenizer proves that no text gives the token",
    "the name of the special token says that it is not used",
    "special tokens whose rows have moved as one",
)
_UNUSED_NAME = re.compile(rb"unused|reserved", re.IGNORECASE)
_MOST_SPECIAL = 4096


@dataclass(frozen=True, slots=True)
class Reference:
    """Ids of rows known to be untrained, (n,) in order, and how many each rule found first."""

    ids: Ints
    found_by: Mapping[str, int]

    @property
    def is_usable(self) -> bool:
        """Whether there are enough rows for a mean."""
        return len(self.ids) >= FEWEST


def given_reference(ids: Sequence[int], usable: NDArray[np.bool_]) -> Reference:
    """The reference that the caller names; ConfigError for ids that are no usable rows."""
    chosen = np.unique(np.asarray(ids if len(ids) else [], dtype=np.int64))
    if len(chosen) < FEWEST:
        raise ConfigError(
            f"a reference is {FEWEST} or more different rows known to be untrained, got "
            f"{len(chosen)}: name more, or none to have them found"
        )
    if chosen[0] < 0 or chosen[-1] >= len(usable):
        wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise ConfigError(f"rows of the reference must lie in 0..{len(usable) - 1}, got {wrong}")
    if not usable[chosen].all():
        wrong = chosen[~usable[chosen]][0]
        raise ConfigError(f"row {wrong} of the reference cannot be measured: leave it out")
    return Reference(chosen, {GIVEN: len(chosen)})


def find_reference(subject: Subject, reached: Reached, usable: NDArray[np.bool_]) -> Reference:
    """The rows that are untrained by one of the rules, each counted under the first that holds."""
    assert subject.tokens is not None
    matrix = subject.output or subject.rows
    without = np.array([not token for token in subject.tokens], dtype=bool)
    special = np.array(sorted(subject.special), dtype=np.int64)
    named = [token for token in special if _UNUSED_NAME.search(subject.tokens[token])]
    rules = (
        (NO_TOKEN, np.flatnonzero(without)),
        (NEVER_ENCODED, np.flatnonzero(np.isin(reached.kind, PROVED))),
        (NAMED_UNUSED, np.array(named, dtype=np.int64)),
        (ALIKE, moved_as_one(matrix, special[usable[special]])),
    )
    taken: set[int] = set()
    found_by: dict[str, int] = {}
    for reason, ids in rules:
        fresh = {int(token) for token in ids if usable[token]} - taken
        if fresh:
            found_by[reason] = len(fresh)
        taken |= fresh
    return Reference(np.array(sorted(taken), dtype=np.int64), found_by)


def moved_as_one(matrix: Matrix, ids: ArrayLike) -> Ints:
    """Those of `ids` that lie in the largest group of rows of one direction; none if it is small.

    The group of a row is all rows whose cosine with it is at least SAME_DIRECTION; of equal
    groups the first row's counts.
    """
    chosen = np.asarray(ids, dtype=np.int64)[:_MOST_SPECIAL]
    if len(chosen) < FEWEST_ALIKE:
        return chosen[:0]
    rows = matrix.take(chosen).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    alike = rows @ rows.T >= SAME_DIRECTION
    group = alike[int(alike.sum(axis=1).argmax())]
    return chosen[group] if int(group.sum()) >= FEWEST_ALIKE else chosen[:0]
