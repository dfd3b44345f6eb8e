"""That rotary and ALiBi scores depend on the offset alone, and what rounding leaves of it.

A score is query times key times config.score_scale, with the penalty of ALiBi; deviations are
shares of |query| |key| score_scale, the largest score that the two could have.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokkit.analysis.positions.exact import MOST_POSITIONS, Property
from tokkit.model.config import ModelConfig
from tokkit.model.layout import Layout
from tokkit.model.positions import (
    RotaryTables,
    alibi_slopes,
    rotary_frequencies,
    rotary_tables,
    rotate,
)
from tokkit.results import Column, Table

NAME = "scores depend on the offset alone"
CONTROL = "the same vectors with a table of positions added"
MOST_ROUNDED = 1 << 20  # the farthest position at which rounding is looked at
_OFFSETS = 64
_WAYS = {
    "float32": "tables of float64 angles rounded to float32, as tokkit runs",
    "float32 angles": "angles multiplied in float32",
    "bfloat16 tables": "cosines and sines rounded to bfloat16",
    "bfloat16 angles": "positions and angles in bfloat16",
}


def offset_spread(scores: Tensor, *, causal: bool = False) -> float:
    """The largest difference between two scores (n, n) of one offset; `causal`: of none ahead.

    >>> offset_spread(torch.tensor([[1.0, 2.0], [3.0, 1.5]]))
    0.5
    """
    sides = (scores,) if causal else (scores, scores.T)
    return max(_spread_below(side) for side in sides)


def _spread_below(scores: Tensor) -> float:
    """Over the diagonal and all below it, whose slant is undone by reading memory askew."""
    n = len(scores)
    flat = torch.nn.functional.pad(scores.flip(-1), (0, 1)).flatten()
    by_offset = flat[n - 1 : n - 1 + n * n].view(n, n)  # row i, offset d; scores where d <= i
    # Against the score of key 0; what is right of a query becomes 0, which that score gives too.
    apart = by_offset.sub(scores[:, 0]).tril_()
    return float((apart.amax(0) - apart.amin(0)).max())


def rotary_scores(query: Tensor, key: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Products of one query and key (K,) standing at every pair of n positions: (n, n).

    `cosines` and `sines` are (n, pairs); all is computed in the type of the vectors.
    """
    n = len(cosines)
    turned = [
        rotate(x.expand(1, 1, n, -1), cosines.to(x.dtype), sines.to(x.dtype))[0, 0]
        for x in (query, key)
    ]
    return turned[0] @ turned[1].T


def exact_tables(frequencies: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines in float64, (n, pairs)."""
    angles = torch.outer(positions.double(), frequencies)
    return angles.cos(), angles.sin()


def relative_properties(
    config: ModelConfig, queries: Tensor, keys: Tensor, *, seed: int, of_model: bool
) -> tuple[Property, ...]:
    """Check a rotary or ALiBi scheme on vectors (m, K) float64, in float64 and as it runs.

    Raises nothing: other schemes give no property.
    """
    n = min(config.context, MOST_POSITIONS)
    checked = f"all pairs of {n:,} positions, {len(queries)} queries and keys"
    found = []
    for dtype, called in ((torch.float64, "float64"), (torch.float32, "float32")):
        worst, control = 0.0, torch.inf
        for place in range(len(queries)):
            query, key = queries[place].to(dtype), keys[place].to(dtype)
            largest = float(query.norm() * key.norm()) or 1.0
            kinds = (False, True) if config.rope_local_base > 0 else (False,)
            spread = max(_scheme_spread(config, query, key, n, place, kind) for kind in kinds)
            worst = max(worst, spread / largest)
            added = _added_scores(query, key, min(n, 256), seed + place)
            control = min(control, offset_spread(added) / largest)
        found.append(
            Property(
                NAME, config.positions, of_model, called, checked,
                "the largest score of such vectors", worst, CONTROL, control,
            )
        )  # fmt: skip
    return tuple(found)


def _scheme_spread(
    config: ModelConfig, query: Tensor, key: Tensor, n: int, place: int, sliding: bool
) -> float:
    if config.positions == "rope":
        frequencies, magnitude = rotary_frequencies(config, sliding=sliding)
        if query.dtype == torch.float64:
            tables = exact_tables(frequencies, torch.arange(n))
            tables = (tables[0] * magnitude, tables[1] * magnitude)
        else:
            whole = RotaryTables(config, sliding=sliding).upto(n, query.device)
            tables = (whole[0][:n], whole[1][:n])
        return offset_spread(rotary_scores(query, key, *tables)) / magnitude**2
    slopes = alibi_slopes(config.query_heads).to(query.dtype)
    bias = Layout(config, n, query.device).bias(
        sliding=False, slopes=slopes, key_columns=None, at=None
    )
    assert bias is not None
    scores = query @ key + bias[0, place % config.query_heads] / config.score_scale
    return offset_spread(scores, causal=True)


def _added_scores(query: Tensor, key: Tensor, n: int, seed: int) -> Tensor:
    """Scores where a random table, of the spread of the vectors, is added instead."""
    generator = torch.Generator().manual_seed(seed)
    tables = torch.randn((2, n, len(query)), generator=generator, dtype=torch.float64)
    spreads = torch.stack((query, key)).square().mean(1).sqrt()
    places = (tables.to(query.dtype).transpose(0, 2) * spreads).transpose(0, 2)
    return (query + places[0]) @ (key + places[1]).T


@dataclass(frozen=True, slots=True)
class Rounding:
    """The largest deviation of rotary scores from the exact ones of their offset.

    Over `_OFFSETS` offsets with the query at `position`, as a share of the largest score.
    """

    way: str
    position: int
    deviation: float


def rounding(config: ModelConfig, queries: Tensor, keys: Tensor) -> tuple[Rounding, ...]:
    """What each way of computing rotary tables loses, by position up to the context.

    Offsets are 0 to 63; vectors (m, K) float64 themselves are not rounded.
    """
    if config.positions != "rope":
        return ()
    frequencies, _ = rotary_frequencies(config)
    last = min(config.context, MOST_ROUNDED) - 1
    places = [1 << power for power in range(6, last.bit_length()) if 1 << power < last]
    found = []
    for position in [*places, last]:
        across = torch.arange(max(0, position - _OFFSETS + 1), position + 1)
        exact = _scores_from(queries, keys, *exact_tables(frequencies, across - position))
        for way in _WAYS:
            tables = _rounded_tables(frequencies, across, way)
            scores = _scores_at(queries, keys, *tables)
            found.append(Rounding(way, position, float((scores - exact).abs().max())))
    return tuple(found)


def _scores_at(queries: Tensor, keys: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Of queries at the last position and keys at each, (m, n), over |query| |key|."""
    query = rotate(queries[:, None, None], cosines[-1:], sines[-1:])
    key = rotate(keys[:, None, None].expand(-1, 1, len(cosines), -1), cosines, sines)
    lengths = queries.norm(dim=-1) * keys.norm(dim=-1)
    found: Tensor = (query * key).sum(-1)[:, 0] / lengths[:, None]
    return found


def _scores_from(queries: Tensor, keys: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """As `_scores_at`, keys turned by their offsets and queries not at all."""
    key = rotate(keys[:, None, None].expand(-1, 1, len(cosines), -1), cosines, sines)
    lengths = queries.norm(dim=-1) * keys.norm(dim=-1)
    found: Tensor = (queries[:, None, None] * key).sum(-1)[:, 0] / lengths[:, None]
    return found


def _rounded_tables(frequencies: Tensor, positions: Tensor, way: str) -> tuple[Tensor, Tensor]:
    """Tables (n, pairs) as this way leaves them, held in float64."""
    if way.endswith("angles"):
        dtype = torch.bfloat16 if way.startswith("bfloat16") else torch.float32
        angles = positions.to(dtype)[:, None] * frequencies.to(dtype)
        return angles.cos().double(), angles.sin().double()
    dtype = torch.bfloat16 if way.startswith("bfloat16") else torch.float32
    cosines, sines = rotary_tables(frequencies, int(positions[-1]) + 1)
    return tuple(side[positions].to(dtype).double() for side in (cosines, sines))  # type: ignore[return-value]


def rounding_table(rows: tuple[Rounding, ...]) -> Table:
    """The table of the record."""
    columns = (
        Column("way", "Way of computing"),
        Column("meaning", "What that is"),
        Column("position", "Position", "tokens"),
        Column("deviation", "Largest deviation, as a share of the largest score"),
    )
    return Table(
        "What rounding leaves of rotary scores",
        columns,
        tuple((r.way, _WAYS[r.way], r.position, r.deviation) for r in rows),
    )
