"""How far each head looks: attention by distance, without the first token, against three nulls.

The first token of a row takes what a head does not need elsewhere (Xiao et al. 2024), so its
share stands apart as the sink, and distances are of what is left. Queries are those of the later
half of a row: each of them could look back half a row at least.

Nulls: uniform, each query's weight dealt evenly to the keys that it sees; "random", queries and
keys of the same spread without a mean; "dealt", the model's own queries and keys at other columns:
what a head still does then, it does by position alone. A model whose seed is known is also
measured at its initial weights.

The distance that a head looks at most is found on one half of the texts and its share measured on
the other. L layers, H heads, N rows, T columns, D bins of distances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis import patterns
from tokkit.model.attention import Attention
from tokkit.model.layout import Layout
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
Watcher = Callable[[NDArray[np.int64], patterns.Traced], None]
NULLS = ("dealt", "random")


def distance_bins(length: int) -> list[tuple[int, int]]:
    """First and last distance of each bin: 0, 1, 2, 3 to 4, 5 to 8, ..., below `length`.

    >>> distance_bins(7)
    [(0, 0), (1, 1), (2, 2), (3, 4), (5, 6)]
    """
    bins, first, last = [(0, 0)], 1, 1
    while first < length:
        bins.append((first, min(last, length - 1)))
        first, last = last + 1, 2 * last
    return bins


@dataclass(frozen=True, slots=True)
class Looks:
    """Sums over the queries of each row; weights leave the first token out but for `sink`.

    sink, entropy      (N, L, H) mean share of the first token; mean bits of a query's weights
    weight, even       (N, L, H) all weight but the sink's, and the same dealt evenly
    reach, even_reach  (N, L, H) weight times distance, and the same dealt evenly
    bins, even_bins    (N, L, H, D) weight by distance, and the same dealt evenly
    total              (L, H, T) weight at each distance, all rows
    peak               (L, H) distance of most weight over even, by the choosing rows
    tested             (N,) bool: rows that did not choose
    at_peak            what -> (N, L, H) weight at that distance: "own", and of each null
    at_peak_of         what -> (N, L, H) the weight that it is a share of
    even_entropy       (L,) mean bits if every query's weight were dealt evenly to all it sees
    """

    sink: Floats
    entropy: Floats
    weight: Floats
    reach: Floats
    even_reach: Floats
    bins: Floats
    even_bins: Floats
    total: Floats
    peak: NDArray[np.int64]
    tested: NDArray[np.bool_]
    at_peak: dict[str, Floats]
    at_peak_of: dict[str, Floats]
    even_entropy: Floats


def look(
    model: Transformer,
    rows: Tensor,
    documents: NDArray[np.int64],
    seed: int,
    watchers: Sequence[Watcher] = (),
) -> Looks:
    """Measure every head on rows of ids (N, T) int64.

    `documents` (N,) says which text a row is from: whole texts choose or test. `watchers`
    are called with the rows' numbers and what was traced of them: they share the pass.
    """
    order, choosing = _order(documents)
    sums = _Sums(model, rows.shape[1], len(rows), seed)
    with torch.inference_mode():
        for part, tested in ((order[:choosing], False), (order[choosing:], True)):
            if tested:
                sums.choose()
            for found in patterns.traced(model, rows[torch.from_numpy(part)]):
                numbers = part[found.rows]
                for watch in watchers:
                    watch(numbers, found)
                for layer, (query, key) in enumerate(found.pairs):
                    sums.add(numbers, layer, query, key, found.layout, tested=tested)
    return sums.looks(np.isin(np.arange(len(rows)), order[choosing:]))


def _order(documents: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Rows that choose, then rows that test, and how many choose: every second text, or row."""
    _, numbers = np.unique(documents, return_inverse=True)
    if numbers.max() == 0:
        numbers = np.arange(len(documents))
    chooses = numbers % 2 == 0
    order = np.concatenate((np.flatnonzero(chooses), np.flatnonzero(~chooses)))
    return order.astype(np.int64), int(chooses.sum())


class _Sums:
    """What `Looks` holds, while it is added up."""

    def __init__(self, model: Transformer, length: int, rows: int, seed: int) -> None:
        config = model.config
        self.model, self.length, self.queries = model, length, length - length // 2
        self.bins = distance_bins(length)
        heads = (rows, config.layers, config.query_heads)
        names = ("sink", "entropy", "weight", "reach", "even_reach")
        self.by_row = {name: np.zeros(heads) for name in names}
        self.binned = {n: np.zeros((*heads, len(self.bins))) for n in ("bins", "even_bins")}
        self.total = np.zeros((*heads[1:], length))
        self.even_total = np.zeros((*heads[1:], length))
        self.peak = np.zeros(heads[1:], dtype=np.int64)
        self.at_peak = {name: np.full(heads, np.nan) for name in ("own", *NULLS)}
        self.at_peak_of = {name: np.full(heads, np.nan) for name in ("own", *NULLS)}
        self.even_entropy = np.zeros(config.layers)
        self.dealing = np.random.default_rng([seed, 1])
        self.noise = torch.Generator().manual_seed(seed)

    def choose(self) -> None:
        """Fix each head's peak by the rows so far: most weight above what even dealing gives."""
        self.peak = np.asarray((self.total - self.even_total).argmax(-1))

    def add(
        self,
        rows: NDArray[np.int64],
        layer: int,
        query: Tensor,
        key: Tensor,
        layout: Layout,
        *,
        tested: bool,
    ) -> None:
        """Add one layer of some rows."""
        attention = patterns.attention_of(self.model, layer)
        seen = patterns.bias_of(attention, layout)[0, 0, -self.queries :] > -torch.inf
        weights = patterns.pattern(attention, query, key, layout, self.queries)
        bits = -torch.special.xlogy(weights, weights).sum(-1) / np.log(2)
        sink = weights[..., 0].clone()
        weight, even = self._distances(weights, seen)
        steps = torch.arange(self.length, dtype=torch.float32)
        for name, values in (
            ("sink", sink.mean(-1)),
            ("entropy", bits.mean(-1)),
            ("weight", weight.sum(-1)),
            ("reach", weight @ steps),
            ("even_reach", even @ steps),
        ):
            self.by_row[name][rows, layer] = values.double().numpy()
        for name, by in (("bins", weight), ("even_bins", even)):
            parts = [by[..., low : high + 1].sum(-1) for low, high in self.bins]
            self.binned[name][rows, layer] = torch.stack(parts, -1).double().numpy()
        self.total[layer] += weight.double().sum(0).numpy()
        self.even_total[layer] += even.double().sum(0).numpy()
        self.even_entropy[layer] = float(seen.sum(-1).double().log2().mean())
        if tested:
            self._test(rows, layer, weight, "own")
            for name in NULLS:
                self._test(rows, layer, self._null(name, attention, query, key, layout), name)

    def _distances(self, weights: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over queries by distance, (B, H, T), without the first key; and dealt evenly."""
        weights[..., 0] = 0
        seen = seen.clone()
        seen[:, 0] = False
        shares = weights.sum(-1) / seen.sum(-1).clamp(min=1)  # B H Q
        there = patterns.by_distance(seen.float())
        return patterns.by_distance(weights).sum(-2), shares @ there

    def _null(
        self, name: str, attention: Attention, query: Tensor, key: Tensor,
        layout: Layout,
    ) -> Tensor:  # fmt: skip
        if name == "dealt":
            query, key = (patterns.dealt(attention, x, self.dealing) for x in (query, key))
        else:
            query, key = (patterns.noise_like(x, self.noise) for x in (query, key))
        weights = patterns.pattern(attention, query, key, layout, self.queries)
        weights[..., 0] = 0
        return patterns.by_distance(weights).sum(-2)

    def _test(self, rows: NDArray[np.int64], layer: int, weight: Tensor, name: str) -> None:
        at = torch.from_numpy(self.peak[layer])[None, :, None].expand(len(rows), -1, 1)
        self.at_peak[name][rows, layer] = weight.gather(-1, at)[..., 0].double().numpy()
        self.at_peak_of[name][rows, layer] = weight.double().sum(-1).numpy()

    def looks(self, tested: NDArray[np.bool_]) -> Looks:
        """The record."""
        return Looks(
            **self.by_row,
            **self.binned,
            total=self.total,
            peak=self.peak,
            tested=tested,
            at_peak=self.at_peak,
            at_peak_of=self.at_peak_of,
            even_entropy=self.even_entropy,
        )
