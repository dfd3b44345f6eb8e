"""Sentences before an agreeing verb, each beside the one whose subject has the other number.

Of a model of the generated world the sentences are the world's own; other models get sentences of
common English words. The two of a pair are as many tokens long and differ in the subject alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokkit.corpus.world import World

SUBJECT, ATTRACTORS, ADVERB = "subject", "attractors", "adverb"
MOST_ATTRACTORS = 3
NEAREST = ("none", "same number", "other number")
"""Whether the attractor next to the verb has the subject's number."""

# Of English, for models that did not learn the world: singular and plural.
NOUNS = (
    ("cat", "cats"), ("dog", "dogs"), ("boy", "boys"), ("girl", "girls"), ("teacher", "teachers"),
    ("farmer", "farmers"), ("doctor", "doctors"), ("king", "kings"), ("horse", "horses"),
    ("bird", "birds"), ("child", "children"), ("man", "men"), ("woman", "women"),
    ("artist", "artists"), ("student", "students"), ("driver", "drivers"), ("nurse", "nurses"),
    ("lawyer", "lawyers"), ("singer", "singers"), ("writer", "writers"), ("guard", "guards"),
    ("pilot", "pilots"), ("tiger", "tigers"), ("soldier", "soldiers"), ("actor", "actors"),
)  # fmt: skip
PAST_VERBS = ("helped", "saw", "followed", "liked", "called", "chased")
PLACES = ("near", "behind", "beside")
ARRIVALS = ("arrived", "left", "fell", "came", "slept")
ADVERBS = ("yesterday", "last night", "this morning", "last week", "on Monday", "today")
VERBS = (("was", "were"), ("is", "are"), ("has", "have"))


@dataclass(frozen=True, slots=True)
class Sentence:
    """A prefix in words: what it is made of, and how it goes on.

    `subjects` are the subject as it stands and in the other number; `verbs` the right verb and
    the wrong one; `adverb` is "" where there is none; `nearest` is NEAREST's word for the
    number of the last attractor.
    """

    prefix: str
    subjects: tuple[str, str]
    verbs: tuple[str, str]
    attractors: tuple[str, ...]
    adverb: str
    nearest: str
    split: str


@dataclass(frozen=True, slots=True)
class Item:
    """A sentence in tokens, and its twin with the other number.

    ids, swapped   (T,) of the prefix, and with the subject's number swapped
    right, wrong   ids of the verb that agrees in the prefix, and of the one that agrees in its twin
    places         of SUBJECT, ATTRACTORS and ADVERB: the columns of their tokens
    """

    text: str
    ids: tuple[int, ...]
    swapped: tuple[int, ...]
    right: int
    wrong: int
    places: Mapping[str, tuple[int, ...]]
    attractors: int
    nearest: str
    split: str

    @property
    def verbs(self) -> tuple[int, int]:
        """The right verb and the wrong one."""
        return self.right, self.wrong

    @property
    def last(self) -> int:
        """The column that predicts the verb."""
        return len(self.ids) - 1


def world_sentences(world: World) -> Iterator[Sentence]:
    """All agreement items of the world, of every split."""
    forms: dict[str, str] = {}
    for noun in (*world.agreement.subjects, *world.agreement.new_subjects):
        forms |= {noun.s: noun.p, noun.p: noun.s}
    for item in world.all_agreement_items:
        yield Sentence(
            item.prefix, (item.subject, forms[item.subject]), (item.right, item.wrong),
            item.attractors, item.adverb,
            _nearest(item.number, item.attractor_numbers[-1:]), item.split,
        )  # fmt: skip


def _nearest(number: object, attractor: Sequence[object]) -> str:
    return NEAREST[0] if not attractor else NEAREST[1 + (attractor[0] != number)]


def english_sentences(seed: int, count: int = 1000) -> Iterator[Sentence]:
    """Sentences of common words: every number of attractors and every mix of numbers alike.

    Three in four end in an adverb, and their verb is "was" or "were"; without one it may also be
    "is" or "has".
    """
    generator = np.random.default_rng([seed, 11])
    for number in range(count):
        n = number % (MOST_ATTRACTORS + 1)
        nouns = generator.choice(len(NOUNS), n + 1, replace=False)
        plurals = generator.integers(0, 2, n + 1)
        words = [NOUNS[noun][plural] for noun, plural in zip(nouns, plurals, strict=True)]
        adverb = str(generator.choice(ADVERBS)) if number // (MOST_ATTRACTORS + 1) % 4 else ""
        relative = bool(adverb) or generator.random() < 0.5
        text = f"The {words[0]}"
        if relative:
            did = (
                f"{generator.choice(PAST_VERBS)} the {words[1]}"
                if n
                else generator.choice(ARRIVALS)
            )
            text += f" that {did}"
        for place, word in enumerate(words[1:]):
            if place or not relative:
                text += f" {generator.choice(PLACES)} the {word}"
        verb = VERBS[0] if adverb else VERBS[int(generator.integers(len(VERBS)))]
        plural = int(plurals[0])
        yield Sentence(
            f"{text} {adverb}".rstrip(), (words[0], NOUNS[nouns[0]][1 - plural]),
            (verb[plural], verb[1 - plural]), tuple(words[1:]), adverb,
            _nearest(plural, plurals[1:].tolist()[-1:]), "english",
        )  # fmt: skip


def encode_items(
    tokenizer: Any, sentences: Iterable[Sentence], *, start_ids: Sequence[int], context: int
) -> tuple[list[Item], dict[str, int]]:
    """The sentences in tokens, and of those that cannot be used how many and why."""
    items, left_out = [], Counter[str]()
    for sentence in sentences:
        found = _encode(tokenizer, sentence, tuple(start_ids), context)
        if isinstance(found, Item):
            items.append(found)
        else:
            left_out[found] += 1
    return items, dict(left_out)


def _encode(tokenizer: Any, sentence: Sentence, start: tuple[int, ...], context: int) -> Item | str:
    subject, other = sentence.subjects
    ids = (*start, *tokenizer.encode(sentence.prefix))
    swapped = (*start, *tokenizer.encode(_swapped(sentence.prefix, subject, other)))
    verbs = [tokenizer.encode(f" {verb}") for verb in sentence.verbs]
    if len(ids) >= context:
        return "sentences longer than the context"
    if len(ids) != len(swapped):
        return "subjects whose numbers differ in tokens"
    if any(len(verb) != 1 for verb in verbs) or verbs[0] == verbs[1]:
        return "verbs of more than one token"
    places: dict[str, tuple[int, ...]] = {SUBJECT: (), ATTRACTORS: (), ADVERB: ()}
    at = 0
    for role, words in (
        (SUBJECT, [subject]), (ATTRACTORS, sentence.attractors), (ADVERB, [sentence.adverb]),
    ):  # fmt: skip
        for word in filter(None, words):
            found = re.compile(rf" {re.escape(word)}(?= |$)").search(sentence.prefix, at)
            if found is None:
                return "words that are no whole tokens"
            begin, at = found.span()
            columns = _columns(tokenizer, sentence.prefix, begin, at)
            if columns is None:
                return "words that are no whole tokens"
            places[role] += tuple(len(start) + column for column in columns)
    apart = {place for place, (a, b) in enumerate(zip(ids, swapped, strict=True)) if a != b}
    if not apart <= set(places[SUBJECT]):
        return "twins that differ beside the subject"
    return Item(
        sentence.prefix, ids, swapped, verbs[0][0], verbs[1][0], places, len(sentence.attractors),
        sentence.nearest, sentence.split,
    )  # fmt: skip


def _swapped(prefix: str, subject: str, other: str) -> str:
    begin = prefix.index(f" {subject}") + 1
    return prefix[:begin] + other + prefix[begin + len(subject) :]


def _columns(tokenizer: Any, text: str, begin: int, end: int) -> range | None:
    """The tokens of text[begin:end], a space first; None where tokens cross its ends."""
    whole = list(tokenizer.encode(text))
    before, through = (list(tokenizer.encode(text[:at])) for at in (begin, end))
    if whole[: len(before)] != before or whole[: len(through)] != through:
        return None
    return range(len(before), len(through))


def pick_items(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """At most `count` items with an adverb, numbers of attractors and splits as even as can be.

    Their order is random, so that every second one is half of them without a pattern.
    """
    generator = np.random.default_rng([seed, 12])
    groups: dict[tuple[int, str], list[Item]] = {}
    for place in generator.permutation(len(items)):
        item = items[place]
        if item.places[ADVERB]:
            groups.setdefault((item.attractors, item.split), []).append(item)
    found: list[Item] = []
    while len(found) < count and any(groups.values()):
        for _, group in sorted(groups.items()):
            if group and len(found) < count:
                found.append(group.pop())
    # Dealt anew, so that every second one is as good a sample as the others.
    return [found[place] for place in generator.permutation(len(found))]
