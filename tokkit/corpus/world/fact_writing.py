"""Documents that state facts: about one place or person, then about what it leads to."""

from __future__ import annotations

from collections.abc import Iterator

from tokkit.corpus.world.building import World
from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.facts import Fact
from tokkit.corpus.world.questions import asked, fact_question

# How often a document is about a subject of each kind, and goes on to one of the next.
_KINDS = (
    "landmark",
    "landmark",
    "landmark",
    "individual",
    "individual",
    "individual",
    "city",
    "city",
    "country",
)
_CYCLE_CHANCE = 0.2
_ASKING_CHANCE = 0.35
_NEW_SUBJECT_CHANCE = 0.3
SENTENCES_BEFORE_QUESTION = 14


class FactWriter:
    """Writes facts so that each is stated in all its trained wordings before one comes again.

    Which subject comes next is drawn by frequency, and one time in five by turns, so that none is
    left out of a short text.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._of_subject: dict[str, list[Fact]] = {}
        for fact in world.facts:
            if not fact.held_out:
                self._of_subject.setdefault(fact.subject, []).append(fact)
        words = world.lexicon.words
        self._subjects = {
            kind: [word.text for word in words[kind] if word.text in self._of_subject]
            for kind in dict.fromkeys(_KINDS)
        }
        self._turn = dict.fromkeys(self._subjects, 0)
        self._wordings: dict[tuple[str, str], list[int]] = {}
        self._asked = tuple(fact for fact in world.facts if fact.asked)
        self._asking: Iterator[Fact] | None = None

    def sentences(self, dice: Dice, n: int) -> list[str]:
        """`n` sentences at most: the facts of a subject, then of an object of one of them."""
        subject = self._subject(dice)
        found: dict[str, Fact] = {}
        while len(found) < n:
            facts = self._of_subject[subject]
            for fact in dice.shuffled(facts)[: n - len(found)]:
                for _ in range(1 + dice.below(2)):
                    found[self._statement(dice, fact)] = fact
            onward = [fact.object for fact in facts if fact.object in self._of_subject]
            again = not onward or dice.chance(_NEW_SUBJECT_CHANCE)
            subject = self._subject(dice) if again else dice.pick(onward)
        sentences = list(found)[:n]
        asking = [fact for fact in list(found.values())[:n] if fact.asked]
        if asking and dice.chance(_ASKING_CHANCE):
            sentences[SENTENCES_BEFORE_QUESTION:] = []
            sentences.append(self._question(dice.pick(asking)))
        return sentences

    def question(self, dice: Dice) -> str:
        """A question that training asks, with its answer."""
        self._asking = self._asking or dice.rounds(self._asked)
        return self._question(next(self._asking))

    def _subject(self, dice: Dice) -> str:
        kind = dice.pick(_KINDS)
        subjects = self._subjects[kind]
        if not dice.chance(_CYCLE_CHANCE):
            return dice.zipf(subjects)
        self._turn[kind] += 1
        return subjects[self._turn[kind] % len(subjects)]

    def _statement(self, dice: Dice, fact: Fact) -> str:
        left = self._wordings.setdefault((fact.relation, fact.subject), [])
        if not left:
            left += dice.shuffled(fact.wordings_trained)
        return self._world.statement(fact, left.pop())

    def _question(self, fact: Fact) -> str:
        return asked(fact_question(self._world.relations[fact.relation], fact, 0, "train"))
