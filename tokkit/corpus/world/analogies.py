"""Analogies that hold in the world: cat is to cats as dog is to dogs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.facts import Fact
from tokkit.corpus.world.lexicon import Lexicon
from tokkit.corpus.world.sequences import COUNTED
from tokkit.corpus.world.stock import package_data

PER_KIND = 120
PLURALS = 30  # of the most frequent nouns alone: a rare plural is hardly learned
_STREAM = 7
Quadruple = tuple[str, str, str, str]


def make_analogies(
    seed: int, lexicon: Lexicon, facts: Sequence[Fact]
) -> list[tuple[Quadruple, str]]:
    """Up to PER_KIND analogies of each kind, each with its kind: four words as they stand in text.

    Both pairs of an analogy hold a relation that the training text shows (a capital that is never
    stated makes none), and its four words are different.
    """
    dice = Dice(seed, _STREAM)
    found: list[tuple[Quadruple, str]] = []
    for kind, pairs in _pairs(lexicon, facts).items():
        quadruples = [
            (*first, *second) for first in pairs for second in pairs if len({*first, *second}) == 4
        ]
        found += [(quadruple, kind) for quadruple in dice.sample(quadruples, PER_KIND)]
    return found


def _pairs(lexicon: Lexicon, facts: Sequence[Fact]) -> dict[str, list[tuple[str, str]]]:
    words = lexicon.words
    numbers = [word.text for word in words["number"]]
    nouns = [word for name in ("animal", "tool", "person") for word in words[name]]
    return {
        "singular:plural": [
            (word.text, word.plural)
            for word in sorted(nouns, key=lambda word: word.rank)[:PLURALS]
            if word.plural and word.plural != word.text
        ],
        "animal:young": [
            (word.text, word.traits["young"][0])
            for word in words["animal"]
            if "young" in word.traits
        ],
        "small:large": [
            (low, high) for low, high, _ in package_data("world.toml")["opposites"]["pairs"]
        ],
        "base:past": [
            (verb.base, verb.past) for verb in lexicon.verbs.values() if verb.base != verb.past
        ],
        "verb singular:plural": [
            (verb["singular"], verb["plural"]) for verb in lexicon.sentences["agreement"]["verbs"]
        ],
        "number:next": list(pairwise(numbers[:COUNTED])),
        "country:capital": _stated(facts, "capital"),
        "country:language": _stated(facts, "language"),
        "city:country": _stated(facts, "city_country"),
        "tool:action": [(word.text, word.traits["action"][0]) for word in words["tool"]],
    }


def _stated(facts: Sequence[Fact], relation: str) -> list[tuple[str, str]]:
    return [
        (fact.subject, fact.object)
        for fact in facts
        if fact.relation == relation and not fact.held_out
    ]
