"""The section on agreement: where the verb looks, what decides it, and whether the two match."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit import stats
from tokkit.analysis.attention import agreement_tables as tables
from tokkit.analysis.attention.agreement_claim import (
    FEWEST_ITEMS,
    attention_claim,
    choosing,
    chosen_head,
)
from tokkit.analysis.attention.agreement_data import (
    Measured,
    directions_agree,
    gather_weights,
)
from tokkit.analysis.attention.agreement_items import (
    Item,
    encode_items,
    english_sentences,
    pick_items,
    world_sentences,
)
from tokkit.analysis.attention.agreement_measures import Plan, causes, knocked_out, look
from tokkit.analysis.intervals import resampling
from tokkit.analysis.section import Section
from tokkit.errors import ArtifactError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import Table

if TYPE_CHECKING:
    from tokkit.corpus.world import World

Told = Callable[[str, str, int, int], None]
# Of weights with layers and heads, what is spent on patches and cuts, and on heads everywhere.
_WORK, _WORK_EVERYWHERE = 9e11, 1.5e11
_FEWEST, _MOST = 36, 96  # fewer leave too few with attractors in the half that tests
_FEWEST_EVERYWHERE = 4
_MORE = 48  # sentences at least whose weights alone are taken
_ENGLISH = 400
_STATE_LAYERS = 10
_WINDOWS = 4
_BATCH_TOKENS = 1024


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Say nothing."""


def agreement_section(
    model: Transformer,
    tokenizer: Any,
    *,
    world: World | None,
    seed: int,
    start_ids: Sequence[int] = (),
    name: str = "the model",
    told: Told = _silent,
) -> Section:
    """Measure agreement in the world's sentences, or in English ones where there is no world.

    Without enough sentences that the tokenizer cuts as asked (agreement_claim.FEWEST_ITEMS with an
    adverb), there are no tables and no claim, only what was left out and why. Raises ArtifactError
    where logits are not finite.
    """
    sentences = world_sentences(world) if world else english_sentences(seed, _ENGLISH)
    items, left_out = encode_items(
        tokenizer, sentences, start_ids=start_ids, context=model.config.context
    )
    reasons = {f"agreement: {reason}": count for reason, count in left_out.items()}
    count, everywhere = item_counts(model)
    picked = pick_items(items, count, seed)
    values: dict[str, Any] = {
        "agreement_sentences": "of the world" if world else "English templates",
        "agreement_items": len(items),
        "agreement_items_patched": len(picked),
    }
    if len(picked) < FEWEST_ITEMS:
        return Section(values, left_out=reasons)
    clean = clean_differences(model, items)
    taken = {id(item) for item in picked}
    more = pick_items([item for item in items if id(item) not in taken], max(count, _MORE), seed)
    measured = measure(model, picked, more, everywhere, told)
    found = {"agreement_accuracy": tables.accuracy_table(items, clean), **_tables(measured, seed)}
    claim = attention_claim(name, measured, seed)
    return Section(values | _values(measured, clean, found), found, (claim,), reasons)


def _tables(measured: Measured, seed: int) -> dict[str, Table]:
    generator = np.random.default_rng([seed, 14])
    drawn = resampling(np.arange(len(measured.items)), generator)
    by_attractors = tables.weights_by_attractors_table(measured, generator)
    return {
        "agreement_weights": tables.weights_table(measured, drawn),
        "agreement_weights_by_attractors": by_attractors,
        "agreement_states": tables.states_table(measured, drawn),
        "agreement_outputs": tables.outputs_table(measured, drawn),
        "agreement_knockout": tables.knockout_table(measured, drawn),
        "agreement_knockout_windows": tables.windows_table(measured, drawn),
        "agreement_heads": tables.heads_table(measured, drawn),
        "agreement_ranks": tables.ranks_table(measured, drawn),
    }


def item_counts(model: Transformer) -> tuple[int, int]:
    """Sentences that are patched and cut, and those whose heads are patched at all tokens."""
    config = model.config
    inside = sum(p.numel() for p in model.blocks.parameters())
    work = max(1, inside) * config.layers * config.query_heads
    count = int(min(_MOST, max(_FEWEST, _WORK / work)))
    return count, int(min(count, max(_FEWEST_EVERYWHERE, _WORK_EVERYWHERE / work)))


def plan_of(config: ModelConfig, *, heads_everywhere: bool) -> Plan:
    """Layers and windows of layers that are looked at: all layers at once is the last window."""
    layers = config.layers
    places = np.linspace(0, layers - 1, min(layers, _STATE_LAYERS)).round().astype(int)
    edges = np.linspace(0, layers, min(layers, _WINDOWS) + 1).round().astype(int)
    windows = [(int(first), int(after) - 1) for first, after in pairwise(edges)]
    return Plan(tuple(map(int, places)), (*windows, (0, layers - 1)), heads_everywhere)


@torch.inference_mode()
def clean_differences(model: Transformer, items: Sequence[Item]) -> NDArray[np.float64]:
    """Logit of the right verb less that of the wrong one, of every item: (N,).

    Raises ArtifactError where one is not finite.
    """
    found = np.zeros(len(items))
    by_length: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        by_length.setdefault(len(item.ids), []).append(place)
    for length, places in by_length.items():
        step = max(1, _BATCH_TOKENS // length)
        for start in range(0, len(places), step):
            part = places[start : start + step]
            ids = torch.tensor([items[place].ids for place in part], device=model.embedding.device)
            logits = model.unembed(model.hidden(ids)[:, -1]).double().cpu().numpy()
            verbs = np.array([items[place].verbs for place in part])
            both = np.take_along_axis(logits, verbs, axis=1)
            found[part] = both[:, 0] - both[:, 1]
    if not np.isfinite(found).all():
        raise ArtifactError(
            "the model's logits must be finite, but some are NaN or infinite: its weights are "
            "damaged, get the model again"
        )
    return found


def measure(
    model: Transformer, items: Sequence[Item], more: Sequence[Item], everywhere: int, told: Told
) -> Measured:
    """Weights and causes of every item; untrained weights of the same shape beside.

    Of the `more` items only weights are taken.
    """
    fresh = Transformer(
        model.config, seed=0,
        token_features=getattr(model, "token_features", None),
    ).to(model.embedding.device).eval()  # fmt: skip
    plans = [plan_of(model.config, heads_everywhere=on) for on in (True, False)]
    looked, caused, fresh_looked, fresh_knocked = [], [], [], []
    for place, item in enumerate(items):
        told("agreement", "sentences", place, len(items))
        looked.append(look(model, item))
        caused.append(causes(model, item, plans[place >= everywhere]))
        fresh_looked.append(look(fresh, item))
        fresh_knocked.append(knocked_out(fresh, item, plans[0].windows[-1:]))
    more_looked = [look(model, item) for item in more]
    told("agreement", "sentences", len(items), len(items))
    return Measured(
        items, gather_weights(looked, items), caused, gather_weights(fresh_looked, items),
        fresh_knocked, plans[0], min(everywhere, len(items)), more,
        gather_weights(more_looked, more) if more else None,
    )  # fmt: skip


def _values(
    measured: Measured, clean: NDArray[np.float64], found: Mapping[str, Table]
) -> dict[str, Any]:
    right = stats.wilson(int((clean > 0).sum()), len(clean))
    layer, head = chosen_head(measured.weights, choosing(len(measured.items)))
    kinds = [row[-1] for row in found["agreement_heads"].rows]
    ranks = {row[0]: row[3:] for row in found["agreement_ranks"].rows}["output restores"]
    return {
        "agreement_accuracy": right.estimate,
        "agreement_accuracy_low": right.low,
        "agreement_accuracy_high": right.high,
        "agreement_items_looked_at": len(measured.items) + len(measured.more_items),
        "agreement_items_with_heads_patched_everywhere": measured.n_everywhere,
        "agreement_head_layer": layer,
        "agreement_head": head,
        "agreement_subject_cut_logits": tables.strongest_window(measured),
        "agreement_rank_correlation": ranks[0],
        "agreement_rank_correlation_low": ranks[1],
        "agreement_rank_correlation_high": ranks[2],
        "agreement_heads_rule": tables.HEADS_RULE,
        **{
            "agreement_heads_that_" + kind.replace(", ", "_").replace(" ", "_"): kinds.count(kind)
            for kind in tables.KINDS[:3]
        },
        "agreement_directions_differ_at_most": directions_agree(measured),
    }
