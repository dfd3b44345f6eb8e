"""Passes with something changed: patches from a twin sentence, and attention edges cut.

A change in one layer leaves all layers below it as they were, and all columns before its first. So
the trials of a sentence share one climb through the layers: each joins at its own layer, at the
columns from its first on, beside the kept keys and values of those before. That is what makes
looking at every head of a real model affordable; tests hold it against whole passes.

R rows (trials run at once), T columns, L layers, H heads, S columns that are worked out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.model.cache import Cache, LayerCache
from tokkit.model.intervention import Change, intervene
from tokkit.model.layout import Layout
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
Edit = Callable[[Tensor, int], None]
"""Changes one row's activation in place; the number is the column that its first one stands for."""
PARTS = ("attention.pattern", "attention.heads", "attention", "feedforward", "residual")
_LEAST = 1e-30
_ROW_FLOATS = 1 << 26  # about what the widest activation of a climb may hold


@dataclass(frozen=True, slots=True)
class Run:
    """One plain pass over a text: what its climbs start from.

    `streams` (1, T, D) enter each layer, the last leaves them; `cache` holds keys and values;
    `activations` are those of PARTS by name, without the batch axis.
    """

    streams: list[Tensor]
    cache: Cache
    activations: Mapping[str, Tensor]

    @property
    def columns(self) -> int:
        """How many tokens the text has."""
        return int(self.streams[0].shape[1])


@dataclass(frozen=True, slots=True)
class Trial:
    """What is changed in one row: edits by layer and part, at columns from `first` on."""

    edits: Mapping[tuple[int, str], Edit]
    first: int

    @property
    def layer(self) -> int:
        """The lowest layer that it changes."""
        return min(layer for layer, _ in self.edits)


def plain_run(model: Transformer, ids: Sequence[int]) -> Run:
    """Pass one text, keeping what climbs need."""
    row = torch.tensor([list(ids)], device=model.embedding.device)
    layout = Layout(model.config, len(ids), row.device)
    stream: Tensor = model.tap_embedding(model.embed(row, layout))
    cache = Cache(model.config, 1, len(ids), dtype=stream.dtype, device=stream.device)
    names = [f"blocks.{layer}.{part}" for layer in range(model.config.layers) for part in PARTS]
    streams = [stream]
    with trace(model, names) as found:
        for layer, block in enumerate(model.blocks):
            streams.append(block(streams[-1], None, layout, cache.layers[layer]))
    return Run(streams, cache, {name: value[0] for name, value in found.items()})


def differences(model: Transformer, streams: Tensor, verbs: tuple[int, int]) -> Floats:
    """Logit of the first verb minus that of the second, of last streams (R, D): (R,)."""
    final = streams if model.final_norm is None else model.final_norm(streams)
    logits = final @ model.unembedding_matrix[list(verbs)].T
    if cap := model.config.logit_softcap:
        logits = cap * (logits / cap).tanh()
    found: Floats = (logits[:, 0] - logits[:, 1]).double().cpu().numpy()
    return found


def clean_difference(model: Transformer, run: Run, verbs: tuple[int, int]) -> float:
    """What `differences` gives of the text as it is."""
    return float(differences(model, run.streams[-1][:, -1], verbs)[0])


def tried(model: Transformer, run: Run, trials: Sequence[Trial], verbs: tuple[int, int]) -> Floats:
    """The logit difference after the last column in each trial: (R,)."""
    found = np.zeros(len(trials))
    slides = any(len(layer.columns) < run.columns for layer in run.cache.layers)
    # A window that has moved on holds no keys of the beginning: then all columns are run anew.
    starts = [0 if slides else trial.first for trial in trials]
    for first in sorted(set(starts)):
        own = [place for place, start in enumerate(starts) if start == first]
        own.sort(key=lambda place: trials[place].layer)
        widest = max(model.config.hidden_width, model.config.width)
        step = max(1, _ROW_FLOATS // ((run.columns - first) * widest))
        for start in range(0, len(own), step):
            part = own[start : start + step]
            last = _climb(model, run, [trials[place] for place in part], first)
            found[part] = differences(model, last, verbs)
    return found


def _climb(model: Transformer, run: Run, trials: Sequence[Trial], first: int) -> Tensor:
    """The last column's stream, (R, D), of trials in the order of their layers."""
    layout = Layout(model.config, run.columns - first, run.streams[0].device, start=first)
    stream = run.streams[0][:0, first:]
    for layer, block in enumerate(model.blocks):
        joining = sum(trial.layer == layer for trial in trials)
        entering = run.streams[layer][:, first:].expand(joining, -1, -1)
        stream = torch.cat((stream, entering))
        if not len(stream):
            continue
        cache = _held(model, run, layer, len(stream), first) if first else None
        changes = _changes(trials[: len(stream)], layer, first)
        with intervene(model, changes) if changes else nullcontext():
            stream = block(stream, None, layout, cache)
    return stream[:, -1]


def _changes(trials: Sequence[Trial], layer: int, first: int) -> dict[str, Change]:
    def change(edits: Sequence[tuple[int, Edit]]) -> Change:
        def apply(values: Tensor) -> Tensor:
            values = values.clone()
            for row, edit in edits:
                edit(values[row], first)
            return values

        return apply

    found = {}
    for part in PARTS:
        rows = [(row, t.edits[layer, part]) for row, t in enumerate(trials)
                if (layer, part) in t.edits]  # fmt: skip
        if rows:
            found[f"blocks.{layer}.{part}"] = change(rows)
    return found


def _held(model: Transformer, run: Run, layer: int, rows: int, first: int) -> LayerCache:
    """The run's keys and values of the columns before `first`, for every row."""
    kept = run.cache.layers[layer]
    shape = (rows, run.columns)
    cache = LayerCache(model.config, layer, shape, kept.keys.dtype, kept.keys.device)
    sides = (side[:, :, :first].expand(rows, -1, -1, -1) for side in (kept.keys, kept.values))
    cache.append(*sides)
    return cache


def putting(
    donor: Run, layer: int, part: str, columns: Sequence[int], head: int | None = None
) -> Trial:
    """Let a part of a layer at some columns, or one head of it, be what it is in another run."""
    at = list(columns)
    value = donor.activations[f"blocks.{layer}.{part}"]

    def edit(values: Tensor, first: int) -> None:
        here = [column - first for column in at]
        if head is None:
            values[here] = value[at]
        else:
            values[head, here] = value[head, at]

    return Trial({(layer, part): edit}, min(at))


def cutting(
    layers: Sequence[int], columns: Sequence[int], last: int, head: int | None = None,
    *, everywhere: bool = False,
) -> Trial:  # fmt: skip
    """Take attention edges to some columns away: from the last one, or from every later one.

    What is left of each query's weights is scaled up to 1 again, as if the scores had been -inf
    before the softmax. `head` None is all heads. From the last column its edge to itself goes too
    where it is named.
    """
    heads = slice(None) if head is None else slice(head, head + 1)

    def edit(pattern: Tensor, first: int) -> None:
        for column in columns:
            queries = slice(max(0, column + 1 - first) if everywhere else last - first, None)
            pattern[heads, queries, column] = 0
        pattern /= pattern.sum(-1, keepdim=True).clamp(min=_LEAST)

    start = min(min(columns) + 1, last) if everywhere else last
    return Trial({(layer, "attention.pattern"): edit for layer in layers}, start)
