"""A generated world whose truth is known: words, facts, agreement, order, questions."""

from tokkit.corpus.world.agreement import AgreementItem
from tokkit.corpus.world.building import World, build_world
from tokkit.corpus.world.config import WorldConfig
from tokkit.corpus.world.documents import world_documents
from tokkit.corpus.world.facts import Fact, Relation
from tokkit.corpus.world.making import make_world
from tokkit.corpus.world.questions import Question
from tokkit.corpus.world.stock import Word
from tokkit.corpus.world.truth import truth_record

__all__ = [
    "AgreementItem",
    "Fact",
    "Question",
    "Relation",
    "Word",
    "World",
    "WorldConfig",
    "build_world",
    "make_world",
    "truth_record",
    "world_documents",
]
