"""Regular English forms by rule: plurals, articles, verbs; exceptions come from the word stock."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIBILANT = ("s", "x", "z", "ch", "sh")
_VOWELS = "aeiou"


@dataclass(frozen=True, slots=True)
class Verb:
    """The forms of a verb: chase, chases, chased, chasing."""

    base: str
    s: str
    past: str
    ing: str


def verb(base: str, past: str | None = None) -> Verb:
    """The forms of `base` by rule, with an irregular `past` where given."""
    return Verb(base, with_s(base), past or _past(base), _ing(base))


def with_s(word: str) -> str:
    """The regular plural of a noun, which is also the third person of a verb.

    >>> [with_s(word) for word in ("cat", "fox", "cherry", "boy", "potato")]
    ['cats', 'foxes', 'cherries', 'boys', 'potatoes']
    """
    if word.endswith(_SIBILANT) or re.search("[^aeiou]o$", word):
        return word + "es"
    return word[:-1] + "ies" if _ends_in_consonant_y(word) else word + "s"


def with_article(word: str) -> str:
    """The word with "a" or "an", by its first letter."""
    return f"{'an' if word[0].lower() in _VOWELS else 'a'} {word}"


def sentence(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def listed(parts: list[str]) -> str:
    """Parts as a list in a sentence: "a hat, a pen and an egg"."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if _ends_in_consonant_y(base):
        return base[:-1] + "ied"
    return _doubled(base) + "ed"


def _ing(base: str) -> str:
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e"):
        return base[:-1] + "ing"
    return _doubled(base) + "ing"


def _doubled(base: str) -> str:
    """`base`, its last consonant doubled in a word like "chop": one vowel, then one consonant."""
    return base + base[-1] if re.fullmatch("[^aeiou]*[aeiou][^aeiouwxy]", base) else base


def _ends_in_consonant_y(word: str) -> bool:
    return word.endswith("y") and word[-2:-1] not in _VOWELS
