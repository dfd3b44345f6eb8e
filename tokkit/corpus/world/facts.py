"""Facts about invented places and people, and which wordings of each a training text may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.lexicon import Lexicon
from tokkit.corpus.world.stock import Word, package_data

# Shares of the facts of a relation that are stated never, in one wording, in half of the wordings;
# the rest are stated in all.
NEVER_SHARE, ONE_SHARE, SOME_SHARE = 0.08, 0.12, 0.30
ASKED_SHARE = 0.6
_STREAM = 3


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: `relation` holds between `subject` and `object`, both as they stand in text.

    wordings_trained   numbers of the wordings that training sentences use
    wordings_held_out  the others of the relation: never in the training text with this subject
    held_out           never stated in the training text at all
    asked              whether training asks for it in the first wording of its question
    """

    subject: str
    relation: str
    object: str
    wordings_trained: tuple[int, ...]
    wordings_held_out: tuple[int, ...]
    held_out: bool
    asked: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """What may be said of a kind of subject: wordings end in "{object}.", questions do not have it.

    Training asks the first question only.
    """

    name: str
    subject: str
    object: str
    wordings: tuple[str, ...]
    questions: tuple[str, ...]


def relations() -> dict[str, Relation]:
    """The relations of corpora/world_facts.toml by name."""
    found = package_data("world_facts.toml")["relation"]
    return {
        name: Relation(
            name,
            entry["subject"],
            entry["object"],
            tuple(entry["wordings"]),
            tuple(entry["questions"]),
        )
        for name, entry in found.items()
    }


def make_facts(seed: int, lexicon: Lexicon, known: Mapping[str, Relation]) -> tuple[Fact, ...]:
    """The facts of the world of this seed, relation by relation, subjects by frequency."""
    dice = Dice(seed, _STREAM)
    capitals = _countries_of_cities(dice, lexicon)
    found: list[Fact] = []
    for relation in known.values():
        subjects = lexicon.words[relation.subject]
        if relation.name == "capital":
            objects = [capitals[subject.text][0] for subject in subjects]
        elif relation.name == "city_country":
            home = {city: country for country, cities in capitals.items() for city in cities}
            objects = [home[subject.text] for subject in subjects]
        elif relation.name == "language":
            objects = [word.text for word in lexicon.words["language"]]
        else:
            objects = _dealt(dice, _objects(lexicon, relation), len(subjects))
        found += _with_splits(dice, relation, subjects, objects)
    return tuple(found)


def _countries_of_cities(dice: Dice, lexicon: Lexicon) -> dict[str, list[str]]:
    """The cities of each country, capital first."""
    cities = [word.text for word in dice.shuffled(lexicon.words["city"])]
    countries = [word.text for word in lexicon.words["country"]]
    return {country: cities[place :: len(countries)] for place, country in enumerate(countries)}


def _objects(lexicon: Lexicon, relation: Relation) -> list[str]:
    words = lexicon.words[relation.object]
    if relation.object == "food":
        return [word.some for word in words]
    return [word.text for word in words if relation.object != "person" or "job" in word.traits]


def _dealt(dice: Dice, objects: list[str], n: int) -> list[str]:
    """`n` of the objects in random order, each as often as any other, give or take one."""
    rounds = [dice.shuffled(objects) for _ in range(-(-n // len(objects)))]
    return [entry for shuffled in rounds for entry in shuffled][:n]


def _with_splits(
    dice: Dice, relation: Relation, subjects: tuple[Word, ...], objects: list[str]
) -> list[Fact]:
    n, all_wordings = len(subjects), tuple(range(len(relation.wordings)))
    never, one = round(NEVER_SHARE * n), round(ONE_SHARE * n)
    limits = (never, never + one, never + one + round(SOME_SHARE * n))
    dealt = dice.shuffled(range(n))
    facts = []
    for place, subject in enumerate(subjects):
        turn = dealt[place]
        shuffled = dice.shuffled(all_wordings)
        count = next(
            (
                kept
                for limit, kept in zip(limits, (0, 1, len(shuffled) // 2), strict=True)
                if turn < limit
            ),
            len(shuffled),
        )
        trained = tuple(sorted(shuffled[:count]))
        asked = bool(trained) and dice.chance(ASKED_SHARE)
        held_out = tuple(sorted(shuffled[count:]))
        facts.append(
            Fact(subject.text, relation.name, objects[place], trained, held_out, not trained, asked)
        )
    return facts
