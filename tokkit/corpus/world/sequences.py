"""Text in which order carries the meaning: numbers, rows of people, lists of things."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, zip_longest

from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.grammar import listed, sentence
from tokkit.corpus.world.lexicon import Lexicon
from tokkit.corpus.world.stock import Word

# Lengths of lists, rows and runs of numbers in training, and those that tests alone have.
TRAINED_LENGTHS, LONGER_LENGTHS = (3, 4, 5), (6, 7, 8)
HELD_OUT_ONE_IN = 5
# Numbers that come one after another: from one to twenty; then by tens.
COUNTED = 20
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


@dataclass(frozen=True, slots=True)
class Ordered:
    """Sentences about things in an order, and the words of those things in that order."""

    sentences: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences in a row."""
        return " ".join(self.sentences)


def is_held_out(first: int, second: int) -> bool:
    """Whether training leaves out this pair of places (of numbers, names or things) in this order.

    >>> [is_held_out(2, second) for second in range(6)]
    [True, False, False, False, False, True]
    """
    # One second in five for each first; rows of such pairs can go on through most places.
    return (second - 2 * first - 1) % HELD_OUT_ONE_IN == 0


def number_pair(lexicon: Lexicon, dice: Dice, *, held_out: bool) -> tuple[int, int]:
    """Places (larger, smaller) of two number words that training has, or those it has not."""
    n = len(lexicon.words["number"])
    while True:
        one, other = dice.zipf(range(n)), dice.zipf(range(n))
        large, small = max(one, other), min(one, other)
        if large != small and is_held_out(large, small) is held_out:
            return large, small


def number_sentences(lexicon: Lexicon, dice: Dice, n: int) -> list[str]:
    """Comparisons, successors and counting, `n` sentences."""
    found: dict[str, None] = {}
    while len(found) < n:
        found[sentence(dice.pick(_NUMBER_WRITERS)(lexicon, dice))] = None
    return list(found)


def _comparison(lexicon: Lexicon, dice: Dice) -> str:
    numbers = lexicon.words["number"]
    one, other = dice.zipf_sample(lexicon.words["name"], 2)
    large, small = number_pair(lexicon, dice, held_out=False)
    template: str = dice.zipf(lexicon.sentences["numbers"]["sentences"])
    return template.format(
        X=numbers[large].text, Y=numbers[small].text, Name=one.text, Name2=other.text
    )


def _successor(lexicon: Lexicon, dice: Dice) -> str:
    numbers = lexicon.words["number"]
    place = dice.zipf(range(COUNTED - 1))
    template: str = dice.zipf(lexicon.sentences["numbers"]["next"])
    return template.format(X=numbers[place].text, next=numbers[place + 1].text)


def _counting(lexicon: Lexicon, dice: Dice) -> str:
    """Counting upwards, downwards (one time in five) or by tens (one in ten)."""
    templates, numbers = lexicon.sentences["numbers"], lexicon.words["number"]
    kind = dice.below(10)
    if kind == 0:
        run = [
            numbers[place].text for place in (COUNTED // 2 - 1, *range(COUNTED - 1, len(numbers)))
        ]
        run = run[: 3 + dice.below(len(run) - 2)]
        template: str = dice.zipf(templates["tens"])
    else:
        run = list(number_run(lexicon, dice, dice.pick(TRAINED_LENGTHS)))[:: -1 if kind < 3 else 1]
        template = dice.zipf(templates["backwards" if kind < 3 else "counting"])
    name = dice.zipf(lexicon.words["name"]).text
    return template.format(Name=name, run=", ".join(run), first=run[0], last=run[-1])


def number_run(lexicon: Lexicon, dice: Dice, length: int) -> tuple[str, ...]:
    """`length` number words in a row, upwards, none above twenty."""
    start = dice.zipf(range(COUNTED - length + 1))
    return tuple(word.text for word in lexicon.words["number"][start : start + length])


_NUMBER_WRITERS = (_comparison, _successor, _counting)


def row_of_people(lexicon: Lexicon, dice: Dice, length: int, *, held_out: bool = False) -> Ordered:
    """People side by side, each told from their neighbour; names from left to right.

    Each two neighbours are a held-out pair where `held_out`, else a pair that training may have.
    """
    names = lexicon.words["name"]
    places = _places(dice, len(names), length, held_out=held_out)
    people = tuple(names[place].text for place in places)
    templates = lexicon.sentences["order"]["row"]
    pairs = pairwise(people)
    told = tuple(dice.zipf(templates).format(X=left, Y=right) for left, right in pairs)
    return Ordered(told, people)


def list_of_things(lexicon: Lexicon, dice: Dice, length: int, *, held_out: bool = False) -> Ordered:
    """A sentence with a list of things, whose neighbours are pairs as in `row_of_people`."""
    things = _things(lexicon)
    chosen = [things[place] for place in _places(dice, len(things), length, held_out=held_out)]
    name = dice.zipf(lexicon.words["name"]).text
    template: str = dice.zipf(lexicon.sentences["order"]["list"])
    text = template.format(Name=name, list=listed([word.a for word in chosen]))
    return Ordered((sentence(text),), tuple(word.text for word in chosen))


def places_told(lexicon: Lexicon, dice: Dice, ordered: Ordered, n: int) -> list[str]:
    """`n` sentences that say which of the list was the first, second, ... or last."""
    template: str = lexicon.sentences["order"]["place"]
    last = len(ordered.words) - 1
    told = [(ORDINALS[place], word) for place, word in enumerate(ordered.words)]
    told[last] = ("last", ordered.words[last])
    return [template.format(nth=nth, X=word) for nth, word in dice.sample(told, n)]


def _places(dice: Dice, n: int, length: int, *, held_out: bool) -> list[int]:
    """`length` different places from 0 to n - 1, each two neighbours held out, or none."""
    while True:
        places = [dice.zipf(range(n))]
        for _ in range(length - 1):
            last = places[-1]
            onward = [
                place
                for place in range(n)
                if place not in places and is_held_out(last, place) is held_out
            ]
            if not onward:
                break
            places.append(dice.zipf(onward))
        else:
            return places


def _things(lexicon: Lexicon) -> tuple[Word, ...]:
    garments, tools = lexicon.words["garment"], lexicon.words["tool"]
    pairs = zip_longest(garments, tools)
    return tuple(word for pair in pairs for word in pair if word is not None)
