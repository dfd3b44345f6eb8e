"""Causal self-attention: learned matching of queries with the keys of what came before.

Sources: Vaswani et al. 2017; Shazeer 2019 (multi-query) and Ainslie et al. 2023 (grouped
queries); Beltagy et al. 2020 (sliding window); Henry et al. 2020 (query-key norm); the Gemma
team, Riviere et al. 2024 (soft-capped scores).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokkit.model import fused
from tokkit.model.cache import LayerCache
from tokkit.model.config import ModelConfig
from tokkit.model.layers import Linear, Norm, Tap
from tokkit.model.layout import Layout, Places
from tokkit.model.positions import RotaryTables, alibi_slopes


def take(x: Tensor, at: Places) -> Tensor:
    """The vectors of x (B, T, D) at N places, as sequences of one: (N, 1, D)."""
    return x[at][:, None]


class Attention(nn.Module):
    """Causal self-attention with H query heads and G key-value heads."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        self.config = config
        self.sliding = config.is_sliding(layer)
        width = config.width
        queries = config.query_heads * config.head_width
        keys = config.key_value_heads * config.head_width
        bias = config.linear_bias or config.attention_bias != "none"
        self.query = Linear(width, queries, bias=bias)
        self.key = Linear(width, keys, bias=bias)
        self.value = Linear(width, keys, bias=bias)
        output_bias = config.linear_bias or config.attention_bias == "all"
        self.output = Linear(queries, width, bias=output_bias)
        self.query_norm = Norm(config, config.head_width) if config.qk_norm else None
        self.key_norm = Norm(config, config.head_width) if config.qk_norm else None
        self.tap_query, self.tap_key, self.tap_value = Tap(), Tap(), Tap()
        self.tap_pattern, self.tap_heads = Tap(), Tap()
        # Plain tensors outside of the state dict: a model of a file's weights makes them alike.
        self.slopes = alibi_slopes(config.query_heads) if config.positions == "alibi" else None
        rotary = config.positions == "rope"
        self.tables = RotaryTables(config, sliding=self.sliding) if rotary else None

    def forward(
        self,
        x: Tensor,
        at: Places | None = None,
        layout: Layout | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D), or (N, 1, D) at N places; a token sees what `layout` allows."""
        if layout is None:
            layout = Layout(self.config, x.shape[1], x.device)
        query = self._split(self.query(x if at is None else take(x, at)))  # B H T K, or N H 1 K
        key, value = self._split(self.key(x)), self._split(self.value(x))  # B G T K
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.tables is not None:
            query, key = self._rotate(query, key, layout, at, self.tables)
        query, key, value = self.tap_query(query), self.tap_key(key), self.tap_value(value)
        columns = None
        if cache is not None:
            key, value, columns = cache.append(key, value)
        if at is not None:
            key, value = key[at[0]], value[at[0]]
        slopes = None if self.slopes is None else self.slopes.to(x.device)
        bias = layout.bias(sliding=self.sliding, slopes=slopes, key_columns=columns, at=at)
        mixed: Tensor = self.tap_heads(self._attend(query, key, value, bias))
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2, 3))
        return output

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, heads x K) -> (B, heads, T, K)."""
        return x.view(*x.shape[:2], -1, self.config.head_width).transpose(1, 2)

    def _rotate(
        self, query: Tensor, key: Tensor, layout: Layout, at: Places | None, tables: RotaryTables
    ) -> tuple[Tensor, Tensor]:
        whole = tables.upto(layout.last_position() + 1, query.device)
        positions = layout.positions()
        if positions is None:
            here = slice(layout.start, layout.start + layout.time)
            of_keys = [table[here] for table in whole]
        else:
            of_keys = [table[positions][:, None] for table in whole]  # B 1 T pairs
        of_queries = of_keys
        if at is not None and positions is None:
            of_queries = [table[at[1]][:, None, None] for table in of_keys]
        elif at is not None:
            of_queries = [table[:, 0][at][:, None, None] for table in of_keys]
        return fused.rotate(query, *of_queries), fused.rotate(key, *of_keys)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Mix the values, (B, G, S, K), by the scores of the queries, (B, H, T, K)."""
        stepwise = self.tap_pattern.watched or self.config.attention_softcap > 0
        group = self.config.query_heads // self.config.key_value_heads
        if group > 1 and query.shape[2] == 1 and not stepwise and self.slopes is None:
            # One query a head: those that share keys are looked at as queries of one head.
            shape = query.shape
            folded = query.view(shape[0], -1, group, shape[-1])
            return self._fused(folded, key, value, bias, causal=False).reshape(shape)
        causal = bias is None and query.shape[2] > 1
        if causal and not stepwise:
            return fused.causal_attention(query, key, value, self.config.score_scale)
        if group > 1:
            key, value = (side.repeat_interleave(group, dim=1) for side in (key, value))
        if not stepwise:
            return self._fused(query, key, value, bias, causal=False)
        scores = query @ key.transpose(-1, -2) * self.config.score_scale
        if cap := self.config.attention_softcap:
            scores = cap * (scores / cap).tanh()
        if causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        if bias is not None:
            scores = scores + bias
        pattern: Tensor = self.tap_pattern(scores.softmax(-1))
        return pattern @ value

    def _fused(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, causal: bool
    ) -> Tensor:
        return functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias if bias is None else bias.to(query.dtype),
            is_causal=causal,
            scale=self.config.score_scale,
        )
