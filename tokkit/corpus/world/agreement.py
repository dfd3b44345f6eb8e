"""Sentences whose verb agrees with a subject some nouns away, and minimal pairs to test it.

The design: the number of each noun is a fair coin of its own, so the nearest noun says nothing of
the verb on average; every determiner is "the" and every verb between is in the past, so that
nothing but the subject shows the number; test items hold each cell (number of attractors, number of
the subject, number of the nearest attractor) equally often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.grammar import sentence
from tokkit.corpus.world.lexicon import Lexicon
from tokkit.corpus.world.stock import Word

AGREEMENT_SPLITS = ("train", "new_pairs", "new_subjects", "longer")
# Numbers of attractors of each split: training text has 0 to 2.
ATTRACTORS = {"train": (0, 1, 2), "new_pairs": (1, 2), "new_subjects": (1, 2), "longer": (3,)}
TRAINING_ATTRACTORS = (0, 0, 0, 1, 1, 1, 1, 2, 2, 2)
ITEMS_PER_CELL = 40
NEW_SUBJECTS = 8
PAIRS_HELD_OUT = 5
_STREAM = 4
_ITEMS_STREAM = 5
_ADVERB_CHANCE = 0.5
_PLACE_CHANCE = 0.3
_MAX_TRIES = 10_000


@dataclass(frozen=True, slots=True)
class AgreementItem:
    """A minimal pair: `prefix` goes on with `right` (a space between), never with `wrong`.

    subject, attractors   as they stand in the prefix; attractors from left to right
    attractor_numbers     "singular" or "plural" of each attractor
    adverb                what stands between the last noun and the verb, "" where nothing does
    number                of the subject, and so of the right verb
    after                 how the sentence ends
    """

    prefix: str
    right: str
    wrong: str
    subject: str
    attractors: tuple[str, ...]
    attractor_numbers: tuple[str, ...]
    adverb: str
    n_attractors: int
    number: str
    after: str
    split: str


@dataclass(frozen=True, slots=True)
class _Cast:
    """The nouns that a sentence may have: animals and people, and places."""

    nouns: Sequence[Word]
    places: Sequence[Word]


@dataclass(frozen=True, slots=True)
class AgreementGrammar:
    """Nouns and templates of agreement, with what is held out of training.

    A (subject, first attractor) pair is held out where 7 times the place of the one and 11 times
    that of the other add up to a multiple of PAIRS_HELD_OUT.
    """

    subjects: tuple[Word, ...]
    new_subjects: tuple[Word, ...]
    places: tuple[Word, ...]
    trained: frozenset[str]
    index: Mapping[str, int]
    parts: Mapping[str, Any]

    @property
    def everyone(self) -> _Cast:
        """All nouns that training has as subjects, and all places."""
        return _Cast(self.subjects, self.places)

    def is_held_out(self, subject: Word, attractor: Word) -> bool:
        """Whether training never has this attractor as the first after this subject."""
        total = 7 * self.index[subject.text] + 11 * self.index[attractor.text]
        return total % PAIRS_HELD_OUT == 0


def agreement_grammar(seed: int, lexicon: Lexicon) -> AgreementGrammar:
    """What agreement sentences of this world are made of; new subjects are never very frequent."""
    dice = Dice(seed, _STREAM)
    parts = lexicon.sentences["agreement"]
    nouns = [
        word
        for category in parts["subjects"]
        for word in lexicon.words[category]
        if word.plural not in (None, word.text)
    ]
    nouns.sort(key=lambda word: (word.rank, word.category))
    new = set(dice.sample(range(len(nouns) // 4, len(nouns)), NEW_SUBJECTS))
    places = lexicon.words["place"]
    trained = tuple(word for place, word in enumerate(nouns) if place not in new)
    return AgreementGrammar(
        trained,
        tuple(word for place, word in enumerate(nouns) if place in new),
        places,
        frozenset(word.text for word in trained),
        {word.text: place for place, word in enumerate([*nouns, *places])},
        parts,
    )


def agreement_sentences(grammar: AgreementGrammar, dice: Dice, n: int) -> list[str]:
    """`n` training sentences about the same few nouns: no new subject, no held-out pair."""
    cast = _Cast(dice.zipf_sample(grammar.subjects, 5), dice.zipf_sample(grammar.places, 2))
    return [_text(training_item(grammar, dice, dice.zipf(cast.nouns), cast)) for _ in range(n)]


def agreement_sentence(grammar: AgreementGrammar, dice: Dice, subject: Word) -> str | None:
    """A training sentence about this subject; None where it is no subject of training."""
    if subject.text not in grammar.trained:
        return None
    return _text(training_item(grammar, dice, subject, grammar.everyone))


def training_item(
    grammar: AgreementGrammar, dice: Dice, subject: Word, cast: _Cast
) -> AgreementItem:
    """An item as training has them: at most two attractors, fewer where the cast has no more."""
    n = dice.pick(TRAINING_ATTRACTORS)
    return _draw(grammar, dice, "train", subject, [dice.chance(0.5) for _ in range(n + 1)], cast)


def _text(item: AgreementItem) -> str:
    return f"{item.prefix} {item.right} {item.after}."


def agreement_items(seed: int, grammar: AgreementGrammar) -> tuple[AgreementItem, ...]:
    """ITEMS_PER_CELL items of every cell of every split, no prefix twice in a split."""
    dice = Dice(seed, _ITEMS_STREAM)
    found: list[AgreementItem] = []
    for split in AGREEMENT_SPLITS:
        taken: set[str] = set()
        for n in ATTRACTORS[split]:
            for plural in (False, True):
                for nearest in (False, True) if n else (False,):
                    found += _cell(grammar, dice, split, (n, plural, nearest), taken)
    return tuple(found)


def _cell(
    grammar: AgreementGrammar,
    dice: Dice,
    split: str,
    cell: tuple[int, bool, bool],
    taken: set[str],
) -> list[AgreementItem]:
    n, plural, nearest = cell
    pool = grammar.new_subjects if split == "new_subjects" else grammar.subjects
    items: list[AgreementItem] = []
    for _ in range(_MAX_TRIES):
        if len(items) == ITEMS_PER_CELL:
            break
        between = [dice.chance(0.5) for _ in range(n - 1)]
        numbers = [plural, *between, *([nearest] if n else [])]
        item = _draw(grammar, dice, split, dice.zipf(pool), numbers, grammar.everyone)
        key = item.prefix if n else f"{item.prefix} {item.right} {item.after}"
        if key not in taken:
            taken.add(key)
            items.append(item)
    return items


def _draw(
    grammar: AgreementGrammar,
    dice: Dice,
    split: str,
    subject: Word,
    plurals: list[bool],
    cast: _Cast,
) -> AgreementItem:
    """An item with this subject; `plurals` says of it and of each attractor if it is plural."""
    parts = grammar.parts
    relative = len(plurals) > 1 and dice.chance(0.5)
    links, attractors = _attractors(
        grammar, dice, split, subject, len(plurals) - 1, cast, relative=relative
    )
    forms = [_form(noun, plural) for noun, plural in zip(attractors, plurals[1:], strict=False)]
    numbers = [_number(plural) for plural in plurals[: 1 + len(forms)]]
    verb = dice.zipf(parts["verbs"])
    adverb = _adverb(dice, parts, verb, relative=relative and bool(links))
    text = [f"the {_form(subject, plurals[0])}"]
    text += [f"{link} the {form}" for link, form in zip(links, forms, strict=True)]
    right, wrong = numbers[0], _number(not plurals[0])
    return AgreementItem(
        sentence(" ".join([*text, adverb] if adverb else text)),
        verb[right],
        verb[wrong],
        _form(subject, plurals[0]),
        tuple(forms),
        tuple(numbers[1:]),
        adverb,
        len(forms),
        right,
        dice.zipf(verb["after"]),
        split,
    )


def _attractors(
    grammar: AgreementGrammar,
    dice: Dice,
    split: str,
    subject: Word,
    n: int,
    cast: _Cast,
    *,
    relative: bool,
) -> tuple[list[str], list[Word]]:
    """What links `n` attractors to the subject and to each other, and the attractors."""
    parts, found = grammar.parts, [subject]
    taken = {subject.text}
    links: list[str] = []
    for place in range(n):
        clause = relative and place == 0
        there = not clause and dice.chance(_PLACE_CHANCE)
        pool = [noun for noun in (cast.places if there else cast.nouns) if noun.text not in taken]
        if place == 0 and split != "new_subjects":
            held_out = split == "new_pairs"
            pool = [noun for noun in pool if grammar.is_held_out(subject, noun) is held_out]
        if not pool:
            break
        found.append(dice.zipf(pool))
        taken.add(found[-1].text)
        link = dice.zipf(parts["relative" if clause else "places" if there else "prepositions"])
        links.append(f"that {link}" if clause else link)
    return links, found[1:]


def _adverb(
    dice: Dice, parts: Mapping[str, Any], verb: Mapping[str, Any], *, relative: bool
) -> str:
    if not dice.chance(_ADVERB_CHANCE):
        return ""
    if relative:
        return str(dice.zipf(parts["past_adverbs"]))
    lexical = verb["time"] == "present" and verb["singular"] not in ("is", "has")
    return str(dice.zipf(parts["present_adverbs"])) if lexical else ""


def _form(noun: Word, plural: bool) -> str:
    return noun.p if plural else noun.s


def _number(plural: bool) -> str:
    return "plural" if plural else "singular"
