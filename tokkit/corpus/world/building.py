"""The world of a seed: words, names, facts, and everything that can be asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokkit.corpus.world.agreement import (
    AGREEMENT_SPLITS,
    AgreementGrammar,
    AgreementItem,
    agreement_grammar,
    agreement_items,
)
from tokkit.corpus.world.analogies import make_analogies
from tokkit.corpus.world.config import WorldConfig
from tokkit.corpus.world.facts import Fact, Relation, make_facts, relations
from tokkit.corpus.world.lexicon import Lexicon, make_lexicon
from tokkit.corpus.world.questions import QUESTION_SPLITS, Question, make_questions
from tokkit.corpus.world.stock import Word
from tokkit.errors import ConfigError, unknown_choice

# Of the lexicon: what an analysis may ask to find apart. Individuals and landmarks have two words.
CATEGORIES = (
    *("animal", "food", "tool", "person", "place", "garment", "vehicle", "colour", "number"),
    *("material", "feeling", "day", "name", "city", "country", "language"),
)


@dataclass(frozen=True, slots=True)
class World:
    """A generated world, whose truth is known.

    categories     category to its words as they stand in text, most frequent first
    words          the records of those words, category by category
    analogies      (a, b, c, d): a is to b as c is to d; `analogy_kinds` has the kind of each
    facts          what is true of landmarks, cities, countries and individuals
    relations      how each is said and asked; `wordings` has the sentences alone
    """

    config: WorldConfig
    categories: Mapping[str, tuple[str, ...]]
    words: tuple[Word, ...]
    analogies: tuple[tuple[str, str, str, str], ...]
    analogy_kinds: tuple[str, ...]
    facts: tuple[Fact, ...]
    relations: Mapping[str, Relation]
    lexicon: Lexicon
    agreement: AgreementGrammar
    all_agreement_items: tuple[AgreementItem, ...]
    all_questions: tuple[Question, ...]

    @property
    def wordings(self) -> dict[str, tuple[str, ...]]:
        """The sentences of each relation, with {subject} and, last, {object}."""
        return {name: relation.wordings for name, relation in self.relations.items()}

    @property
    def landmarks(self) -> tuple[str, ...]:
        """Names of landmarks, most frequent first."""
        return self._names("landmark")

    @property
    def cities(self) -> tuple[str, ...]:
        """Names of cities, most frequent first."""
        return self._names("city")

    @property
    def countries(self) -> tuple[str, ...]:
        """Names of countries, most frequent first."""
        return self._names("country")

    @property
    def people(self) -> tuple[str, ...]:
        """Names of the individuals that facts are about, most frequent first."""
        return self._names("individual")

    def prompt(self, fact: Fact, wording: int) -> str:
        """The sentence of a fact up to its object, without the space before that."""
        return self.statement(fact, wording).removesuffix(f" {fact.object}.")

    def statement(self, fact: Fact, wording: int) -> str:
        """The sentence of a fact in a wording."""
        template = self.relations[fact.relation].wordings[wording]
        return template.format(subject=fact.subject, object=fact.object)

    def objects(self, relation: str) -> tuple[str, ...]:
        """Every object that the facts of a relation have, sorted."""
        if relation not in self.relations:
            raise ConfigError(unknown_choice("relation", relation, self.relations))
        return tuple(sorted({fact.object for fact in self.facts if fact.relation == relation}))

    def agreement_items(self, split: str) -> tuple[AgreementItem, ...]:
        """Minimal pairs of a split: train, new_pairs, new_subjects or longer."""
        if split not in AGREEMENT_SPLITS:
            raise ConfigError(unknown_choice("split", split, AGREEMENT_SPLITS))
        return tuple(item for item in self.all_agreement_items if item.split == split)

    def questions(self, split: str) -> tuple[Question, ...]:
        """Questions of a split: train, new_entities, new_wordings, new_pairs or longer."""
        if split not in QUESTION_SPLITS:
            raise ConfigError(unknown_choice("split", split, QUESTION_SPLITS))
        return tuple(item for item in self.all_questions if item.split == split)

    def _names(self, kind: str) -> tuple[str, ...]:
        return tuple(word.text for word in self.lexicon.words[kind])


def build_world(config: WorldConfig) -> World:
    """The world of a seed; its size matters to `world_documents` alone. No files are written."""
    lexicon = make_lexicon(config.seed)
    known = relations()
    facts = make_facts(config.seed, lexicon, known)
    grammar = agreement_grammar(config.seed, lexicon)
    analogies = make_analogies(config.seed, lexicon, facts)
    return World(
        config,
        {name: tuple(word.text for word in lexicon.words[name]) for name in CATEGORIES},
        tuple(word for name in CATEGORIES for word in lexicon.words[name]),
        tuple(words for words, _ in analogies),
        tuple(kind for _, kind in analogies),
        facts,
        known,
        lexicon,
        grammar,
        agreement_items(config.seed, grammar),
        make_questions(config.seed, lexicon, known, facts),
    )
