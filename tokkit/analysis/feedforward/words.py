"""Words of categories as tokens, halved; and the contexts that they are all put into.

Every word of every category stands in the same contexts, cut from text. So no unit can tell
categories by their company, and with labels that mean nothing all words are alike: a permutation
of labels is an exact test, and initial weights must find nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.windows import Windows
from tokkit.model.cache import Cache
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

FEWEST_WORDS = 8  # of a category
LONGEST_CONTEXT = 24  # tokens before the word, without start_ids
SHORTEST_CONTEXT = 4
_ROWS = 64  # words that go through at once
_FRAME = "and "
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ConceptWords:
    """W words that are one token each.

    labels   (W,) place of each word's category in `categories`
    halves   (W,) 0: units are chosen on it; 1: they are measured on it. Each category is halved
    listed   words that were asked for
    """

    words: tuple[str, ...]
    tokens: Ids
    labels: Ids
    halves: Ids
    categories: tuple[str, ...]
    listed: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    def of(self, category: int, half: int) -> Ids:
        """The tokens of a category's words in a half."""
        return np.asarray(self.tokens[(self.labels == category) & (self.halves == half)])


def concept_words(
    tokenizer: Any, lists: Mapping[str, Sequence[str]], vocab_size: int,
    generator: np.random.Generator,
) -> ConceptWords:  # fmt: skip
    """The words of the lists that are one token in the middle of a sentence, halved by chance.

    A word of several tokens is left out: its last token may be another word's too, which would
    answer to spelling. So are words of two categories, and categories with too few words left.
    """
    times = Counter(word for words in lists.values() for word in set(words))
    left: Counter[str] = Counter()
    kept: list[tuple[str, int, str]] = []
    for name, words in lists.items():
        for word in dict.fromkeys(words):
            token = _one_token(tokenizer, word)
            if times[word] > 1:
                left["words that stand in two categories"] += 1
            elif token is None or token >= vocab_size:
                left["words that are not one token"] += 1
            else:
                kept.append((word, token, name))
    sizes = Counter(name for _, _, name in kept)
    names = tuple(name for name in lists if sizes[name] >= FEWEST_WORDS)
    few = f"words of categories with fewer than {FEWEST_WORDS} words left"
    left[few] = sum(count for name, count in sizes.items() if name not in names)
    chosen = [entry for entry in kept if entry[2] in names]
    labels = np.array([names.index(name) for *_, name in chosen], dtype=np.int64)
    halves = np.zeros(len(chosen), dtype=np.int64)
    for category in range(len(names)):
        members = generator.permutation(np.flatnonzero(labels == category))
        halves[members[: len(members) // 2]] = 1
    return ConceptWords(
        tuple(word for word, *_ in chosen),
        np.array([token for _, token, _ in chosen], dtype=np.int64),
        labels, halves, names, sum(len(set(words)) for words in lists.values()),
        {reason: count for reason, count in left.items() if count},
    )  # fmt: skip


def _one_token(tokenizer: Any, word: str) -> int | None:
    """The token that stands for a word after a space, if one does."""
    ids = tokenizer.encode(_FRAME + word)
    covers = ids and tokenizer.token_bytes(ids[-1]).strip() == word.encode("utf-8")
    return int(ids[-1]) if covers else None


def share_of_category(tokens: Ids, words: ConceptWords) -> NDArray[np.float64]:
    """Which share of each unit's tokens are words of each category: (M, k) -> (M, C)."""
    of = [np.isin(tokens, words.tokens[words.labels == c]) for c in range(len(words.categories))]
    return np.stack([found.mean(1) for found in of], axis=1)


@dataclass(frozen=True, slots=True)
class Contexts:
    """Beginnings of sentences that a word may follow: ids with start_ids, and their documents."""

    ids: tuple[Ids, ...]
    documents: Ids

    def part(self, first: int, last: int) -> Contexts:
        """The contexts first..last - 1."""
        return Contexts(self.ids[first:last], self.documents[first:last])


def contexts_from(
    tokenizer: Any, windows: Windows, count: int, room: int, generator: np.random.Generator
) -> Contexts:
    """`count` contexts, one a window before any window gives a second, in an order by chance.

    Each ends where the text goes on with a new word, at a random such place, and has at most
    LONGEST_CONTEXT tokens and `room` with start_ids.
    """
    start = np.array(windows.start_ids, dtype=np.int64)
    longest = max(1, min(LONGEST_CONTEXT, room - len(start)))
    order = np.concatenate([generator.permutation(len(windows.ids)) for _ in range(count)])
    ids, documents = [], []
    for row in order[:count]:
        window = windows.ids[row]
        first = min(SHORTEST_CONTEXT, len(window) - 1)
        ends = [end for end in range(first, len(window)) if _begins_word(tokenizer, window[end])]
        end = int(generator.choice(ends)) if ends else len(window) - 1
        ids.append(np.concatenate((start, window[max(0, end - longest) : end])))
        documents.append(windows.documents[row])
    return Contexts(tuple(ids), np.array(documents, dtype=np.int64))


def _begins_word(tokenizer: Any, token: np.int64) -> bool:
    text = bytes(tokenizer.token_bytes(int(token)))
    return text[:1] == b" " and text[1:2].isalpha()


def continued(model: Transformer, context: Ids, rows: int) -> Cache:
    """The cache of a context, in `rows` rows, with room for one token more."""
    cache = Cache(model.config, 1, len(context) + 1)
    model.hidden(torch.from_numpy(context)[None], cache=cache)
    cache.select(torch.zeros(rows, dtype=torch.long))
    return cache


@torch.no_grad()
def at_words(
    model: Transformer, contexts: Contexts, tokens: Ids, names: Sequence[str]
) -> dict[str, Tensor]:
    """Named activations at each word, a mean over the contexts: name -> (W, ...) float32.

    The context before the word is run once for all words.
    """
    sums: dict[str, Tensor] = {}
    for context in contexts.ids:
        made: dict[str, list[Tensor]] = {name: [] for name in names}
        for first in range(0, len(tokens), _ROWS):
            part = torch.from_numpy(tokens[first : first + _ROWS])[:, None]
            cache = continued(model, context, len(part))
            with trace(model, names) as seen:
                model.hidden(part, cache=cache)
            for name in names:
                made[name].append(seen[name].reshape(len(part), -1))
        for name in names:
            value = torch.cat(made[name]).float()
            sums[name] = sums[name] + value if name in sums else value
    return {name: value / len(contexts.ids) for name, value in sums.items()}
