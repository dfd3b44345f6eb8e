"""Everything that sentences are written from: words by category, names, verbs, templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokkit.corpus.world.grammar import Verb
from tokkit.corpus.world.names import proper_names
from tokkit.corpus.world.stock import Word, all_words, package_data, stock_words, verbs


@dataclass(frozen=True, slots=True)
class Lexicon:
    """words: category to its words, most frequent first; by_text: the stock by its text.

    opposites: (low, high, category of what is one or the other), most frequent first.
    """

    words: Mapping[str, tuple[Word, ...]]
    by_text: Mapping[str, Word]
    verbs: Mapping[str, Verb]
    sentences: Mapping[str, Any]
    opposites: tuple[tuple[str, str, str], ...]

    def noun(self, text: str) -> Word:
        """The word that a trait names."""
        return self.by_text[text]


def make_lexicon(seed: int) -> Lexicon:
    """The words, names and verbs of the world of this seed."""
    stock = stock_words(seed)
    bases = {
        base
        for words in stock.values()
        for word in words
        for trait in ("sound", "move", "moves", "action", "prepare")
        for base in word.traits.get(trait, ())
    }
    return Lexicon(
        {**stock, **proper_names(seed, stock["name"])},
        all_words(stock),
        verbs(sorted(bases)),
        package_data("world_sentences.toml"),
        tuple(
            (low, high, of) for low, high, of in package_data("world.toml")["opposites"]["pairs"]
        ),
    )
