"""Which rotary frequencies the heads use: size of queries and keys by pair, and of the scores.

A pair's share of a head's scores is the covariance of what the pair adds to a score with the
score, over the variance of scores: shares add up to 1 over the pairs and what is not rotated. The
scores are those of random queries with random keys before them, the first token left out.
N rows, L layers, H query heads, G key-value heads, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.patterns import Traced
from tokkit.model.config import ModelConfig

SAMPLED = 256  # pairs of a query and a key, a row
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bands:
    """Per row: mean squares of queries and keys by pair, and what pairs add to scores.

    query_squares (N, L, H, P), key_squares (N, L, H, P) with each group's for all of its heads,
    covariance (N, L, H, P) of a pair's part with the score, variance (N, L, H) of the score.
    """

    query_squares: Floats
    key_squares: Floats
    covariance: Floats
    variance: Floats


class BandSums:
    """A watcher of `heads.look` that adds up `Bands`."""

    def __init__(self, config: ModelConfig, rows: int, seed: int) -> None:
        self.config = config
        shape = (rows, config.layers, config.query_heads)
        by_pair = (*shape, config.rotary_width // 2)
        self.bands = Bands(np.zeros(by_pair), np.zeros(by_pair), np.zeros(by_pair), np.zeros(shape))
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, rows: NDArray[np.int64], found: Traced) -> None:
        """Add the rows of one pass."""
        group = self.config.query_heads // self.config.key_value_heads
        length = found.layout.time
        for layer, (query, key) in enumerate(found.pairs):
            key = key.repeat_interleave(group, dim=1)
            self.bands.query_squares[rows, layer] = self._squares(query)
            self.bands.key_squares[rows, layer] = self._squares(key)
            later, earlier = self._places(length)
            parts = query[:, :, later] * key[:, :, earlier] * self.config.score_scale
            self._score(rows, layer, parts.double())

    def _places(self, length: int) -> tuple[Tensor, Tensor]:
        """Columns of queries, and of keys at or before them, SAMPLED each; no key is the first."""
        later = torch.randint(1, length, (SAMPLED,), generator=self._generator)
        share = torch.rand(SAMPLED, generator=self._generator)
        return later, 1 + (share * later).long()

    def _pairs(self, values: Tensor) -> Tensor:
        """Sums over both numbers of each rotated pair: (..., K) -> (..., P)."""
        width = self.config.rotary_width
        first, second = values[..., :width].chunk(2, dim=-1)
        return first + second

    def _squares(self, x: Tensor) -> Floats:
        """Means over tokens, the first left out: (B, heads, T, K) -> (B, heads, P)."""
        found: Floats = self._pairs(x[:, :, 1:].square().mean(2)).double().numpy()
        return found

    def _score(self, rows: NDArray[np.int64], layer: int, parts: Tensor) -> None:
        scores = parts.sum(-1)
        apart = scores - scores.mean(-1, keepdim=True)
        by_pair = self._pairs(parts)
        by_pair = by_pair - by_pair.mean(2, keepdim=True)
        self.bands.covariance[rows, layer] = (by_pair * apart[..., None]).mean(2).numpy()
        self.bands.variance[rows, layer] = apart.square().mean(-1).numpy()
