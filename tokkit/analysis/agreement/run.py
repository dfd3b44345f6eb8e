"""Agreement at a distance: weights and causes, measured on the same sentences, told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.agreement import tables
from tokkit.analysis.agreement.claim import Differences, claim_of
from tokkit.analysis.agreement.items import (
    ADVERB,
    SUBJECT,
    Item,
    encode_items,
    english_sentences,
    pick_items,
    world_sentences,
)
from tokkit.analysis.agreement.measures import (
    CONTROL,
    CUT_ROLES,
    PATCH_ROLES,
    WEIGHT_ROLES,
    Caused,
    Looked,
    causes,
    knocked_out,
    look,
    role_weights,
)
from tokkit.analysis.agreement.runs import difference, whole_pass
from tokkit.analysis.section import Section
from tokkit.model.transformer import Transformer

if TYPE_CHECKING:
    from tokkit.corpus.world import World

Floats = NDArray[np.float64]
Told = Callable[[str, str, int, int], None]
MOST_ITEMS, FEWEST_ITEMS = 160, 20
MOST_STATE_LAYERS = 10
MOST_ASKED = 600  # sentences that are only asked for their verb
_MULTIPLICATIONS = 2e12  # of weights with tokens: a minute or two on two cores


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Say nothing."""


def agreement_section(
    model: Transformer,
    tokenizer: Any,
    *,
    world: World | None,
    seed: int = 0,
    start_ids: Sequence[int] = (),
    about_seed: int | None = None,
    sentences: int | None = None,
    told: Told = _silent,
) -> Section | None:
    """Accuracy, weights, patching and knock-out on agreement; None where no sentence can be asked.

    `about_seed` is the seed of the model's training, where it is known: the untrained control is
    then the very model before training, else one of the same config. `sentences` are patched and
    cut (None: fewer of a larger model).
    """
    given = english_sentences(seed) if world is None else world_sentences(world)
    items, left_out = encode_items(
        tokenizer, given, start_ids=start_ids, context=model.config.context
    )
    chosen = pick_items(items, sentences or item_count(model), seed)
    if len(chosen) < 2:
        return None
    layers = state_layers(model.config.layers)
    looked, caused = [], []
    for number, item in enumerate(chosen):
        told("agreement", "sentences", number, len(chosen))
        looked.append(look(model, item))
        caused.append(causes(model, item, layers))
    told("agreement", "sentences", len(chosen), len(chosen))
    untrained = Transformer(model.config, seed=about_seed or 0).eval()
    asked = _spread(items, MOST_ASKED if model.config.layers < 12 else 80)
    right = _right(model, asked)
    tests = _tests(chosen, looked, caused, right)
    before = _tests_before(untrained, chosen)
    claim = claim_of(tests, before, seed)
    head = chosen_head(looked[::2])
    generator = np.random.default_rng([seed, 22])
    return Section(
        {
            "agreement_sentences": len(chosen),
            "agreement_sentences_asked": len(asked),
            "agreement_right_share": float(right.mean()),
            "agreement_layers_patched": list(layers),
            "agreement_chosen_head": list(head),
            **tables.head_values(looked, caused, generator),
        },
        {
            "agreement_accuracy": tables.accuracy_table(asked, right),
            "agreement_weights": tables.weights_table(looked, generator),
            "agreement_chosen": tables.chosen_table(chosen[1::2], looked[1::2], head, generator),
            "agreement_patching": tables.patching_table(caused, layers, generator),
            "agreement_knockout": tables.knockout_table(caused, generator),
            "agreement_heads": tables.heads_table(looked, caused, generator),
            "agreement_sentences": tables.sentences_table(chosen, caused),
        },
        () if claim is None else (claim,),
        left_out,
    )


def item_count(model: Transformer) -> int:
    """Sentences that are patched and cut: fewer of a larger model."""
    config = model.config
    weights = sum(p.numel() for p in model.parameters()) - model.embedding.numel()
    states = 2 * len(state_layers(config.layers)) * len(PATCH_ROLES) * 10
    steps = 3 * config.layers * (config.query_heads + 3)
    each = weights * (states + steps)
    return int(min(MOST_ITEMS, max(FEWEST_ITEMS, _MULTIPLICATIONS // each)))


def state_layers(layers: int) -> tuple[int, ...]:
    """The layers after which states are patched: all, or MOST_STATE_LAYERS evenly apart."""
    return tuple(range(0, layers, math.ceil(layers / MOST_STATE_LAYERS)))


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    step = max(1, math.ceil(len(items) / most))
    return list(items[::step])


def _right(model: Transformer, items: Sequence[Item]) -> Floats:
    import torch

    with torch.inference_mode():
        values = [difference(whole_pass(model, item.ids), item)[0] for item in items]
    return np.array([value > 0 for value in values], dtype=np.float64)


def _subject_over_adverb(looked: Sequence[Looked]) -> Floats:
    """Weight on the subject minus weight on the adverb: (N, L, H)."""
    subject, adverb = WEIGHT_ROLES.index(SUBJECT), WEIGHT_ROLES.index(ADVERB)
    by_role = np.stack([role_weights(one) for one in looked])
    found: Floats = by_role[..., subject] - by_role[..., adverb]
    return found


def chosen_head(looked: Sequence[Looked]) -> tuple[int, int]:
    """Layer and head that look most at the subject rather than the adverb, on these sentences."""
    over = _subject_over_adverb(looked).mean(0)
    layer, head = np.unravel_index(over.argmax(), over.shape)
    return int(layer), int(head)


def _weight_tests(items: Sequence[Item], looked: Sequence[Looked]) -> tuple[Floats, Floats]:
    """On every second sentence, of the head that the others chose; all, and with attractors."""
    layer, head = chosen_head(looked[::2])
    tested = _subject_over_adverb(looked[1::2])[:, layer, head]
    far = np.array([item.attractors > 0 for item in items[1::2]], dtype=bool)
    return tested, tested[far]


def _tests(
    items: Sequence[Item], looked: Sequence[Looked], caused: Sequence[Caused], right: Floats
) -> Differences:
    weight, far = _weight_tests(items, looked)
    cut = np.array([one.cut_all for one in caused])
    subject, adverb, control = (CUT_ROLES.index(role) for role in (SUBJECT, ADVERB, CONTROL))
    against = cut[:, subject] - cut[:, control]
    scale = float(np.mean([one.apart for one in caused])) or math.nan
    moved = np.array([one.states["restoring"].mean(0) for one in caused]) / scale
    state = moved[:, PATCH_ROLES.index(SUBJECT)] - moved[:, PATCH_ROLES.index(ADVERB)]
    return Differences(
        weight, far, cut[:, subject] - cut[:, adverb], np.nan_to_num(state),
        against[~np.isnan(against)], right,
    )  # fmt: skip


def _tests_before(model: Transformer, items: Sequence[Item]) -> Differences:
    """The two tests that a model before training must fail: weights and cuts."""
    looked = [look(model, item) for item in items]
    weight, far = _weight_tests(items, looked)
    drops = np.array([found[0] - found[1] for found in (knocked_out(model, i) for i in items)])
    subject, adverb = CUT_ROLES.index(SUBJECT), CUT_ROLES.index(ADVERB)
    nothing = np.empty(0)
    return Differences(weight, far, drops[:, subject] - drops[:, adverb], nothing, nothing, nothing)
