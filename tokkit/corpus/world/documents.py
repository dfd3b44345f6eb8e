"""The training documents of a world: scenes, facts, sequences and questions, without end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate

from tokkit.corpus.document import Document
from tokkit.corpus.world.agreement import agreement_sentence, agreement_sentences
from tokkit.corpus.world.building import World
from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.fact_writing import FactWriter
from tokkit.corpus.world.lexicon import Lexicon
from tokkit.corpus.world.questions import (
    asked,
    is_next_asked,
    kind_question,
    list_question_of,
    more_question,
    next_question,
    row_question_of,
    size_question,
)
from tokkit.corpus.world.scenes import scene, taxonomic_sentence
from tokkit.corpus.world.sequences import (
    COUNTED,
    TRAINED_LENGTHS,
    list_of_things,
    number_sentences,
    places_told,
    row_of_people,
)
from tokkit.corpus.world.stock import Word

# What documents are about, and how often beside each other.
KINDS = {
    "facts": 23,
    "agreement": 13,
    "animal": 10,
    "person": 8,
    "tool": 9,
    "food": 8,
    "place": 6,
    "vehicle": 5,
    "order": 6,
    "numbers": 4,
    "young": 4,
    "questions": 3,
    "colour": 2,
    "opposite": 2,
}
SENTENCES_MIN, SENTENCES_MAX = 3, 15
_MORE = SENTENCES_MAX - SENTENCES_MIN + 1
_ABOUT = {"animal": "A", "person": "P"}
_NEXT_ASKED = tuple(place for place in range(COUNTED - 1) if is_next_asked(place))
_STREAM = 8


def world_documents(world: World) -> Iterator[Document]:
    """Yield training documents, `world.config.megabytes` of text in all, to half a document.

    Each is 3 to 15 sentences about one scene or subject. A longer corpus of the same seed begins
    with the shorter one.
    """
    target = round(world.config.megabytes * 1e6)
    written = 0
    for place, text in enumerate(map(" ".join, document_sentences(world))):
        size = len(text.encode())
        if written + size // 2 > target:
            return
        written += size
        yield Document(text, f"world:{place}")


def document_sentences(world: World) -> Iterator[list[str]]:
    """Yield the sentences of each document, without end; a question with its answer is one."""
    dice = Dice(world.config.seed, _STREAM)
    facts, named = FactWriter(world), dice.rounds(_taxonomic_words(world.lexicon))
    kinds, steps = tuple(KINDS), tuple(accumulate(KINDS.values()))
    writers: dict[str, Callable[[int], list[str]]] = {
        "facts": lambda n: facts.sentences(dice, n),
        "agreement": lambda n: agreement_sentences(world.agreement, dice, n),
        "order": lambda n: _order(world, dice, n),
        "numbers": lambda n: number_sentences(world.lexicon, dice, n),
        "questions": lambda n: _questions(world, dice, facts, named, n),
    }
    while True:
        kind = kinds[bisect_right(steps, dice.below(steps[-1]))]
        # The smaller of two draws: short documents are more frequent than long ones.
        n = SENTENCES_MIN + min(dice.below(_MORE), dice.below(_MORE))
        yield writers[kind](n) if kind in writers else _scene(world, dice, kind, n)


def _scene(world: World, dice: Dice, kind: str, n: int) -> list[str]:
    """A scene; now and then with agreement at a distance, and with what kind a thing is."""
    lexicon = world.lexicon
    sentences, slots = scene(lexicon, dice, kind, n)
    more: list[str] = []
    if kind in _ABOUT and dice.chance(0.5):
        subject = slots[_ABOUT[kind]]
        about = agreement_sentence(world.agreement, dice, subject)
        more += [about] if about else []
    if dice.chance(0.1):
        more.append(taxonomic_sentence(lexicon, dice, dice.pick(_taxonomic_words(lexicon))))
    return [*sentences[: SENTENCES_MAX - len(more)], *more]


def _taxonomic_words(lexicon: Lexicon) -> list[Word]:
    """The words whose category may be told."""
    categories = lexicon.sentences["taxonomy"]["noun"]
    return [word for name in categories for word in lexicon.words[name] if word.taxonomic]


def _order(world: World, dice: Dice, n: int) -> list[str]:
    """Rows of people and lists of things, each with what was where, until there are `n`."""
    lexicon = world.lexicon
    found: list[str] = []
    while len(found) < n:
        length = dice.pick(TRAINED_LENGTHS)
        if dice.chance(0.5):
            row = row_of_people(lexicon, dice, length)
            question = row_question_of(dice, row, "train")
            part = [*row.sentences, asked(question).removeprefix(f"{row.text} ")]
        else:
            things = list_of_things(lexicon, dice, length)
            told = places_told(lexicon, dice, things, dice.below(3))
            question = list_question_of(dice, things, "train")
            part = [*things.sentences, *told, asked(question).removeprefix(f"{things.text} ")]
        if len(found) + len(part) > SENTENCES_MAX:
            break
        found += part
    return found


def _questions(
    world: World, dice: Dice, facts: FactWriter, named: Iterator[Word], n: int
) -> list[str]:
    lexicon = world.lexicon
    asking: tuple[Callable[[], str], ...] = (
        lambda: asked(more_question(lexicon, dice, "train")),
        lambda: asked(size_question(lexicon, dice, "train")),
        lambda: asked(kind_question(lexicon, next(named), "train")),
        lambda: asked(next_question(lexicon, dice.zipf(_NEXT_ASKED), "train")),
        lambda: facts.question(dice),
        lambda: facts.question(dice),
    )
    return [dice.pick(asking)() for _ in range(n)]
