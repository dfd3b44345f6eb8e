"""Attention patterns from traced queries and keys, and what they weigh at each distance.

B rows, H query heads, T columns, Q queries: the last Q columns, so that query r stands at column
T - Q + r.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tokkit.errors import ArtifactError
from tokkit.model.attention import Attention
from tokkit.model.layout import Layout
from tokkit.model.positions import rotary_frequencies, rotary_tables, rotate
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

_BATCH_TOKENS = 1024
_TRACED_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Traced:
    """One pass over a few rows: which, their layout, and what flowed by.

    `pairs` holds each layer's queries (B, H, T, K) and keys (B, G, T, K) as attention multiplies
    them, rotated where the model rotates; `hidden` (B, T, D) is what is unembedded.
    """

    rows: slice
    layout: Layout
    pairs: list[tuple[Tensor, Tensor]]
    hidden: Tensor


def traced(model: Transformer, ids: Tensor) -> Iterator[Traced]:
    """Pass ids (N, T) int64 a few rows at a time: never more than _TRACED_BYTES held, or one row.

    Raises ArtifactError where queries or keys are not finite.
    """
    config, length = model.config, ids.shape[1]
    row_bytes = 4 * length * config.head_width * config.layers
    row_bytes *= config.query_heads + config.key_value_heads
    step = max(1, min(_BATCH_TOKENS // length, _TRACED_BYTES // row_bytes))
    names = [
        f"blocks.{layer}.attention.{side}"
        for layer in range(config.layers)
        for side in ("query", "key")
    ]
    for start in range(0, len(ids), step):
        part = ids[start : start + step]
        with trace(model, names) as found:
            hidden = model.hidden(part)
        pairs = [(found[names[2 * n]], found[names[2 * n + 1]]) for n in range(config.layers)]
        if not all(bool(side.isfinite().all()) for pair in pairs for side in pair):
            raise ArtifactError(
                "the model's queries and keys must be finite, but some are NaN or infinite: its "
                "weights are damaged, get the model again"
            )
        layout = Layout(config, length, ids.device)
        yield Traced(slice(start, start + len(part)), layout, pairs, hidden)


def attention_of(model: Transformer, layer: int) -> Attention:
    """The attention of one layer."""
    found = model.blocks[layer].attention
    assert isinstance(found, Attention)
    return found


def pattern(
    attention: Attention, query: Tensor, key: Tensor, layout: Layout, queries: int = 0
) -> Tensor:
    """The weights that attention gives, (B, H, Q, T), of the last `queries` columns (0: all).

    As in tokkit.model.attention, from what `traced` gives.
    """
    config = attention.config
    length = key.shape[2]
    first = length - (queries or length)
    key = key.repeat_interleave(config.query_heads // config.key_value_heads, dim=1)
    scores = query[:, :, first:] @ key.transpose(-1, -2) * config.score_scale
    if cap := config.attention_softcap:
        scores = cap * (scores / cap).tanh()
    return (scores + bias_of(attention, layout)[..., first:, :]).softmax(-1)


def bias_of(attention: Attention, layout: Layout) -> Tensor:
    """What is added to scores: (1, H or 1, T, T), -inf where a query does not see."""
    bias = layout.bias(
        sliding=attention.sliding, slopes=attention.slopes, key_columns=None, at=None
    )
    if bias is not None:
        return bias
    return torch.full((layout.time, layout.time), -math.inf).triu(1)[None, None]


def by_distance(weights: Tensor) -> Tensor:
    """Columns turned into distances: (..., Q, T) with [r, d] the weight of the key d before r's.

    Weights right of each query must be 0; distances beyond the first column get 0.
    """
    queries, length = weights.shape[-2:]
    # One column more, keys in reverse: then a row of the flat memory starts one distance later
    # than the row above, and reading rows of `length` undoes the slant.
    flat = functional.pad(weights.flip(-1), (0, 1)).flatten(-2)
    skipped = queries - 1
    found: Tensor = flat[..., skipped : skipped + queries * length]
    return found.reshape(*weights.shape)


def unrotated(attention: Attention, x: Tensor) -> Tensor:
    """Queries or keys (B, heads, T, K) as before their rotation, but for YaRN's factor."""
    return turned(attention, x, back=True)


def turned(attention: Attention, x: Tensor, *, back: bool = False) -> Tensor:
    """Queries or keys rotated by their columns, or back; as they are without rotary positions."""
    if attention.tables is None:
        return x
    frequencies, _ = rotary_frequencies(attention.config, sliding=attention.sliding)
    cosines, sines = rotary_tables(frequencies, x.shape[2])
    return rotate(x, cosines, -sines if back else sines)


def dealt(attention: Attention, x: Tensor, generator: np.random.Generator) -> Tensor:
    """The same queries or keys at other columns, and rotated by those; the first one stays."""
    length = x.shape[2]
    order = torch.from_numpy(np.concatenate(([0], 1 + generator.permutation(length - 1))))
    return turned(attention, unrotated(attention, x)[:, :, order])


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers of the same spread in each head and place of the vector, without a mean."""
    spread = x.square().mean(2, keepdim=True).sqrt()
    return torch.randn(x.shape, generator=generator) * spread
