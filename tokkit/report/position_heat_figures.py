"""Heat maps and head-by-head figures of positions: tables, attention by distance, rotary bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREY, INK, PAPER, VERMILLION, draw
from tokkit.report.formatting import as_number, number, plural
from tokkit.report.subjects import Record, known
from tokkit.report.tokenizer_figures import beside, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_MOST_LINES = 1200
_MAP_INCHES = 3.4
# Less: blue; as much: nearly white; more: vermillion. Told apart under colour blindness, and read
# on a dark page too, for the map fills its own axes.
_LESS, _MIDDLE, _MORE = "#0072B2", "#f4f2ee", "#D55E00"


def alike(name: str, rows: Sequence[Record]) -> Figure | None:
    """Cosines of the rows of a table of positions with each other."""
    drawn = known(rows, "position", "other", "cosine")
    places = sorted({int(row["position"]) for row in drawn})
    if len(places) < 2 or len(drawn) != len(places) ** 2:
        return None
    index = {place: at for at, place in enumerate(places)}
    cells = [[0.0] * len(places) for _ in places]
    for row in drawn:
        if int(row["other"]) not in index:
            return None
        cells[index[int(row["position"])]][index[int(row["other"])]] = float(row["cosine"])

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        _map(figure, axes, cells, 1.0, "Cosine of centred rows")
        _ticks(axes.set_xticks, [str(place) for place in places])
        _ticks(axes.set_yticks, [str(place) for place in places])
        axes.set_aspect("equal")
        axes.set_xlabel("Position (tokens)")
        axes.set_ylabel("Position (tokens)")

    near = [cells[at][at + 1] for at in range(len(places) - 1)]
    message = (
        "Rows of the table of positions beside each other have a cosine of "
        f"{number(sum(near) / len(near))} on average"
    )
    caption = (
        f"{len(places)} positions, evenly apart; neighbours are {places[1] - places[0]} apart."
    )
    return draw(name, message, caption, paint, height_inches=4.0)


def by_distance(name: str, rows: Sequence[Record]) -> Figure | None:
    """Every head as a line, distances across: attention as times what even dealing gives."""
    drawn = known(rows, "layer", "head", "first", "last")
    bins = sorted({(int(row["first"]), int(row["last"])) for row in drawn})
    heads = sorted({(int(row["layer"]), int(row["head"])) for row in drawn})
    if len(bins) < 2 or not heads or len(heads) > _MOST_LINES:
        return None
    times = {
        (int(row["layer"]), int(row["head"]), int(row["first"])): as_number(row.get("times_even"))
        for row in drawn
    }
    cells = [[_log2(times.get((*head, low))) for low, _ in bins] for head in heads]

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        _map(figure, axes, cells, 4.0, "Attention, times even dealing", powers=True)
        _layer_lines(axes, heads)
        labels = [str(low) if low == high else f"{low}–{high}" for low, high in bins]
        axes.set_xticks([at + 0.5 for at in range(len(bins))], labels=labels, rotation=45)
        axes.set_xlabel("Distance back (tokens)")

    top = [times.get((*head, 1)) or 0.0 for head in heads]
    message = (
        f"{sum(value >= 4 for value in top)} of {plural(len(heads), 'head')} give the token "
        "before at least four times what even dealing would"
    )
    caption = (
        "A line a head, layers from top to bottom; the first token of a text is left out. "
        "Even dealing spreads each query's weight over the keys that it sees."
    )
    return draw(name, message, caption, paint, height_inches=_MAP_INCHES + 1.2)


def _log2(value: float | None) -> float:
    return math.nan if value is None or value < 0 else math.log2(max(value, 2.0**-6))


def bands(name: str, rows: Sequence[Record]) -> Figure | None:
    """The share of each rotary pair in the spread of scores, layer by layer."""
    drawn = known(rows, "layer", "pair", "score_share")
    layers = sorted({int(row["layer"]) for row in drawn})
    pairs = sorted({int(row["pair"]) for row in drawn})
    if not layers or len(pairs) < 2:
        return None
    share = {(int(row["layer"]), int(row["pair"])): float(row["score_share"]) for row in drawn}
    cells = [
        [_log2(max(0.0, share.get((layer, pair), 0.0)) * len(pairs)) for pair in pairs]
        for layer in layers
    ]

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        _map(figure, axes, cells, 4.0, "Share of score spread, times even", powers=True)
        _ticks(axes.set_yticks, [str(layer) for layer in layers])
        _ticks(axes.set_xticks, [str(pair) for pair in pairs])
        axes.set_ylabel("Layer")
        axes.set_xlabel("Rotary pair (left: turns fast, right: slow)")

    slow = [pair for pair in pairs if pair >= pairs[len(pairs) // 2]]
    part = sum(share.get((layer, pair), 0.0) for layer in layers for pair in slow) / len(layers)
    message = (
        f"The slower half of the rotary pairs makes {number(part, 'proportion')}% of the spread "
        "of scores"
    )
    caption = (
        "Covariance of a pair's part with the score over the variance of scores, all heads of a "
        "layer. Even: every pair the same share."
    )
    return draw(name, message, caption, paint, height_inches=_MAP_INCHES + 0.5)


def reaches(name: str, rows: Sequence[Record]) -> Figure | None:
    """How far each head looks, a dot a head with its interval, by layer."""
    drawn = known(rows, "layer", "head", "distance", "distance_even")
    if not drawn:
        return None
    heads = max(int(row["head"]) for row in drawn) + 1
    even = sorted(float(row["distance_even"]) for row in drawn)[len(drawn) // 2]

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for row in drawn:
            at = int(row["layer"]) + 0.7 * ((int(row["head"]) + 0.5) / heads - 0.5)
            low, high = as_number(row.get("distance_low")), as_number(row.get("distance_high"))
            if low is not None and high is not None:
                axes.plot([at, at], [low, high], color=BLUE, lw=0.9, alpha=0.6, zorder=3)
            axes.plot([at], [row["distance"]], "o", color=BLUE, ms=3, zorder=4)
            first = as_number(row.get("initial_distance"))
            if first is not None:
                axes.plot([at], [first], "_", color=GREY, ms=5, mew=1.4, zorder=2)
        axes.axhline(even, color=INK, lw=1, ls=(0, (4, 2)))
        beside(axes, "dealt\nevenly", even)
        axes.set_ylim(bottom=0)
        axes.locator_params("x", integer=True)
        axes.set_xlabel("Layer")
        axes.set_ylabel("Mean distance (tokens)")

    near = sum(float(row["distance"]) < float(row["distance_even"]) / 2 for row in drawn)
    message = (
        f"{near} of {plural(len(drawn), 'head')} look less than half as far as even dealing would"
    )
    caption = "A dot a head; the first token of a text is left out. Intervals of 95%."
    if known(drawn, "initial_distance"):
        caption += " Grey lines: the same heads at initial weights."
    return draw(name, message, caption, paint, height_inches=3.2)


def sinks(name: str, rows: Sequence[Record]) -> Figure | None:
    """What each head gives to the first token, by layer."""
    drawn = known(rows, "layer", "head", "sink")
    if not drawn:
        return None
    heads = max(int(row["head"]) for row in drawn) + 1

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for row in drawn:
            at = int(row["layer"]) + 0.7 * ((int(row["head"]) + 0.5) / heads - 0.5)
            low, high = as_number(row.get("sink_low")), as_number(row.get("sink_high"))
            if low is not None and high is not None:
                ends = [100 * low, 100 * high]
                axes.plot([at, at], ends, color=VERMILLION, lw=0.9, alpha=0.6, zorder=3)
            axes.plot([at], [100 * row["sink"]], "D", color=VERMILLION, ms=3, zorder=4)
        axes.set_ylim(0, 100)
        axes.locator_params("x", integer=True)
        axes.set_xlabel("Layer")
        axes.set_ylabel("Attention on the first token (%)")

    most = sum(float(row["sink"]) > 0.5 for row in drawn)
    message = (
        f"{most} of {plural(len(drawn), 'head')} put more than half of their attention on the "
        "first token"
    )
    caption = "Queries of the later half of each window, a diamond a head. Intervals of 95%."
    return draw(name, message, caption, paint, height_inches=2.9)


def _map(
    figure: MatplotlibFigure,
    axes: Axes,
    cells: Sequence[Sequence[float]],
    most: float,
    label: str,
    *,
    powers: bool = False,
) -> None:
    """Cells as a map, the first line on top, from -most to most; with `powers` they are of 2."""
    from matplotlib.colors import LinearSegmentedColormap

    plain = LinearSegmentedColormap.from_list("less-more", [_LESS, _MIDDLE, _MORE])
    colours = plain.with_extremes(bad=PAPER)
    drawn = axes.pcolormesh(cells, cmap=colours, vmin=-most, vmax=most, rasterized=True)
    axes.set_ylim(len(cells), 0)
    axes.grid(visible=False)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    if powers:
        ticks = [-most, -most / 2, 0, most / 2, most]
        names = ["1/16", "1/4", "1", "4", "16"]
        bar.set_ticks(ticks, labels=names)


def _ticks(setter: Any, labels: Sequence[str]) -> None:
    """About six labels in the middle of their cells."""
    step = max(1, math.ceil(len(labels) / 7))
    at = range(0, len(labels), step)
    setter([place + 0.5 for place in at], labels=[labels[place] for place in at])


def _layer_lines(axes: Axes, heads: Sequence[tuple[int, int]]) -> None:
    """Number the layers at the side of lines that are heads."""
    layers = sorted({layer for layer, _ in heads})
    step = max(1, math.ceil(len(layers) / 8))
    shown = layers[::step]
    middles = [
        sum(at + 0.5 for at, (own, _) in enumerate(heads) if own == layer)
        / sum(own == layer for own, _ in heads)
        for layer in shown
    ]
    axes.set_yticks(middles, labels=[str(layer) for layer in shown])
    axes.set_ylabel("Layer; a line a head")
