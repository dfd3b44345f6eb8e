"""What each head does on average over a corpus, beside what even dealing would give.

The sums are those of tokkit.analysis.positions.heads: queries of the later half of each window.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokkit.analysis.intervals import Ratios, Resampling, plain
from tokkit.analysis.positions.heads import Looks, distance_bins
from tokkit.model.config import ModelConfig
from tokkit.results import Column, Table

PREVIOUS_SHARE = SINK_SHARE = 0.5


def heads_table(looks: Looks, drawn: Resampling, config: ModelConfig, length: int) -> Table:
    """One row a head: entropy, distance, sink and previous token, each with interval and even.

    `length` is that of a row as the model read it. Distances leave the first token out.
    """
    queries = length - length // 2
    measures = (
        drawn.means(looks.entropy),
        drawn.ratios(looks.reach, looks.weight),
        drawn.means(looks.sink),
        drawn.means(looks.bins[..., 1] / queries),
    )
    far = drawn.ratios(looks.even_reach, looks.weight).estimate
    rows = []
    for layer, head in np.ndindex(*looks.peak.shape):
        sink, previous = even_shares(config, layer, length)
        even = (looks.even_entropy[layer], far[layer, head], sink, previous)
        cells: list[Any] = [layer, head]
        for found, dealt in zip(measures, even, strict=True):
            cells += [*_with_interval(found, layer, head), plain(dealt)]
        rows.append(tuple(cells))
    return Table("Heads on average over the corpus", _COLUMNS, tuple(rows))


def distance_table(looks: Looks, drawn: Resampling, length: int) -> Table:
    """The average pattern of each head, by distance: a share, and times what even dealing gives."""
    whole = np.repeat(looks.weight[..., None], looks.bins.shape[-1], axis=-1)
    share = drawn.ratios(looks.bins, whole).estimate
    times = drawn.ratios(looks.bins, looks.even_bins).estimate
    columns = (
        Column("layer", "Layer"),
        Column("head", "Head"),
        Column("first", "From distance", "tokens"),
        Column("last", "To distance", "tokens"),
        Column("share", "Share of attention, first token apart", "proportion"),
        Column("times_even", "Times what even dealing gives"),
    )
    rows = tuple(
        (layer, head, low, high, *(_rounded(side[layer, head, at]) for side in (share, times)))
        for layer, head in np.ndindex(*looks.peak.shape)
        for at, (low, high) in enumerate(distance_bins(length))
    )
    return Table("Average pattern of each head, by distance", columns, rows)


def _rounded(value: float) -> float | None:
    """Four digits: a record of hundreds of heads stays small."""
    found = plain(value)
    return None if found is None else float(f"{found:.4g}")


def even_shares(config: ModelConfig, layer: int, length: int) -> tuple[float, float]:
    """What the first token and the previous one get of weight that is dealt evenly."""
    places = np.arange(length // 2, length)
    window = config.window if config.is_sliding(layer) else length
    seen = np.minimum(places + 1, window)
    return float(np.mean((places < window) / seen)), float(np.mean((seen > 1) / seen))


def _with_interval(found: Ratios, *at: int) -> tuple[float | None, ...]:
    return plain(found.estimate[at]), plain(found.low[at]), plain(found.high[at])


def _measured(name: str, label: str, unit: str) -> tuple[Column, ...]:
    return (
        Column(name, label, unit),
        Column(f"{name}_low", "... low", unit),
        Column(f"{name}_high", "... high", unit),
        Column(f"{name}_even", "... if dealt evenly", unit),
    )


_COLUMNS = (
    Column("layer", "Layer"),
    Column("head", "Head"),
    *_measured("entropy", "Entropy", "bits"),
    *_measured("distance", "Mean distance, first token apart", "tokens"),
    *_measured("sink", "On the first token", "proportion"),
    *_measured("previous", "On the previous token", "proportion"),
)


def corpus_values(table: Table) -> dict[str, Any]:
    """How many heads are sinks or look one token back, and the mean entropy as a share of even."""
    rows = table.records()
    ratio = [row["entropy"] / row["entropy_even"] for row in rows if row["entropy_even"]]
    return {
        "heads": len(rows),
        "heads_with_half_on_the_first_token": sum(row["sink"] >= SINK_SHARE for row in rows),
        "heads_with_half_on_the_previous_token": sum(
            row["previous"] >= PREVIOUS_SHARE for row in rows
        ),
        "entropy_share_of_even": float(np.mean(ratio)) if ratio else None,
    }
