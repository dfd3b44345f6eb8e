"""Invented proper names: cities, countries, languages, landmarks, people."""

from __future__ import annotations

from tokkit.corpus.world.dice import Dice, zipf_shares
from tokkit.corpus.world.stock import Word, package_data

COUNTS = {"city": 48, "country": 12, "landmark": 60, "individual": 60}
_STREAM = 2


def proper_names(seed: int, first_names: tuple[Word, ...]) -> dict[str, tuple[Word, ...]]:
    """Names of each kind, most frequent first; a language belongs to the country of its rank.

    No two names are alike, and no two of a kind have both parts in common.
    """
    dice = Dice(seed, _STREAM)
    parts = package_data("world.toml")["syllables"]
    cities = _joined(dice, parts["city_start"], parts["city_end"], COUNTS["city"])
    countries = _joined(dice, parts["country_start"], parts["country_end"], COUNTS["country"])
    languages = [_language(name, dice.pick(parts["language_end"])) for name in countries]
    stems = _joined(dice, parts["landmark_start"], parts["landmark_end"], COUNTS["landmark"])
    landmarks = [f"{stem} {dice.pick(parts['landmark_kind'])}" for stem in stems]
    surnames = _joined(dice, parts["surname_start"], parts["surname_end"], COUNTS["individual"])
    people = [f"{dice.pick(first_names).text} {surname}" for surname in surnames]
    return {
        "city": _words("city", cities),
        "country": _words("country", countries),
        "language": _words("language", languages),
        "landmark": _words("landmark", landmarks),
        "individual": _words("individual", people),
    }


def _joined(dice: Dice, starts: list[str], ends: list[str], n: int) -> list[str]:
    """`n` different names; each beginning is used as often as any other, give or take one."""
    pairs = {start: dice.shuffled(ends) for start in starts}
    order = dice.shuffled(starts)
    return [
        order[place % len(order)] + pairs[order[place % len(order)]][place // len(order)]
        for place in range(n)
    ]


def _language(country: str, ending: str) -> str:
    stem = country
    for tail in ("vania", "onia", "eria", "land", "istan", "ora"):
        stem = stem.removesuffix(tail)
    return stem + ("n" if stem[-1] in "aeiou" else "") + ending


def _words(category: str, names: list[str]) -> tuple[Word, ...]:
    shares = zipf_shares(len(names))
    return tuple(
        Word(name, category, rank=place + 1, share=shares[place], some=name, a=name)
        for place, name in enumerate(names)
    )
