"""What stands in each token, as labels for probes: letters, counts, ends, length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.probing import Ints, Task
from tokkit.analysis.probing_splits import group_numbers
from tokkit.errors import InputError
from tokkit.tokenizer.letters import LETTERS

MOST = 2
"""Counts of a letter are 0, 1 and this many or more."""
LONGEST = 15
"""Letters of the longest length told apart; longer tokens count with it."""
STEM_LETTERS = 4
_WORD = re.compile(rb" ?[A-Za-z]+")
NOT_LETTERS = "tokens that are not letters alone"
SPECIAL = "special tokens"
NO_TOKEN = "rows without a token"
NOT_USABLE = "rows that are not finite or all zero"


@dataclass(frozen=True, slots=True)
class Spelled:
    """The tokens that are made of letters alone, with or without a space before them.

    ids (N,), words (the letters, in lower case), groups (N,): equal for equal words; shown: the
    tokens as they are written. `left_out` counts the others by reason.
    """

    ids: Ints
    words: tuple[str, ...]
    shown: tuple[str, ...]
    groups: Ints
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: ArrayLike) -> Spelled:
        """Those at `places` alone."""
        chosen = np.asarray(places, dtype=np.int64)
        words, shown = (tuple(of[i] for i in chosen) for of in (self.words, self.shown))
        return Spelled(self.ids[chosen], words, shown, self.groups[chosen], self.left_out)

    @property
    def stems(self) -> Ints:
        """Groups by the first STEM_LETTERS letters: families of words stay together."""
        return group_numbers([word[:STEM_LETTERS] for word in self.words])

    @property
    def lengths(self) -> Ints:
        """Letters of each token."""
        return np.array([len(word) for word in self.words], dtype=np.int64)


def spelled_tokens(subject: Subject) -> Spelled | None:
    """The tokens of a subject that can be spelled; None where its tokens are not known.

    Raises InputError where there are more tokens than rows.
    """
    if subject.tokens is None:
        return None
    if len(subject.tokens) > len(subject.rows):
        raise InputError(
            f"{len(subject.tokens)} tokens were given for {len(subject.rows)} rows: the tokenizer "
            "does not belong to this embedding"
        )
    reasons: Counter[str] = Counter()
    ids, shown = [], []
    for token, data in enumerate(subject.tokens):
        reason = _reason(subject, token, data)
        if reason:
            reasons[reason] += 1
        else:
            ids.append(token)
            shown.append(data.decode("ascii"))
    return of_words(ids, shown, reasons)


def _reason(subject: Subject, token: int, data: bytes) -> str:
    if token in subject.special:
        return SPECIAL
    if not data:
        return NO_TOKEN
    if not _WORD.fullmatch(data):
        return NOT_LETTERS
    return "" if subject.usable[token] else NOT_USABLE


def of_words(
    ids: Sequence[int], shown: Sequence[str], left_out: Mapping[str, int] | None = None
) -> Spelled:
    """Tokens known to be letters alone, `shown` as they are written."""
    words = tuple(text.removeprefix(" ").lower() for text in shown)
    return Spelled(
        np.array(ids, dtype=np.int64),
        words,
        tuple(shown),
        group_numbers(words),
        dict(sorted((left_out or {}).items())),
    )


def letter_table(words: Sequence[str]) -> Ints:
    """How often each letter a to z stands in each word: (N, 26)."""
    return np.array([[word.count(letter) for letter in LETTERS] for word in words], dtype=np.int64)


def spelling_tasks(words: Sequence[str]) -> dict[str, Task]:
    """The tasks by name: presence, count, first, last, length.

    presence  26 heads, 0 or 1             count  26 heads, 0, 1, MOST or more
    first, last  one head of 26 letters    length  one head, class k is k + 1 letters
    """
    counts = letter_table(words)
    names = tuple(LETTERS)
    ends = {
        name: np.array([[LETTERS.index(word[at])] for word in words], dtype=np.int64)
        for name, at in (("first", 0), ("last", -1))
    }
    length = np.array([[min(len(word), LONGEST) - 1] for word in words], dtype=np.int64)
    return {
        "presence": Task("presence", np.minimum(counts, 1), 2, names),
        "count": Task("count", np.minimum(counts, MOST), MOST + 1, names),
        "first": Task("first", ends["first"], len(LETTERS), ("first letter",)),
        "last": Task("last", ends["last"], len(LETTERS), ("last letter",)),
        "length": Task("length", length, LONGEST, ("length",)),
    }


def surface(subject: Subject, spelled: Spelled, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is known of tokens without their letters: (N, F).

    The norm of the row, the id and its logarithm, log of the count where known, whether a space
    or a capital begins it.
    """
    columns = [
        np.linalg.norm(rows, axis=1),
        spelled.ids / len(subject.rows),
        np.log(spelled.ids + 1.0),
        np.array([text.startswith(" ") for text in spelled.shown], dtype=float),
        np.array([text.lstrip()[0].isupper() for text in spelled.shown], dtype=float),
    ]
    if subject.counts is not None:
        columns.append(np.log1p(subject.counts[spelled.ids]))
    return whitened_columns(np.stack(columns, axis=1))


def of_length(spelled: Spelled) -> NDArray[np.float32]:
    """The length alone, a column for each, (N, LONGEST)."""
    place = np.minimum(spelled.lengths, LONGEST) - 1
    return np.asarray(np.eye(LONGEST, dtype=np.float32)[place])


def whitened_columns(columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each column centred and divided by its standard deviation; a constant one is zero."""
    centred = columns - columns.mean(axis=0)
    spread = centred.std(axis=0)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0), dtype=np.float32)
