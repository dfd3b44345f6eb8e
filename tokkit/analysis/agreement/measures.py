"""What is measured of one agreement sentence: where its verb looks, and what decides the verb.

Patching (Vig et al. 2020; in the symmetric form of Zhang and Nanda 2023): activations of the twin
sentence, whose subject has the other number, are put in. Restoring puts the sentence's own into its
twin; breaking puts the twin's into the sentence. Knock-out (Geva et al. 2023) takes edges of
attention away. All are told as logit of the right verb minus that of the wrong one.

L layers, H heads, Q layers that states are patched after, roles in the order of PATCH_ROLES or
CUT_ROLES. NaN where a sentence lacks the role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.agreement import runs
from tokkit.analysis.agreement.items import ADVERB, ATTRACTORS, SUBJECT, Item
from tokkit.analysis.agreement.runs import Cut
from tokkit.model.intervention import Patch, patched
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
FIRST, OTHER, LAST, CONTROL = "first token", "other tokens", "last token", "another token"
WEIGHT_ROLES = (SUBJECT, ATTRACTORS, ADVERB, FIRST, OTHER)
PATCH_ROLES = (SUBJECT, ATTRACTORS, ADVERB, LAST)
CUT_ROLES = (SUBJECT, ATTRACTORS, ADVERB, CONTROL)
DIRECTIONS = ("restoring", "breaking")


@dataclass(frozen=True, slots=True)
class Looked:
    """Where the last token looks, (L, H, T) by column, and the same from the verb once it stands.

    `roles` (T,) is the place in WEIGHT_ROLES of each column; the verb has one column more, its own.
    """

    at_last: Floats
    at_verb: Floats
    roles: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Caused:
    """Effects on one sentence, in logits; `apart` is the whole way between the two of a pair.

    states     direction -> (Q, roles) of the residual stream after a layer
    outputs    direction -> what -> (L,) of attention or feed-forward at the last column
    heads      direction -> (L, H) of a head's output at the last column
    cut_layers (L, roles) edges of the last column in one layer
    cut_all    (roles,) in all layers; `cut_everywhere` from every later column
    cut_heads  (L, H) the edge of one head to the subject
    right_after  (roles,) whether the verb is still right where all layers are cut
    """

    clean: float
    apart: float
    states: Mapping[str, Floats]
    outputs: Mapping[str, Mapping[str, Floats]]
    heads: Mapping[str, Floats]
    cut_layers: Floats
    cut_all: Floats
    cut_everywhere: Floats
    cut_heads: Floats
    right_after: Floats


def roles_of(item: Item) -> NDArray[np.int64]:
    """The place in WEIGHT_ROLES of each column of the prefix: (T,)."""
    found = np.full(len(item.ids), WEIGHT_ROLES.index(OTHER))
    found[0] = WEIGHT_ROLES.index(FIRST)
    for role in (SUBJECT, ATTRACTORS, ADVERB):
        found[list(item.places[role])] = WEIGHT_ROLES.index(role)
    return found


def role_weights(looked: Looked, *, at_verb: bool = False) -> Floats:
    """What each head gives to each of WEIGHT_ROLES: (L, H, roles)."""
    weights = looked.at_verb if at_verb else looked.at_last
    columns = len(looked.roles)
    return np.stack(
        [weights[..., :columns][..., looked.roles == r].sum(-1) for r in range(len(WEIGHT_ROLES))],
        axis=-1,
    )


def control_column(item: Item) -> tuple[int, ...]:
    """The column of no role that is nearest to the subject, later ones first; () of none."""
    subject = item.places[SUBJECT][-1]
    free = np.flatnonzero(roles_of(item) == WEIGHT_ROLES.index(OTHER))
    free = free[free != item.last]
    if not free.size:
        return ()
    return (int(min(free, key=lambda column: (abs(column - subject), -column))),)


@torch.inference_mode()
def look(model: Transformer, item: Item) -> Looked:
    """The weights of every head from the last token, and from the right verb behind it."""
    return Looked(
        runs.masses(model, item.ids), runs.masses(model, (*item.ids, item.right)), roles_of(item)
    )


@torch.inference_mode()
def knocked_out(model: Transformer, item: Item) -> tuple[float, Floats, Floats]:
    """The sentence's logit difference, and after cutting each role in all layers, both ways.

    (clean, at the last column (roles,), everywhere (roles,)): differences, not drops.
    """
    every = range(model.config.layers)
    cuts = [
        Cut(row, layer, columns)
        for row, columns in enumerate(_columns(item))
        for layer in every
        if columns
    ]
    rows = len(CUT_ROLES)
    clean = float(runs.difference(runs.whole_pass(model, item.ids), item)[0])
    at_last = runs.difference(runs.cut_at_last(model, item.ids, rows, cuts), item)
    everywhere = runs.difference(runs.cut_everywhere(model, item.ids, rows, cuts), item)
    absent = [not columns for columns in _columns(item)]
    at_last[absent] = everywhere[absent] = np.nan
    return clean, at_last, everywhere


def _columns(item: Item) -> tuple[tuple[int, ...], ...]:
    return (
        item.places[SUBJECT], item.places[ATTRACTORS], item.places[ADVERB], control_column(item)
    )  # fmt: skip


@torch.inference_mode()
def causes(model: Transformer, item: Item, layers: Sequence[int]) -> Caused:
    """Every patch and every cut of one sentence; states are patched after `layers`."""
    clean, cut_all, cut_everywhere = knocked_out(model, item)
    twin = float(runs.difference(runs.whole_pass(model, item.swapped), item)[0])
    names = [
        f"blocks.{layer}.{part}"
        for layer in range(model.config.layers)
        for part in ("residual", "attention", "feedforward", "attention.heads")
    ]
    own = runs.activations(model, item.ids, names)
    other = runs.activations(model, item.swapped, names)
    states, outputs, heads = {}, {}, {}
    for direction, (receiver, donor, start, sign) in {
        "restoring": (item.swapped, own, twin, 1.0),
        "breaking": (item.ids, other, clean, -1.0),
    }.items():
        moved = _patched_states(model, item, receiver, donor, layers)
        states[direction] = sign * (moved - start)
        parts, by_head = _patched_last(model, item, receiver, donor)
        outputs[direction] = {part: sign * (values - start) for part, values in parts.items()}
        heads[direction] = sign * (by_head - start)
    cut_layers, cut_heads = _cuts(model, item)
    return Caused(
        clean, clean - twin, states, outputs, heads,
        clean - cut_layers, clean - cut_all, clean - cut_everywhere, clean - cut_heads,
        np.where(np.isnan(cut_all), np.nan, cut_all > 0),
    )  # fmt: skip


def _patched_states(
    model: Transformer,
    item: Item,
    receiver: Sequence[int],
    donor: Mapping[str, Tensor],
    layers: Sequence[int],
) -> Floats:
    """Logit differences where the states of a role after a layer are the donor's: (Q, roles)."""
    places = {**item.places, LAST: (item.last,)}
    found = np.full((len(layers), len(PATCH_ROLES)), np.nan)
    patches, where = [], []
    for q, layer in enumerate(layers):
        name = f"blocks.{layer}.residual"
        for r, role in enumerate(PATCH_ROLES):
            if columns := places[role]:
                at = torch.tensor(columns)
                patches.append(Patch(len(where), name, (at,), donor[name][at]))
                where.append((q, r))
    with patched(model, patches):
        values = runs.difference(runs.whole_pass(model, receiver, len(where)), item)
    for (q, r), value in zip(where, values, strict=True):
        found[q, r] = value
    return found


def _patched_last(
    model: Transformer, item: Item, receiver: Sequence[int], donor: Mapping[str, Tensor]
) -> tuple[dict[str, Floats], Floats]:
    """Logit differences where a part of a layer, or a head, is the donor's at the last column."""
    config, patches = model.config, []
    parts = ("attention", "feedforward")
    for number, part in enumerate(parts):
        for layer in range(config.layers):
            name = f"blocks.{layer}.{part}"
            value = donor[name][item.last]
            patches.append(Patch(number * config.layers + layer, name, (0,), value))
    first = len(patches)
    for layer in range(config.layers):
        name = f"blocks.{layer}.attention.heads"
        for head in range(config.query_heads):
            row = first + layer * config.query_heads + head
            patches.append(Patch(row, name, (head, 0), donor[name][head, item.last]))
    values = runs.difference(runs.patched_at_last(model, receiver, len(patches), patches), item)
    by_part = values[:first].reshape(len(parts), config.layers)
    heads = values[first:].reshape(config.layers, config.query_heads)
    return dict(zip(parts, by_part, strict=True)), heads


def _cuts(model: Transformer, item: Item) -> tuple[Floats, Floats]:
    """Logit differences with the edges of one layer, or of one head, cut at the last column."""
    config, cuts = model.config, []
    columns = _columns(item)
    for layer in range(config.layers):
        cuts += [Cut(layer * len(columns) + r, layer, c) for r, c in enumerate(columns)]
    first = len(cuts)
    for layer in range(config.layers):
        for head in range(config.query_heads):
            row = first + layer * config.query_heads + head
            cuts.append(Cut(row, layer, item.places[SUBJECT], head))
    values = runs.difference(runs.cut_at_last(model, item.ids, len(cuts), cuts), item)
    layers = values[:first].reshape(config.layers, len(columns))
    layers[:, [not c for c in columns]] = np.nan
    return layers, values[first:].reshape(config.layers, config.query_heads)
