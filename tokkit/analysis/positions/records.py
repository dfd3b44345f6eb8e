"""The tables of the record, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.intervals import Ratios, Resampling, plain, resampling
from tokkit.analysis.positions.bands import Bands
from tokkit.analysis.positions.heads import NULLS, Looks, distance_bins
from tokkit.analysis.positions.losses import LossBin, Shuffled
from tokkit.analysis.positions.order import Shift
from tokkit.analysis.positions.scheme import RotaryPair
from tokkit.analysis.positions.tables import Fourier
from tokkit.results import Column, Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_ROWS = 12_000
"""Beyond as many rows bands are given by layer alone."""


def _at(ratios: Ratios, *place: int) -> tuple[float | None, float | None, float | None]:
    return plain(ratios.estimate[place]), plain(ratios.low[place]), plain(ratios.high[place])


def loss_table(bins: Sequence[LossBin], initial: Sequence[LossBin] | None) -> Table:
    """Loss by position, with that of the initial weights where these are known."""
    columns = (
        Column("first", "From position", "tokens"),
        Column("last", "To position", "tokens"),
        Column("tokens", "Predicted", "tokens"),
        Column("nats", "Loss", "nats a token"),
        Column("nats_low", "... low", "nats a token"),
        Column("nats_high", "... high", "nats a token"),
        Column("bits_per_byte", "Bits per byte"),
        Column("bits_low", "... low"),
        Column("bits_high", "... high"),
        Column("initial_nats", "Loss at initial weights", "nats a token"),
    )
    rows = tuple(
        (
            b.first, b.last, b.tokens, *map(plain, b.nats), *map(plain, b.bits_per_byte),
            initial[place].nats[0] if initial else None,
        )
        for place, b in enumerate(bins)
    )  # fmt: skip
    return Table("Loss by position", columns, rows)


def shuffled_table(found: Sequence[Shuffled]) -> Table:
    """Loss by how much of the order is destroyed."""
    columns = (
        Column("window", "Shuffled within", "tokens"),
        Column("nats", "Loss", "nats a token"),
        Column("nats_low", "... low", "nats a token"),
        Column("nats_high", "... high", "nats a token"),
        Column("more", "More than in order", "nats a token"),
        Column("more_low", "... low", "nats a token"),
        Column("more_high", "... high", "nats a token"),
    )
    rows = tuple((s.window, *map(plain, s.nats), *map(plain, s.more)) for s in found)
    return Table("Loss on shuffled text; a window of 1 is the text as it is", columns, rows)


def shift_table(shifts: Sequence[Shift]) -> Table:
    """What a shift of all positions does to a model's log probabilities."""
    columns = (
        Column("shift", "Positions moved by", "tokens"),
        Column("largest", "Largest difference of a log probability", "nats"),
        Column("mean", "Mean difference", "nats"),
    )
    return Table(
        "The same text at later positions, in float32",
        columns,
        tuple((s.shift, s.largest, s.mean) for s in shifts),
    )


def heads_table(
    looks: Looks, drawn: Resampling, documents: Ints, initial: Looks | None, seed: int
) -> Table:
    """One row a head: sink, reach, entropy, and where it looks most, beside the nulls."""
    sink, entropy = drawn.means(looks.sink), drawn.means(looks.entropy)
    reach = drawn.ratios(looks.reach, looks.weight)
    even = drawn.ratios(looks.even_reach, looks.weight)
    shares = _peak_shares(looks, documents, seed)
    first = None if initial is None else drawn.ratios(initial.reach, initial.weight)
    rows = []
    for layer, head in np.ndindex(*looks.peak.shape):
        at = layer, head
        rows.append(
            (
                layer, head, *_at(sink, *at), *_at(reach, *at),
                plain(even.estimate[at]), _median(looks.total[at]),
                *_at(entropy, *at), float(looks.even_entropy[layer]),
                int(looks.peak[at]), *_at(shares["own"], *at),
                *(plain(shares[name].estimate[at]) for name in NULLS),
                None if first is None else plain(first.estimate[at]),
                None if initial is None else plain(initial.sink[:, layer, head].mean()),
            )
        )  # fmt: skip
    return Table("Heads", _HEAD_COLUMNS, tuple(rows))


_HEAD_COLUMNS = (
    Column("layer", "Layer"),
    Column("head", "Head"),
    Column("sink", "On the first token", "proportion"),
    Column("sink_low", "... low", "proportion"),
    Column("sink_high", "... high", "proportion"),
    Column("distance", "Mean distance, first token apart", "tokens"),
    Column("distance_low", "... low", "tokens"),
    Column("distance_high", "... high", "tokens"),
    Column("distance_even", "... if dealt evenly", "tokens"),
    Column("distance_median", "Median distance", "tokens"),
    Column("entropy", "Entropy", "bits"),
    Column("entropy_low", "... low", "bits"),
    Column("entropy_high", "... high", "bits"),
    Column("entropy_even", "... if dealt evenly", "bits"),
    Column("peak", "Looks most at distance", "tokens"),
    Column("peak_share", "... share there, other texts", "proportion"),
    Column("peak_low", "... low", "proportion"),
    Column("peak_high", "... high", "proportion"),
    Column("peak_dealt", "... queries and keys dealt to other positions", "proportion"),
    Column("peak_random", "... random queries and keys", "proportion"),
    Column("initial_distance", "Mean distance at initial weights", "tokens"),
    Column("initial_sink", "On the first token at initial weights", "proportion"),
)


def _peak_shares(looks: Looks, documents: Ints, seed: int) -> dict[str, Ratios]:
    """Shares at each head's peak, over the rows that did not choose it: own and of each null."""
    tested = looks.tested
    drawn = resampling(documents[tested], np.random.default_rng([seed, 5]))
    return {
        name: drawn.ratios(looks.at_peak[name][tested], looks.at_peak_of[name][tested])
        for name in ("own", *NULLS)
    }


def _median(weights: Floats) -> int | None:
    total = weights.sum()
    return int(np.searchsorted(weights.cumsum(), total / 2)) if total > 0 else None


def distance_table(looks: Looks, drawn: Resampling, length: int) -> Table:
    """Attention in bins of distance, as a share and as times what even dealing gives."""
    whole = np.repeat(looks.weight[..., None], looks.bins.shape[-1], axis=-1)
    share = drawn.ratios(looks.bins, whole)
    times = drawn.ratios(looks.bins, looks.even_bins)
    columns = (
        Column("layer", "Layer"),
        Column("head", "Head"),
        Column("first", "From distance", "tokens"),
        Column("last", "To distance", "tokens"),
        Column("share", "Share of attention, first token apart", "proportion"),
        Column("times_even", "Times what even dealing gives"),
        Column("times_low", "... low"),
        Column("times_high", "... high"),
    )
    layers, heads = looks.peak.shape
    rows = tuple(
        (layer, head, low, high, plain(share.estimate[layer, head, place]),
         *_at(times, layer, head, place))
        for layer in range(layers)
        for head in range(heads)
        for place, (low, high) in enumerate(distance_bins(length))
    )  # fmt: skip
    return Table("Attention by distance", columns, rows)


def bands_tables(
    bands: Bands, pairs: Sequence[Sequence[RotaryPair]], drawn: Resampling
) -> dict[str, Table]:
    """Sizes and shares by layer, and by head where these are not too many.

    `pairs` are each layer's.
    """
    by_head = _band_rows(bands, pairs, drawn)
    columns = [
        Column("layer", "Layer"),
        Column("pair", "Pair"),
        Column("wavelength", "Wavelength", "tokens"),
        Column("query", "Size of queries (root mean square)"),
        Column("query_low", "... low"),
        Column("query_high", "... high"),
        Column("key", "Size of keys (root mean square)"),
        Column("key_low", "... low"),
        Column("key_high", "... high"),
        Column("score_share", "Share of the spread of scores", "proportion"),
        Column("score_low", "... low", "proportion"),
        Column("score_high", "... high", "proportion"),
    ]
    over = Bands(*(getattr(bands, name).mean(2, keepdims=True) for name in (
        "query_squares", "key_squares", "covariance", "variance")))  # fmt: skip
    rows = tuple((row[0], *row[2:]) for row in _band_rows(over, pairs, drawn))
    tables = {"bands": Table("Rotary pairs, all heads of a layer", tuple(columns), rows)}
    if len(by_head) <= MOST_ROWS:
        columns.insert(1, Column("head", "Head"))
        tables["bands_of_heads"] = Table("Rotary pairs by head", tuple(columns), tuple(by_head))
    return tables


def _band_rows(
    bands: Bands, pairs: Sequence[Sequence[RotaryPair]], drawn: Resampling
) -> list[tuple[object, ...]]:
    query, key = (drawn.means(s) for s in (bands.query_squares, bands.key_squares))
    whole = np.repeat(bands.variance[..., None], bands.covariance.shape[-1], axis=-1)
    share = drawn.ratios(bands.covariance, whole)
    _, layers, heads, count = bands.query_squares.shape
    return [
        (
            layer, head, pair, pairs[layer][pair].wavelength_tokens,
            *(_root(value) for value in _at(query, layer, head, pair)),
            *(_root(value) for value in _at(key, layer, head, pair)),
            *_at(share, layer, head, pair),
        )
        for layer in range(layers)
        for head in range(heads)
        for pair in range(count)
    ]  # fmt: skip


def _root(value: float | None) -> float | None:
    return None if value is None else float(np.sqrt(value))


def gram_table(cells: Sequence[tuple[int, int, float]]) -> Table:
    """How alike rows of the table of positions are."""
    columns = (
        Column("position", "Position", "tokens"),
        Column("other", "Other position", "tokens"),
        Column("cosine", "Cosine of the centred rows"),
    )
    return Table("How alike the rows of the table are", columns, tuple(cells))


def spectrum_table(own: Floats, random: Floats) -> Table:
    """Variance by component, beside a random table of the same spread."""
    columns = (
        Column("component", "Component"),
        Column("share", "Share of variance", "proportion"),
        Column("random", "... of a random table", "proportion"),
    )
    rows = tuple(
        (n + 1, float(a), float(b)) for n, (a, b) in enumerate(zip(own, random, strict=True))
    )
    return Table("Spectrum of the table", columns, rows[:256])


def fourier_table(found: Fourier) -> Table:
    """Power along positions by frequency."""
    columns = (
        Column("turns", "Turns within the table"),
        Column("share", "Share of power", "proportion"),
        Column("null_high", "95% of shuffled tables are below", "proportion"),
    )
    rows = tuple(
        (int(t), float(s), float(n))
        for t, s, n in zip(found.turns, found.share, found.null_high, strict=True)
    )
    return Table("Power along the positions", columns, rows)


def residual_table(
    own: Sequence[tuple[int, float]], sines: Sequence[tuple[int, float]],
    shuffled: Sequence[tuple[int, float]],
) -> Table:  # fmt: skip
    """What the best linear map leaves of a shift."""
    columns = (
        Column("shift", "Shift", "tokens"),
        Column("residual", "Left by the best linear map", "proportion"),
        Column("sinusoidal", "... of a sinusoidal table", "proportion"),
        Column("shuffled", "... of the same rows shuffled", "proportion"),
    )
    rows = tuple((k, a, b, c) for (k, a), (_, b), (_, c) in zip(own, sines, shuffled, strict=True))
    return Table("Shifting the table by a linear map", columns, rows)
