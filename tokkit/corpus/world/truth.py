"""Everything that is true of a world, as one strict JSON object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tokkit.corpus.world.agreement import (
    AGREEMENT_SPLITS,
    ATTRACTORS,
    ITEMS_PER_CELL,
    PAIRS_HELD_OUT,
    TRAINING_ATTRACTORS,
)
from tokkit.corpus.world.building import World
from tokkit.corpus.world.dice import ZIPF_SHIFT
from tokkit.corpus.world.facts import Fact
from tokkit.corpus.world.questions import QUESTION_SPLITS
from tokkit.corpus.world.sequences import HELD_OUT_ONE_IN, LONGER_LENGTHS, TRAINED_LENGTHS


def truth_record(world: World) -> dict[str, Any]:
    """The truth of a world for JSON: words, analogies, facts with prompts, test items, design."""
    return {
        "config": asdict(world.config),
        "design": _design(world),
        "categories": world.categories,
        "words": [asdict(word) for word in world.words],
        "analogies": [
            {"kind": kind, "words": words}
            for kind, words in zip(world.analogy_kinds, world.analogies, strict=True)
        ],
        "relations": {name: asdict(relation) for name, relation in world.relations.items()},
        "facts": [_fact(world, fact) for fact in world.facts],
        "agreement": {
            split: [asdict(item) for item in world.agreement_items(split)]
            for split in AGREEMENT_SPLITS
        },
        "questions": {
            split: [asdict(item) for item in world.questions(split)] for split in QUESTION_SPLITS
        },
    }


def _fact(world: World, fact: Fact) -> dict[str, Any]:
    wordings = range(len(world.relations[fact.relation].wordings))
    return {**asdict(fact), "prompts": [world.prompt(fact, wording) for wording in wordings]}


def _design(world: World) -> dict[str, Any]:
    return {
        "zipf": f"share of a word in its category proportional to 1 / (rank + {ZIPF_SHIFT:g})",
        "agreement": {
            "number_of_each_noun": "a fair coin of its own",
            "trained_attractors": sorted(set(TRAINING_ATTRACTORS)),
            "attractors_by_split": ATTRACTORS,
            "items_per_cell": ITEMS_PER_CELL,
            "new_subjects": [word.text for word in world.agreement.new_subjects],
            "pairs_held_out_one_in": PAIRS_HELD_OUT,
        },
        "order": {
            "trained_lengths": TRAINED_LENGTHS,
            "longer_lengths": LONGER_LENGTHS,
            "pairs_held_out_one_in": HELD_OUT_ONE_IN,
        },
        "taxonomic": {
            name: [word.text for word in world.words if word.category == name and word.taxonomic]
            for name in world.lexicon.sentences["taxonomy"]["noun"]
        },
    }
