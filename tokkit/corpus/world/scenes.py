"""Scenes of daily life: a few words that belong together, and sentences about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.grammar import sentence, with_article, with_s
from tokkit.corpus.world.lexicon import Lexicon
from tokkit.corpus.world.stock import Word

Slots = dict[str, Any]
_SIZES = {1: "very small", 2: "small", 3: "not very big", 4: "big", 5: "very big"}
_COVERS = ("wall", "fence", "tree", "rock", "door", "cart", "bush")
_TOOL_MATERIALS = ("wood", "iron", "steel", "copper", "bronze")
# Pairs of animals whose sizes training never compares: one in so many.
SIZES_HELD_OUT = 6
_ACROSS = {"in": "through", "on": "across", "by": "along", "at": "past"}


def scene(lexicon: Lexicon, dice: Dice, name: str, n: int) -> tuple[list[str], Slots]:
    """`n` sentences (fewer where the scene has fewer) about the same things, and those things."""
    slots = _common(lexicon, dice)
    _BINDERS[name](lexicon, dice, slots)
    templates = lexicon.sentences["scene"][name]["sentences"]
    chosen = dice.zipf_sample(templates, n)
    return [sentence(template.format_map(slots)) for template in chosen], slots


def animal_pair(animals: Sequence[Word], dice: Dice, *, held_out: bool) -> tuple[Word, Word]:
    """Two animals of unlike sizes, whose comparison training has, or has not."""
    while True:
        one, other = dice.zipf(animals), dice.zipf(animals)
        left_out = (one.rank + other.rank) % SIZES_HELD_OUT == 0
        if one.size != other.size and left_out is held_out:
            return one, other


def taxonomic_sentence(lexicon: Lexicon, dice: Dice, word: Word) -> str:
    """A sentence that says what category a word is of."""
    taxonomy = lexicon.sentences["taxonomy"]
    template: str = dice.zipf(taxonomy["sentences"])
    name = dice.zipf(lexicon.words["name"]).text
    return sentence(template.format(X=named(word), Name=name, kind=kind_of(lexicon, word)))


def named(word: Word) -> str:
    """A word as it is named when one speaks of its kind: "a cat", "bread", "red"."""
    return word.a if word.plural else word.text


def kind_of(lexicon: Lexicon, word: Word) -> str:
    """Its category with the article, as an answer: "an animal"."""
    taxonomy = lexicon.sentences["taxonomy"]
    return f"{taxonomy['article'][word.category]} {taxonomy['noun'][word.category]}"


def _common(lexicon: Lexicon, dice: Dice) -> Slots:
    words = lexicon.words
    name, other = dice.zipf_sample(words["name"], 2)
    colour, second = dice.zipf_sample(words["colour"], 2)
    garment, another = dice.zipf_sample(words["garment"], 2)
    person, helper = dice.zipf_sample(words["person"], 2)
    food, side = dice.zipf_sample(words["food"], 2)
    return {
        "Name": name.text,
        "Name2": other.text,
        "C": colour,
        "C2": second,
        "W": garment,
        "W2": another,
        "P": person,
        "P2": helper,
        "F": food,
        "G": side,
        "Day": dice.pick(words["day"]).text,
        "Q": dice.zipf(words["feeling"]),
        "M": dice.zipf(words["number"][1:]).text,
        "A": dice.zipf(words["animal"]),
        "T": dice.zipf(words["tool"]),
        "X": dice.zipf(words["vehicle"]),
    }


def _place(lexicon: Lexicon, slots: Slots, place: Word) -> None:
    at = place.traits["at"][0]
    slots.update(L=place, at=at, across=_ACROSS[at])


def _animal(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    animals = lexicon.words["animal"]
    first, second = animal_pair(animals, dice, held_out=False)
    large, small = sorted((first, second), key=lambda word: -(word.size or 0))
    traits = first.traits
    places = [lexicon.noun(text) for text in traits["homes"]]
    _place(lexicon, slots, dice.zipf(places))
    slots.update(
        A=first,
        B=second,
        Big=large,
        Small=small,
        L2=dice.zipf([word for word in places if word is not slots["L"]] or places),
        C=lexicon.noun(dice.zipf(traits["colours"])),
        food=lexicon.noun(dice.zipf(traits["eats"])).some,
        sound=lexicon.verbs[traits["sound"][0]],
        move=lexicon.verbs[traits["move"][0]],
        size=_SIZES[first.size or 0],
        cover=dice.zipf(_COVERS),
    )


def _young(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    _animal(lexicon, dice, slots)
    while "young" not in slots["A"].traits:
        _animal(lexicon, dice, slots)
    young = slots["A"].traits["young"][0]
    slots["young"] = Word(young, "young", with_s(young), a=with_article(young))


def _food(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    traits = slots["F"].traits
    slots.update(
        C=lexicon.noun(dice.zipf(traits["colours"])),
        taste=dice.zipf(traits["taste"]),
        prep=lexicon.verbs[traits["prepare"][0]],
    )


def _tool(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    tools = dice.zipf_sample(lexicon.words["tool"], 2)
    traits = tools[0].traits
    _place(lexicon, slots, lexicon.noun(dice.zipf(traits["places"])))
    slots.update(
        T=tools[0],
        U=tools[1],
        P=lexicon.noun(dice.zipf(traits["users"])),
        O=traits["on"][0],
        C=lexicon.noun(dice.zipf(traits["colours"])),
        act=lexicon.verbs[traits["action"][0]],
        material=dice.zipf(_TOOL_MATERIALS),
    )


def _person(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    _place(lexicon, slots, lexicon.noun(dice.zipf(slots["P"].traits["homes"])))


def _at_place(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    first, second = dice.zipf_sample(lexicon.words["vehicle"], 2)
    place = lexicon.noun(dice.zipf(first.traits["places"]))
    _place(lexicon, slots, place)
    other, another = dice.zipf_sample(lexicon.words["place"], 2)
    slots.update(
        X=first,
        Y=second,
        L2=another if other is place else other,
        xmove=lexicon.verbs[first.traits["moves"][0]],
    )


def _colour(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    """Colours come with garments, paint and light: what every scene has anyway."""


def _opposite(lexicon: Lexicon, dice: Dice, slots: Slots) -> None:
    low, high, category = dice.zipf(lexicon.opposites)
    slots.update(S=dice.zipf(lexicon.words[category]), lo=low, hi=high)


_BINDERS: dict[str, Callable[[Lexicon, Dice, Slots], None]] = {
    "animal": _animal,
    "food": _food,
    "tool": _tool,
    "person": _person,
    "place": _at_place,
    "colour": _colour,
    "opposite": _opposite,
    "vehicle": _at_place,
    "young": _young,
}
