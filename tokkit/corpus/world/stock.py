"""The word stock: corpora/world.toml as records, each category in its order of frequency."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from tokkit.corpus.world.dice import Dice, zipf_shares
from tokkit.corpus.world.grammar import Verb, verb, with_article, with_s

# A subset of each category is never named by it ("a cat is an animal"): known by company alone.
TAXONOMIC_SHARE = 0.5
_STREAM = 1
_ADJECTIVES = ("colour", "feeling")
_ORDERED = ("number", "day")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the world with its forms and what is true of it.

    text        as it stands in a sentence, in the singular
    plural      None for what is not counted, as milk
    a, some     "a cat", "cats"; "some milk", "milk"; of an adjective, what it makes of a noun's
                article: "an old"
    was         "was" or "were", to go with `some`
    rank        place in its category by frequency, from 1
    share       chance to be the word of its category where nothing else decides (they sum to 1)
    size        1 to 5; None where it has none
    traits      the other columns of the stock: eats, homes, colours, ...
    taxonomic   whether a training sentence may say what category it is of
    """

    text: str
    category: str
    plural: str | None = None
    rank: int = 1
    share: float = 1.0
    size: int | None = None
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taxonomic: bool = False
    a: str = ""
    some: str = ""
    was: str = "was"

    @property
    def s(self) -> str:
        """The singular."""
        return self.text

    @property
    def p(self) -> str:
        """The plural, or the word itself where it has none."""
        return self.plural or self.text


@cache
def package_data(name: str) -> dict[str, Any]:
    """A TOML file of corpora/ as it stands in the package."""
    text = resources.files("tokkit").joinpath("corpora", name).read_text("utf-8")
    return tomllib.loads(text)


def stock_words(seed: int) -> dict[str, tuple[Word, ...]]:
    """The words of each category of the stock, most frequent first in an order from the seed.

    Numbers and days keep their own order.
    """
    dice = Dice(seed, _STREAM)
    stock = package_data("world.toml")["stock"]
    return {name: _category(name, stock[name], dice) for name in stock}


def verbs(bases: list[str]) -> dict[str, Verb]:
    """The forms of each verb, irregular pasts from the stock."""
    irregular = package_data("world.toml")["verbs"]
    return {base: verb(base, irregular.get(base)) for base in bases}


def all_words(categories: Mapping[str, tuple[Word, ...]]) -> dict[str, Word]:
    """Every word of the stock by its text; the first category that has it wins."""
    found: dict[str, Word] = {}
    for words in categories.values():
        for word in words:
            found.setdefault(word.text, word)
    return found


def _category(name: str, stock: Mapping[str, str], dice: Dice) -> tuple[Word, ...]:
    columns = stock["columns"].split()
    rows = [line.split() for line in stock["rows"].strip().splitlines()]
    if name not in _ORDERED:
        rows = dice.shuffled(rows)
    taxonomic = dice.sample(range(len(rows)), round(TAXONOMIC_SHARE * len(rows)))
    shares = zipf_shares(len(rows))
    return tuple(
        _word(name, dict(zip(columns, row, strict=True)), place, shares[place], place in taxonomic)
        for place, row in enumerate(rows)
    )


def _word(category: str, row: dict[str, str], place: int, share: float, taxonomic: bool) -> Word:
    text = row.pop("word")
    named = row.pop("plural", "none")
    plural = None if named == "none" else with_s(text) if named == "-" else named
    size = row.pop("size", "-")
    return Word(
        text,
        category,
        plural,
        rank=place + 1,
        share=share,
        size=None if size == "-" else int(size),
        traits={key: tuple(value.split(",")) for key, value in row.items() if value != "-"},
        taxonomic=taxonomic,
        a=with_article(text) if plural or category in _ADJECTIVES else f"some {text}",
        some=plural or text,
        was="were" if plural else "was",
    )
