"""Questions with their answers: those of the training text, and those held out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.facts import Fact, Relation
from tokkit.corpus.world.lexicon import Lexicon
from tokkit.corpus.world.scenes import animal_pair, kind_of, named
from tokkit.corpus.world.sequences import (
    COUNTED,
    LONGER_LENGTHS,
    ORDINALS,
    TRAINED_LENGTHS,
    Ordered,
    list_of_things,
    number_pair,
    number_run,
    row_of_people,
)
from tokkit.corpus.world.stock import Word

QUESTION_SPLITS = ("train", "new_entities", "new_wordings", "new_pairs", "longer")
ITEMS_PER_KIND = 60
_STREAM = 6


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt that ends in a colon; its answer follows after a space, then a full stop.

    kind     fact:<relation>, kind, size, more, next, count, list or row
    choices  what may be answered, the answer among them; () where it is a run of words
    """

    prompt: str
    answer: str
    kind: str
    split: str
    choices: tuple[str, ...]


def asked(question: Question) -> str:
    """The question with its answer, as it stands in the training text."""
    return f"{question.prompt} {question.answer}."


def fact_question(
    relation: Relation, fact: Fact, wording: int, split: str, choices: Sequence[str] = ()
) -> Question:
    """The question for the object of a fact."""
    text = relation.questions[wording].format(subject=fact.subject)
    return Question(_prompt(text), fact.object, f"fact:{fact.relation}", split, tuple(choices))


def kind_question(lexicon: Lexicon, word: Word, split: str) -> Question:
    """What kind of thing a word of the stock is."""
    text = lexicon.sentences["taxonomy"]["question"].format(X=named(word))
    categories = list(lexicon.sentences["taxonomy"]["noun"])
    choices = tuple(kind_of(lexicon, lexicon.words[name][0]) for name in categories)
    return Question(_prompt(text), kind_of(lexicon, word), "kind", split, choices)


def more_question(lexicon: Lexicon, dice: Dice, split: str) -> Question:
    """Which of two numbers is more; the larger stands first as often as second."""
    numbers = lexicon.words["number"]
    large, small = number_pair(lexicon, dice, held_out=split == "new_pairs")
    pair = [numbers[large].text, numbers[small].text]
    shown = tuple(pair if dice.chance(0.5) else pair[::-1])
    text = "Which is more, {} or {}?".format(*shown)
    return Question(_prompt(text), pair[0], "more", split, shown)


def next_question(lexicon: Lexicon, place: int, split: str) -> Question:
    """What comes after the number word at `place`."""
    numbers = [word.text for word in lexicon.words["number"]]
    text = lexicon.sentences["numbers"]["next_question"].format(X=numbers[place])
    return Question(_prompt(text), numbers[place + 1], "next", split, tuple(numbers[:COUNTED]))


def is_next_asked(place: int) -> bool:
    """Whether training asks what comes after the number at `place`: not of every third."""
    return place % 3 != 1


def count_question(lexicon: Lexicon, dice: Dice, split: str) -> Question:
    """Numbers to say in a row: the answer has as many words as the split is long."""
    run = number_run(lexicon, dice, _length(dice, split))
    prompt = lexicon.sentences["numbers"]["count_prompt"].format(first=run[0], last=run[-1])
    return Question(prompt, ", ".join(run), "count", split, ())


def size_question(lexicon: Lexicon, dice: Dice, split: str) -> Question:
    """Which of two animals is bigger; the bigger stands first as often as second."""
    animals = lexicon.words["animal"]
    one, other = animal_pair(animals, dice, held_out=split == "new_pairs")
    answer = max(one, other, key=lambda word: word.size or 0)
    text = f"Which is bigger, {one.a} or {other.a}?"
    choices = (f"the {one.text}", f"the {other.text}")
    return Question(_prompt(text), f"the {answer.text}", "size", split, choices)


def list_question(lexicon: Lexicon, dice: Dice, split: str) -> Question:
    """Which thing of a list was the first, second or last."""
    ordered = list_of_things(lexicon, dice, _length(dice, split), held_out=split == "new_pairs")
    return list_question_of(dice, ordered, split)


def list_question_of(dice: Dice, ordered: Ordered, split: str) -> Question:
    """The question about a list that was just written."""
    last = len(ordered.words) - 1
    place = dice.pick((0, 1, last))
    nth = "last" if place == last else ORDINALS[place]
    prompt = f"{ordered.text} {_prompt(f'Which was the {nth}?')}"
    choices = tuple(f"the {word}" for word in ordered.words)
    return Question(prompt, choices[place], "list", split, choices)


def row_question(lexicon: Lexicon, dice: Dice, split: str) -> Question:
    """Who stands at an end of a row, or next to someone in it."""
    ordered = row_of_people(lexicon, dice, _length(dice, split), held_out=split == "new_pairs")
    return row_question_of(dice, ordered, split)


def row_question_of(dice: Dice, ordered: Ordered, split: str) -> Question:
    """The question about a row that was just written."""
    people = ordered.words
    place = dice.below(len(people) - 1)
    if dice.chance(0.5):
        text, answer = f"Who is right of {people[place]}?", people[place + 1]
    else:
        text, answer = f"Who is left of {people[place + 1]}?", people[place]
    return Question(f"{ordered.text} {_prompt(text)}", answer, "row", split, people)


def make_questions(
    seed: int, lexicon: Lexicon, relations: Mapping[str, Relation], facts: Sequence[Fact]
) -> tuple[Question, ...]:
    """Questions of every split; those of "train" are what training asks, or like what it asks."""
    dice = Dice(seed, _STREAM)
    found: list[Question] = []
    choices = {
        name: sorted({fact.object for fact in facts if fact.relation == name}) for name in relations
    }
    for fact in facts:
        if fact.held_out:
            continue
        relation = relations[fact.relation]
        split = "train" if fact.asked else "new_entities"
        found.append(fact_question(relation, fact, 0, split, choices[fact.relation]))
        found.append(fact_question(relation, fact, 1, "new_wordings", choices[fact.relation]))
    for category in lexicon.sentences["taxonomy"]["noun"]:
        for word in lexicon.words[category]:
            split = "train" if word.taxonomic else "new_entities"
            found.append(kind_question(lexicon, word, split))
    for place in range(COUNTED - 1):
        split = "train" if is_next_asked(place) else "new_entities"
        found.append(next_question(lexicon, place, split))
    for split, makers in _MAKERS.items():
        for make in makers:
            found += _distinct(lexicon, dice, split, make)
    return tuple(found)


_Maker = Callable[[Lexicon, Dice, str], Question]
_MAKERS: dict[str, tuple[_Maker, ...]] = {
    "train": (list_question, row_question, more_question, size_question, count_question),
    "new_pairs": (list_question, row_question, more_question, size_question),
    "longer": (list_question, row_question, count_question),
}


def _distinct(lexicon: Lexicon, dice: Dice, split: str, make: _Maker) -> list[Question]:
    """ITEMS_PER_KIND different questions, fewer where there are no more."""
    items: dict[str, Question] = {}
    for _ in range(100 * ITEMS_PER_KIND):
        if len(items) == ITEMS_PER_KIND:
            break
        question = make(lexicon, dice, split)
        items.setdefault(question.prompt, question)
    return list(items.values())


def _length(dice: Dice, split: str) -> int:
    return dice.pick(LONGER_LENGTHS if split == "longer" else TRAINED_LENGTHS)


def _prompt(text: str) -> str:
    return f"Question: {text} Answer:"
