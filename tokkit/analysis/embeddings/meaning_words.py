"""Which rows of an embedding stand for which words: from lists of words to rows with a category.

A word counts only where one token spells all of it in the middle of a sentence: a row that stands
for half of a word says nothing about the word. What is left out is counted, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import Matrix
from tokkit.errors import ConfigError

Rows = NDArray[np.float64]
Quadruple = tuple[str, str, str, str]
MIN_CATEGORIES = 2
MIN_WORDS = 5
_FRAME = "and "
"""Before each word, so that it is cut as in the middle of a sentence."""
SEVERAL, UNKNOWN, TWICE = (
    "words of several tokens",
    "words that no row stands for",
    "words that stand in two categories",
)
UNUSABLE = "words whose row cannot be measured"
COPY = "words whose row another word has too"
SMALL = f"words of categories with fewer than {MIN_WORDS} words left"


@dataclass(frozen=True, slots=True)
class WordLists:
    """Words by category, and pairs of words by relation, as they stand in a sentence."""

    categories: Mapping[str, tuple[str, ...]]
    analogies: Mapping[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class CategoryWords:
    """The words that are measured: n of them, in the order of their lists.

    tokens      the ids whose rows stand for each word: one, or several where their mean was asked
    labels      (n,) int64, the place of each word's category in `categories`
    left_out    reason to number of words
    """

    words: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    labels: NDArray[np.int64]
    categories: tuple[str, ...]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def fault(self) -> str | None:
        """Why there is nothing to measure, in words; None where there is."""
        if len(self.categories) >= MIN_CATEGORIES:
            return None
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return (
            f"category structure needs {MIN_CATEGORIES} categories of {MIN_WORDS} words that are "
            f"one token each, and {len(self.categories)} came through (left out: "
            f"{reasons or 'nothing'})"
        )


@lru_cache(maxsize=1)
def common_words() -> WordLists:
    """The lists of common English words that come with tokkit, corpora/categories.toml."""
    import tomllib
    from importlib import resources

    path = resources.files("tokkit").joinpath("corpora", "categories.toml")
    lists = tomllib.loads(path.read_text("utf-8"))
    return WordLists(
        {name: tuple(words) for name, words in lists["categories"].items()},
        {
            relation: tuple((first, second) for first, second in pairs)
            for relation, pairs in lists["analogies"].items()
        },
    )


def check_categories(categories: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError unless `categories` maps names to lists of words."""
    for name, words in categories.items():
        if isinstance(words, str) or not all(isinstance(word, str) and word for word in words):
            raise ConfigError(
                f"a category is a list of words, but {name!r} holds {words!r}: give each word as "
                "a string of one or more letters"
            )


def word_tokens(subject: Subject, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The ids that spell each word in the middle of a sentence; () where that is not known.

    With the subject's tokenizer, "and WORD" is encoded and the ids that cover the word are taken.
    Without one, the token is looked for whose bytes are the word, with a leading space where any
    token of the vocabulary has one. Ids beyond the rows of the matrix are as unknown ones.
    """
    distinct = list(dict.fromkeys(words))
    spell = _spelled_by_table if subject.tokenizer is None else _spelled_by_tokenizer
    rows = len(subject.rows)
    return {
        word: ids if all(token < rows for token in ids) else ()
        for word, ids in zip(distinct, spell(subject, distinct), strict=True)
    }


def _spelled_by_tokenizer(subject: Subject, words: Sequence[str]) -> list[tuple[int, ...]]:
    encoded = subject.tokenizer.encode_batch([_FRAME + word for word in words])
    return [_cover(subject.tokenizer, ids, word) for ids, word in zip(encoded, words, strict=True)]


def _cover(tokenizer: Any, ids: Sequence[int], word: str) -> tuple[int, ...]:
    """The last ids, as few as spell the word; a space before it belongs to the first of them."""
    wanted, spelled = word.encode("utf-8"), b""
    for start in range(len(ids) - 1, -1, -1):
        spelled = tokenizer.token_bytes(ids[start]) + spelled
        if spelled.strip() == wanted:
            return tuple(int(token) for token in ids[start:])
        if len(spelled.strip()) > len(wanted):
            break
    return ()


def _spelled_by_table(subject: Subject, words: Sequence[str]) -> list[tuple[int, ...]]:
    tokens = subject.tokens or ()
    token_of: dict[bytes, int] = {}
    for token, data in enumerate(tokens):
        if data and token not in subject.special:
            token_of.setdefault(bytes(data), token)
    space = b" " if spaced(tokens) else b""
    found = (token_of.get(space + word.encode("utf-8")) for word in words)
    return [() if token is None else (token,) for token in found]


def analogies_by_kind(
    quadruples: Sequence[Quadruple], kinds: Sequence[str]
) -> dict[str, tuple[Quadruple, ...]]:
    """Quadruples (a, b, c, d) under their kinds, which stand beside them in the same order.

    >>> analogies_by_kind([("cat", "cats", "dog", "dogs")], ["plural"])
    {'plural': (('cat', 'cats', 'dog', 'dogs'),)}
    """
    grouped: dict[str, list[Quadruple]] = {}
    for words, kind in zip(quadruples, kinds, strict=True):
        grouped.setdefault(kind, []).append(words)
    return {kind: tuple(given) for kind, given in grouped.items()}


def spaced(tokens: Sequence[bytes]) -> bool:
    """Whether a vocabulary writes a word with the space before it, as most do."""
    return any(len(token) > 1 and token[:1] == b" " and token[1:].isalpha() for token in tokens)


def rows_of_words(subject: Subject) -> NDArray[np.int64]:
    """Ids of usable rows whose token is a whole word of letters, with its space where most have."""
    tokens = subject.tokens or ()
    with_space = spaced(tokens)
    return np.array(
        [
            token
            for token, data in enumerate(tokens[: len(subject.rows)])
            if subject.usable[token]
            and token not in subject.special
            and _is_word(bytes(data), with_space)
        ],
        dtype=np.int64,
    )


def _is_word(token: bytes, with_space: bool) -> bool:
    if (token[:1] == b" ") != with_space:
        return False
    try:
        return token[with_space:].decode("utf-8").isalpha()
    except UnicodeDecodeError:
        return False


def category_words(
    subject: Subject, categories: Mapping[str, Sequence[str]], *, mean_of_several: bool = False
) -> CategoryWords:
    """Find the rows of words in categories; leave out and count what has none of its own.

    Left out are words of several tokens (unless `mean_of_several`: the mean of their rows then
    stands for them), words in two categories, words whose row cannot be measured or equals that of
    a word before, and then the words of categories that keep fewer than five. Raises ConfigError
    where a category is not a list of words.
    """
    check_categories(categories)
    listed = {name: tuple(dict.fromkeys(words)) for name, words in categories.items()}
    times = Counter(word for words in listed.values() for word in words)
    tokens = word_tokens(subject, list(times))
    left: Counter[str] = Counter()
    kept: list[tuple[str, str, tuple[int, ...]]] = []
    left[TWICE] = sum(count > 1 for count in times.values())
    for name, words in listed.items():
        for word in words:
            if times[word] == 1:
                reason = _fault(subject, tokens[word], mean_of_several)
                if reason is None:
                    kept.append((word, name, tokens[word]))
                else:
                    left[reason] += 1
    kept = _without_copies(subject.rows, kept, left)
    sizes = Counter(name for _, name, _ in kept)
    names = tuple(name for name in listed if sizes[name] >= MIN_WORDS)
    left[SMALL] = sum(size for name, size in sizes.items() if name not in names)
    chosen = [entry for entry in kept if entry[1] in names]
    return CategoryWords(
        tuple(word for word, _, _ in chosen),
        tuple(ids for _, _, ids in chosen),
        np.array([names.index(name) for _, name, _ in chosen], dtype=np.int64),
        names,
        {reason: count for reason, count in left.items() if count},
    )


def _fault(subject: Subject, tokens: tuple[int, ...], mean_of_several: bool) -> str | None:
    if not tokens:
        return UNKNOWN
    if len(tokens) > 1 and not mean_of_several:
        return SEVERAL
    return None if subject.usable[list(tokens)].all() else UNUSABLE


def _without_copies(
    rows: Matrix, kept: list[tuple[str, str, tuple[int, ...]]], left: Counter[str]
) -> list[tuple[str, str, tuple[int, ...]]]:
    """Each row once: equal rows (of one token, or copies in the file) would be own neighbours."""
    if not kept:
        return kept
    vectors = word_rows(rows, [tokens for _, _, tokens in kept])
    _, first = np.unique(vectors, axis=0, return_index=True)
    left[COPY] = len(kept) - len(first)
    return [kept[place] for place in sorted(first)]


def word_rows(rows: Matrix, tokens: Sequence[tuple[int, ...]]) -> Rows:
    """The row of each word as float64, (n, D): the mean of its tokens' rows if it has several."""
    flat = rows.take([token for ids in tokens for token in ids]).astype(np.float64)
    starts = np.cumsum([0, *(len(ids) for ids in tokens[:-1])])
    sums: Rows = np.add.reduceat(flat, starts, axis=0)
    return np.asarray(sums / np.array([len(ids) for ids in tokens])[:, None])


def mean_row(rows: Matrix, usable: NDArray[np.bool_]) -> Rows:
    """The mean of all usable rows, (D,) float64, read a block at a time; 0 where there is none."""
    total = np.zeros(rows.width)
    for start, block in rows.blocks():
        total += block[usable[start : start + len(block)]].sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(1, int(usable.sum())))


def prepared(vectors: Rows, mean: Rows) -> Rows:
    """Rows less `mean`, each then of length 1; a row that equals the mean stays 0."""
    centred = vectors - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0))


PREPARED = "less the mean of all usable rows, then of unit length"
"""What `prepared` does, in the words of a result."""
