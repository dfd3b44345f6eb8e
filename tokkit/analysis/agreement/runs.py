"""Passes with something changed: patches from a twin sentence, and attention edges cut.

What is changed at the last column alone cannot reach the columns before it, so these are kept and
only the last token is worked out anew, once for every change: that is what makes looking at every
head of a real model affordable.

R rows (changes tried at once), T columns, L layers, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.agreement.items import Item
from tokkit.model.cache import Cache
from tokkit.model.intervention import Change, Patch, intervene, patched
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
_LEAST = 1e-30


@dataclass(frozen=True, slots=True)
class Cut:
    """Attention edges taken away in one row: from `queries` to `columns`, of one layer.

    `head` None is all heads. Of every query what is left is scaled up to 1 again, as if the cut
    scores had been -inf before the softmax. Edges of a column to itself stay, unless the query is
    named.
    """

    row: int
    layer: int
    columns: tuple[int, ...]
    head: int | None = None


def ids_of(row: Sequence[int]) -> Tensor:
    """One row of ids, (1, T)."""
    return torch.tensor([list(row)])


def difference(logits: Tensor, item: Item) -> Floats:
    """Logit of the right verb minus that of the wrong one, of logits (R, V): (R,)."""
    found: Floats = (logits[:, item.right] - logits[:, item.wrong]).double().numpy()
    return found


def whole_pass(model: Transformer, ids: Sequence[int], rows: int = 1) -> Tensor:
    """Logits after the last column of `rows` copies of a text: (R, V)."""
    hidden = model.hidden(ids_of(ids).expand(rows, -1).contiguous())
    return model.unembed(hidden[:, -1])


def last_step(model: Transformer, ids: Sequence[int], rows: int) -> Iterator[Tensor]:
    """Yield once before the last token of `rows` copies goes in; then its logits (R, V).

    For use by `at_last`, which puts the changes between the two.
    """
    cache = Cache(model.config, 1, len(ids))
    if len(ids) > 1:
        model.hidden(ids_of(ids[:-1]), cache=cache)
    cache.select(torch.zeros(rows, dtype=torch.long))
    yield torch.empty(0)
    hidden = model.hidden(ids_of(ids[-1:]).expand(rows, -1).contiguous(), cache=cache)
    yield model.unembed(hidden[:, -1])


def patched_at_last(
    model: Transformer, ids: Sequence[int], rows: int, patches: Sequence[Patch]
) -> Tensor:
    """Logits (R, V) where activations of the last column are patched; it is column 0 of them."""
    steps = last_step(model, ids, rows)
    next(steps)
    with patched(model, patches):
        return next(steps)


def cut_at_last(model: Transformer, ids: Sequence[int], rows: int, cuts: Sequence[Cut]) -> Tensor:
    """Logits (R, V) where the last column does not see what is cut, itself among it."""
    steps = last_step(model, ids, rows)
    next(steps)
    with _cutting(model, cuts, len(ids), from_last=True):
        return next(steps)


def cut_everywhere(
    model: Transformer, ids: Sequence[int], rows: int, cuts: Sequence[Cut]
) -> Tensor:
    """Logits (R, V) where no later column sees what is cut."""
    with _cutting(model, cuts, len(ids), from_last=False):
        return whole_pass(model, ids, rows)


@contextmanager
def _cutting(
    model: Transformer, cuts: Sequence[Cut], columns: int, *, from_last: bool
) -> Iterator[None]:
    by_layer: dict[int, list[Cut]] = {}
    for cut in cuts:
        by_layer.setdefault(cut.layer, []).append(cut)

    def change(of: Sequence[Cut], layer: int) -> Change:
        attention = model.blocks[layer].attention
        window = model.config.window if attention.sliding else 0

        def apply(pattern: Tensor) -> Tensor:
            # The slots of a sliding layer's cache hold its last columns, in turn.
            slots = pattern.shape[-1]
            pattern = pattern.clone()
            for cut in of:
                heads = slice(None) if cut.head is None else slice(cut.head, cut.head + 1)
                for column in cut.columns:
                    if from_last:
                        if window and columns - column > window:
                            continue
                        pattern[cut.row, heads, :, column % slots] = 0
                    else:
                        pattern[cut.row, heads, column + 1 :, column] = 0
            return pattern / pattern.sum(-1, keepdim=True).clamp(min=_LEAST)

        return apply

    names = {f"blocks.{n}.attention.pattern": change(of, n) for n, of in by_layer.items()}
    with intervene(model, names):
        yield


def activations(model: Transformer, ids: Sequence[int], names: Sequence[str]) -> dict[str, Tensor]:
    """Named activations of one text, without the batch axis."""
    with trace(model, names) as found:
        whole_pass(model, ids)
    return {name: value[0] for name, value in found.items()}


def masses(model: Transformer, ids: Sequence[int]) -> Floats:
    """What every head gives each column from the last one: (L, H, T)."""
    names = [f"blocks.{layer}.attention.pattern" for layer in range(model.config.layers)]
    found = activations(model, ids, names)
    stacked: Floats = torch.stack([found[name][:, -1] for name in names]).double().numpy()
    return stacked
