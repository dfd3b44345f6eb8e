"""What is measured of one agreement sentence: where its verb looks, and what decides the verb.

Patching (Vig et al. 2020; in the symmetric form of Zhang and Nanda 2023): activations of the twin
sentence, whose subject has the other number, are put in. Restoring puts the sentence's own into its
twin; breaking puts the twin's into the sentence. Knock-out (Geva et al. 2023) takes edges of
attention away. All are told as logit of the right verb minus that of the wrong one.

L layers, H heads, Q layers that states are patched after, W windows of layers; roles in the order
of PATCH_ROLES or CUT_ROLES. NaN where a sentence lacks the role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit.analysis.attention.agreement_items import ADVERB, ATTRACTORS, SUBJECT, Item
from tokkit.analysis.attention.agreement_runs import (
    Run,
    Trial,
    clean_difference,
    cutting,
    plain_run,
    putting,
    tried,
)
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
FIRST, OTHER, LAST, CONTROL = "first token", "other tokens", "last token", "another token"
WEIGHT_ROLES = (SUBJECT, ATTRACTORS, ADVERB, FIRST, OTHER)
PATCH_ROLES = (SUBJECT, ATTRACTORS, ADVERB, LAST)
CUT_ROLES = (SUBJECT, ATTRACTORS, ADVERB, CONTROL)
DIRECTIONS = ("restoring", "breaking")
OUTPUTS = ("attention", "feedforward")


@dataclass(frozen=True, slots=True)
class Looked:
    """Where the last token looks, (L, H, T) by column, and the same from the verb once it stands.

    `roles` (T,) is the place in WEIGHT_ROLES of each column; the verb has one column more, its own.
    """

    at_last: Floats
    at_verb: Floats
    roles: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried of each sentence: layers that states are patched after, windows of layers.

    `heads_everywhere` also patches every head at all columns, not only at the last.
    """

    layers: tuple[int, ...]
    windows: tuple[tuple[int, int], ...]
    heads_everywhere: bool = True


@dataclass(frozen=True, slots=True)
class Knocked:
    """Logit differences of a sentence, and with edges cut in each window of layers: (W, roles)."""

    clean: float
    at_last: Floats
    everywhere: Floats


@dataclass(frozen=True, slots=True)
class Patched:
    """How far towards the other sentence of the pair each patch goes, in logits.

    states     (Q, roles) of the residual stream after a layer
    outputs    (parts, L) of OUTPUTS at the last column
    heads      (L, H) of a head's output at the last column; `heads_everywhere` at all columns
    """

    states: Floats
    outputs: Floats
    heads: Floats
    heads_everywhere: Floats


@dataclass(frozen=True, slots=True)
class Caused:
    """Effects on one sentence, in logits; `apart` is the whole way between the two of a pair.

    patched    of each of DIRECTIONS
    cut_layers (L, roles) loss of difference with the edges of the last column cut in one layer
    cut_heads  (L, H) the same with the edge of one head to the subject cut
    """

    apart: float
    patched: Mapping[str, Patched]
    knocked: Knocked
    cut_layers: Floats
    cut_heads: Floats


def roles_of(item: Item) -> NDArray[np.int64]:
    """The place in WEIGHT_ROLES of each column of the prefix: (T,)."""
    found = np.full(len(item.ids), WEIGHT_ROLES.index(OTHER))
    found[0] = WEIGHT_ROLES.index(FIRST)
    for role in (SUBJECT, ATTRACTORS, ADVERB):
        found[list(item.places[role])] = WEIGHT_ROLES.index(role)
    return found


def control_column(item: Item) -> tuple[int, ...]:
    """The column of no role that is nearest to the subject, later ones first; () of none."""
    subject = item.places[SUBJECT][-1]
    free = np.flatnonzero(roles_of(item) == WEIGHT_ROLES.index(OTHER))
    free = free[free != item.last]
    if not free.size:
        return ()
    return (int(min(free, key=lambda column: (abs(column - subject), -column))),)


def cut_columns(item: Item) -> tuple[tuple[int, ...], ...]:
    """The columns of each of CUT_ROLES."""
    return (
        item.places[SUBJECT], item.places[ATTRACTORS], item.places[ADVERB], control_column(item)
    )  # fmt: skip


def patch_columns(item: Item) -> tuple[tuple[int, ...], ...]:
    """The columns of each of PATCH_ROLES.

    The last column stands apart: the answer is read from it, so that its state restores
    everything at the top, whatever word stands there.
    """
    roles = (SUBJECT, ATTRACTORS, ADVERB)
    inner = (tuple(c for c in item.places[role] if c != item.last) for role in roles)
    return (*inner, (item.last,))


@torch.inference_mode()
def look(model: Transformer, item: Item) -> Looked:
    """The weights of every head from the last token, and from the right verb behind it."""
    at_last, at_verb = (
        _last_weights(model, plain_run(model, ids)) for ids in (item.ids, (*item.ids, item.right))
    )
    return Looked(at_last, at_verb, roles_of(item))


def _last_weights(model: Transformer, run: Run) -> Floats:
    layers = range(model.config.layers)
    weights = [run.activations[f"blocks.{n}.attention.pattern"][:, -1] for n in layers]
    found: Floats = torch.stack(weights).double().cpu().numpy()
    return found


@torch.inference_mode()
def knocked_out(
    model: Transformer, item: Item, windows: Sequence[tuple[int, int]], run: Run | None = None
) -> Knocked:
    """The sentence's logit difference, and after cutting each role in windows (first, last)."""
    run = run or plain_run(model, item.ids)
    columns = cut_columns(item)
    found = []
    for everywhere in (False, True):
        trials = {
            (w, r): cutting(range(first, last + 1), at, item.last, everywhere=everywhere)
            for w, (first, last) in enumerate(windows)
            for r, at in enumerate(columns)
            if at
        }
        found.append(_filled(model, run, item, trials, (len(windows), len(columns))))
    return Knocked(clean_difference(model, run, item.verbs), *found)


@torch.inference_mode()
def causes(model: Transformer, item: Item, plan: Plan) -> Caused:
    """Every patch and every cut of one sentence."""
    own, twin = plain_run(model, item.ids), plain_run(model, item.swapped)
    clean, other = (clean_difference(model, run, item.verbs) for run in (own, twin))
    into_twin = _patches(model, item, twin, own, plan)
    into_own = _patches(model, item, own, twin, plan)
    layers, heads = model.config.layers, model.config.query_heads
    columns = cut_columns(item)
    by_layer = {
        (layer, r): cutting([layer], at, item.last)
        for layer in range(layers)
        for r, at in enumerate(columns)
        if at
    }
    by_head = {
        (layer, head): cutting([layer], item.places[SUBJECT], item.last, head)
        for layer in range(layers)
        for head in range(heads)
    }
    return Caused(
        clean - other,
        {
            "restoring": _moved(into_twin, other, 1),
            "breaking": _moved(into_own, clean, -1),
        },
        knocked_out(model, item, plan.windows, own),
        clean - _filled(model, own, item, by_layer, (layers, len(columns))),
        clean - _filled(model, own, item, by_head, (layers, heads)),
    )


def _moved(found: Patched, start: float, sign: int) -> Patched:
    return Patched(
        sign * (found.states - start),
        sign * (found.outputs - start),
        sign * (found.heads - start),
        sign * (found.heads_everywhere - start),
    )


def _patches(model: Transformer, item: Item, receiver: Run, donor: Run, plan: Plan) -> Patched:
    """Logit differences where something of the receiving run is the donor's."""
    every, heads = range(model.config.layers), range(model.config.query_heads)
    last = [item.last]
    states = {
        (q, r): putting(donor, layer, "residual", at)
        for q, layer in enumerate(plan.layers)
        for r, at in enumerate(patch_columns(item))
        if at
    }
    outputs = {
        (p, n): putting(donor, n, part, last) for p, part in enumerate(OUTPUTS) for n in every
    }
    at_last = {(n, h): putting(donor, n, "attention.heads", last, h) for n in every for h in heads}
    # Before the subject both runs are the same.
    onward = range(item.places[SUBJECT][0], item.last + 1)
    at_all = {(n, h): putting(donor, n, "attention.heads", onward, h) for n in every for h in heads}

    shape = (len(every), len(heads))
    return Patched(
        _filled(model, receiver, item, states, (len(plan.layers), len(PATCH_ROLES))),
        _filled(model, receiver, item, outputs, (len(OUTPUTS), len(every))),
        _filled(model, receiver, item, at_last, shape),
        _filled(model, receiver, item, at_all if plan.heads_everywhere else {}, shape),
    )


def _filled(
    model: Transformer,
    run: Run,
    item: Item,
    trials: Mapping[tuple[int, int], Trial],
    shape: tuple[int, int],
) -> Floats:
    """The logit difference of each trial in its cell; NaN where nothing is tried."""
    found = np.full(shape, np.nan)
    for cell, value in zip(
        trials, tried(model, run, list(trials.values()), item.verbs), strict=True
    ):
        found[cell] = value
    return found
