"""What becomes of copying, and of learning from the context, without some heads.

A head is taken away by giving, at every place, its mean output over rows and places (mean
ablation): what it tells of this text is gone, what it always adds stays. The control takes as many
other heads of the same layers, drawn at random several times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.attention.induction import Head
from tokkit.analysis.positions.losses import check_finite, nats_after
from tokkit.model.config import ModelConfig
from tokkit.model.intervention import Change, intervene
from tokkit.model.layout import Layout
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
_BATCH_TOKENS = 1024
EARLY, LATE = (1 / 16, 3 / 16), (7 / 8, 1.0)
"""Parts of a window: Olsson et al. 2022 compare the 50th with the 500th of 512 tokens."""


def mean_outputs(model: Transformer, rows: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
    """The mean of each head's mixed values over rows (N, T) and places: layer -> (H, K)."""
    names = {layer: f"blocks.{layer}.attention.heads" for layer in layers}
    sums: dict[int, Tensor] = {}
    step = max(1, _BATCH_TOKENS // rows.shape[1])
    with torch.inference_mode(), trace(model, names.values()) as found:
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            model.hidden(part)
            for layer, name in names.items():
                added = found[name].double().mean(2).sum(0)
                sums[layer] = sums[layer] + added if layer in sums else added
    return {layer: (total / len(rows)).float() for layer, total in sums.items()}


@contextmanager
def without(
    model: Transformer, heads: Sequence[Head], means: Mapping[int, Tensor]
) -> Iterator[None]:
    """Let each of the heads give its mean, (H, K) by layer, in every pass of the `with` block."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)

    def change(layer: int, own: list[int]) -> Change:
        def apply(mixed: Tensor) -> Tensor:
            mixed = mixed.clone()
            mixed[:, own] = means[layer][own][:, None].to(mixed)
            return mixed

        return apply

    changes = {
        f"blocks.{layer}.attention.heads": change(layer, own) for layer, own in by_layer.items()
    }
    with intervene(model, changes):
        yield


def entering(model: Transformer, rows: Tensor, layer: int) -> Tensor:
    """What enters the block of a layer, (N, T, D), of rows (N, T)."""
    name = f"blocks.{layer - 1}.residual" if layer else "embedding"
    step, parts = max(1, _BATCH_TOKENS // rows.shape[1]), []
    with torch.inference_mode(), trace(model, [name]) as found:
        for start in range(0, len(rows), step):
            model.hidden(rows[start : start + step])
            parts.append(found[name])
    return torch.cat(parts)


def losses_without(
    model: Transformer,
    rows: Tensor,
    stream: Tensor,
    layer: int,
    heads: Sequence[Head],
    means: Mapping[int, Tensor],
    *,
    given: int,
) -> Floats:
    """Nats (N, T - given) of rows (N, T) with the heads taken away; as it is with none.

    `stream` (N, T, D) is what enters block `layer`, at or below the first of the heads: what lies
    before is the same for every set of heads, and is not worked out again.
    """
    layout = Layout(model.config, rows.shape[1], rows.device)
    step, parts = max(1, _BATCH_TOKENS // rows.shape[1]), []
    with torch.inference_mode(), without(model, heads, means):
        for start in range(0, len(rows), step):
            x = stream[start : start + step]
            for block in list(model.blocks)[layer:]:
                x = block(x, None, layout, None)
            hidden = x if model.final_norm is None else model.final_norm(x)
            parts.append(nats_after(model, hidden, rows[start : start + step], max(1, given)))
    found: Floats = torch.cat(parts).double().numpy()
    check_finite(found)
    return found


def other_heads(
    config: ModelConfig, heads: Sequence[Head], generator: np.random.Generator
) -> list[Head]:
    """As many other heads of the same layers; where a layer has too few, of any layer."""
    taken = set(heads)
    chosen: list[Head] = []
    for layer in sorted({layer for layer, _ in heads}):
        free = [(layer, h) for h in range(config.query_heads) if (layer, h) not in taken]
        wanted = min(len(free), sum(own == layer for own, _ in heads))
        chosen += [free[i] for i in generator.permutation(len(free))[:wanted]]
    rest = [at for at in np.ndindex(config.layers, config.query_heads)
            if at not in taken and at not in set(chosen)]  # fmt: skip
    missing = min(len(rest), len(heads) - len(chosen))
    return chosen + [rest[i] for i in generator.permutation(len(rest))[:missing]]


def in_context_scores(nats: Floats) -> Floats:
    """Loss late in each row less the loss early in it, (N,) nats a token; below 0 the model learns.

    `nats` is (N, P); the parts are EARLY and LATE of a row (Olsson et al. 2022).
    """
    length = nats.shape[1]

    def part(bounds: tuple[float, float]) -> Floats:
        first = int(bounds[0] * length)
        last = max(first + 1, int(bounds[1] * length))
        found: Floats = nats[:, first:last].mean(1)
        return found

    return part(LATE) - part(EARLY)
