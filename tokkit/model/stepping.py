"""One token more of each row, without ceremony: what `Transformer` does for a single new column.

A small model spends most of a step on the way to its arithmetic: calls of modules, checks, masks
made anew in every layer. Here the same tensors are multiplied in one plain loop over the layers.
`Transformer` with a cache is the oracle; settings that `can_step` refuses go its way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tokkit.model import fused
from tokkit.model.cache import Cache
from tokkit.model.feedforward import FeedForward, activate
from tokkit.model.layers import Linear, Norm
from tokkit.model.positions import sinusoidal_table
from tokkit.model.transformer import Block, Transformer


def can_step(model: Transformer) -> bool:
    """Whether `Stepper` knows the model's settings; not where a trace looks at what flows by."""
    config = model.config
    return (
        config.norm_place in ("pre", "sandwich")
        and config.positions != "alibi"
        and config.attention_softcap == 0
        and config.experts == 0
        and config.token_features == 0
        and not any(module._forward_hooks for module in model.modules())
    )


_Weights = tuple[Tensor, Tensor | None]


@dataclass(slots=True)
class _Norm:
    """A norm's numbers; `weight` is what is multiplied by, its offset added."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is not None:
            return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)
        scale = x.square().mean(-1, keepdim=True).add_(self.epsilon).rsqrt_()
        return (x * scale).mul_(self.weight)


@dataclass(slots=True)
class _Layer:
    """The parameters of a block and its keys and values, (B, G, slots, K)."""

    block: Block
    attention_norm: _Norm
    feedforward_norm: _Norm
    attention_post_norm: _Norm | None
    feedforward_post_norm: _Norm | None
    query_norm: _Norm | None
    key_norm: _Norm | None
    query: _Weights
    key: _Weights
    value: _Weights
    output: _Weights
    gate: _Weights | None
    up: _Weights
    down: _Weights
    kind: str
    sliding: bool
    keys: Tensor
    values: Tensor


class Stepper:
    """Reads one more token of each row of a cache that holds the prompts.

    From then on the cache is the stepper's: its tensors are written, its counts are not.
    """

    def __init__(self, model: Transformer, cache: Cache) -> None:
        self._model, self._config = model, model.config
        self._column, self._capacity = cache.length, cache.capacity
        self._padding = cache.padding
        blocks = [block for block in model.blocks if isinstance(block, Block)]
        self._layers = [_layer(block, cache, number) for number, block in enumerate(blocks)]
        self._final = None if model.final_norm is None else _norm(model.final_norm)
        self._tables = {sliding: self._rotary(sliding) for sliding in self._kinds()}
        self._swap = _swapped(self._config.head_width, self._config.rotary_width, model)
        self._bias = self._padding_bias()  # (B, 1, 1, capacity)
        table: Tensor | None = model.position_embedding
        if self._config.positions == "sinusoidal":
            table = sinusoidal_table(self._capacity, self._config.width).to(model.embedding)
        self._position_table = table

    def select(self, rows: Tensor) -> None:
        """Keep these rows, (n,) int64."""
        for layer in self._layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        if self._padding is not None:
            self._padding = self._padding[rows]
            self._bias = self._padding_bias()

    def __call__(self, ids: Tensor) -> Tensor:
        """The logits (B, V) after one more token of each row, (B,) int64."""
        model = self._model
        positions = None if self._padding is None else self._column - self._padding  # (B,)
        x = functional.embedding(ids, model.embedding)
        if self._config.embedding_scale != 1:
            x = x * self._config.embedding_scale
        if self._position_table is not None:
            x = x + self._position_table[self._column if positions is None else positions]
        angles = {kind: self._angles(kind, positions) for kind in self._tables}
        seen = {kind: self._seen(kind) for kind in self._tables}
        for layer in self._layers:
            x = self._read(layer, x, angles[layer.sliding], seen[layer.sliding])
        self._column += 1
        if self._final is not None:
            x = self._final(x)
        return model.unembed(x)

    def _read(
        self,
        layer: _Layer,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        seen: tuple[int, int, Tensor | None],
    ) -> Tensor:
        """One layer: (B, D) -> (B, D)."""
        added = self._attend(layer, layer.attention_norm(x), angles, seen)
        if layer.attention_post_norm is not None:
            added = layer.attention_post_norm(added)
        x = x + added
        normed = layer.feedforward_norm(x)
        if layer.gate is None:
            hidden = activate(fused.linear(normed, *layer.up), layer.kind)
        else:
            hidden = activate(fused.linear(normed, *layer.gate), layer.kind)
            hidden = hidden.mul_(fused.linear(normed, *layer.up))
        added = fused.linear(hidden, *layer.down)
        if layer.feedforward_post_norm is not None:
            added = layer.feedforward_post_norm(added)
        return x.add_(added)

    def _attend(
        self,
        layer: _Layer,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        seen: tuple[int, int, Tensor | None],
    ) -> Tensor:
        """Attention of one query a head to the columns so far; those that share keys together."""
        batch, width, groups = len(x), self._config.head_width, self._config.key_value_heads
        query = fused.linear(x, *layer.query).view(batch, -1, width)  # B H K
        key = fused.linear(x, *layer.key).view(batch, groups, width)  # B G K
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = layer.query_norm(query), layer.key_norm(key)
        if angles is not None:
            query, key = self._turned(query, angles), self._turned(key, angles)
        slot, held, bias = seen
        layer.keys.select(2, slot).copy_(key)
        value = fused.linear(x, *layer.value).view(batch, groups, width)
        layer.values.select(2, slot).copy_(value)
        mixed = functional.scaled_dot_product_attention(
            query.view(batch, groups, -1, width),
            layer.keys.narrow(2, 0, held),
            layer.values.narrow(2, 0, held),
            attn_mask=bias,
            scale=self._config.score_scale,
        )
        return fused.linear(mixed.reshape(batch, -1), *layer.output)

    def _turned(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """(B, heads, K) with each pair turned: x cos + (its partner) (-sin or sin)."""
        cosines, sines = angles
        return (x * cosines).addcmul_(x.index_select(2, self._swap), sines)

    def _kinds(self) -> set[bool]:
        return {layer.sliding for layer in self._layers}

    def _rotary(self, sliding: bool) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of all positions over a whole head, (capacity, K): 1 and 0 for the
        numbers that are not rotated, sines negative for the first of each pair.
        """
        layer = next(layer for layer in self._layers if layer.sliding == sliding)
        tables = layer.block.attention.tables
        if tables is None:
            return None
        device = layer.keys.device
        cosines, sines = (t[: self._capacity] for t in tables.upto(self._capacity, device))
        rest = self._config.head_width - self._config.rotary_width
        kept = cosines.new_ones(len(cosines), rest)
        whole = torch.cat((cosines, cosines, kept), dim=1), torch.cat((-sines, sines, 0 * kept), 1)
        return whole[0].to(layer.keys.dtype), whole[1].to(layer.keys.dtype)

    def _angles(self, sliding: bool, positions: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """The new column's cosines and sines, (K,) or (B, 1, K)."""
        tables = self._tables[sliding]
        if tables is None:
            return None
        if positions is None:
            return tables[0][self._column], tables[1][self._column]
        return tables[0][positions][:, None], tables[1][positions][:, None]

    def _seen(self, sliding: bool) -> tuple[int, int, Tensor | None]:
        """Where the new column's keys go, how many slots are held then, and what hides padding."""
        slots = min(self._config.window, self._capacity) if sliding else self._capacity
        slot, held = self._column % slots, min(self._column + 1, slots)
        if self._bias is None:
            return slot, held, None
        if self._column < slots:
            return slot, held, self._bias[..., :held]
        # Slot s holds the newest column c <= the present one with c % slots = s.
        numbers = torch.arange(slots, device=self._bias.device)
        columns = self._column - (self._column - numbers) % slots
        return slot, held, self._bias[..., columns]

    def _padding_bias(self) -> Tensor | None:
        if self._padding is None:
            return None
        columns = torch.arange(self._capacity, device=self._padding.device)
        hidden = (columns < self._padding[:, None])[:, None, None]
        zeros = torch.zeros(hidden.shape, device=hidden.device, dtype=self._model.embedding.dtype)
        return zeros.masked_fill(hidden, -math.inf)


def _layer(block: Block, cache: Cache, number: int) -> _Layer:
    attention, feedforward, kept = block.attention, block.feedforward, cache.layers[number]
    assert isinstance(feedforward, FeedForward), "mixtures go the way of Transformer"
    return _Layer(
        block=block,
        attention_norm=_norm(block.attention_norm),
        feedforward_norm=_norm(block.feedforward_norm),
        attention_post_norm=_optional(block.attention_post_norm),
        feedforward_post_norm=_optional(block.feedforward_post_norm),
        query_norm=_optional(attention.query_norm),
        key_norm=_optional(attention.key_norm),
        query=_weights(attention.query),
        key=_weights(attention.key),
        value=_weights(attention.value),
        output=_weights(attention.output),
        gate=None if feedforward.gate is None else _weights(feedforward.gate),
        up=_weights(feedforward.up),
        down=_weights(feedforward.down),
        kind=feedforward.kind,
        sliding=attention.sliding,
        keys=kept.keys,
        values=kept.values,
    )


def _norm(norm: Norm) -> _Norm:
    weight = 1 + norm.weight if norm.offset else norm.weight
    return _Norm(weight, norm.bias, norm.epsilon)


def _optional(norm: Norm | None) -> _Norm | None:
    return None if norm is None else _norm(norm)


def _weights(linear: Linear) -> _Weights:
    return linear.weight, linear.bias


def _swapped(head_width: int, rotary_width: int, model: Transformer) -> Tensor:
    """The place of each number's partner in its pair, (K,); its own where it has none."""
    half = rotary_width // 2
    order = [*range(half, rotary_width), *range(half), *range(rotary_width, head_width)]
    return torch.tensor(order, device=model.embedding.device)
