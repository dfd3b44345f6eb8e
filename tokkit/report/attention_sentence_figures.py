"""Patterns of one sentence: all heads small, one large as a map and as lines, one weight's numbers.

Each function takes rows of tables of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREY, INK, PAPER, VERMILLION, WIDTH_INCHES, draw
from tokkit.report.formatting import as_number, number, visible
from tokkit.report.subjects import Record, known

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MOST_NAMED = 24
"""Beyond as many tokens a map names none, and lines are not drawn."""
_MOST_PANELS = 2048
_MOST_CELLS = 400_000
_LAYERS_ACROSS = 15
_PANEL_INCHES = 0.85
_WORD_CHARACTERS = 14
_NONE, _ALL, _LESS = "#f1efe9", "#0B4F7A", "#0072B2"
Matrix = list[list[float]]


def words_of(rows: Sequence[Record]) -> list[str]:
    """The tokens in their order, safe to show; spaces before words as they are read, left out."""
    placed = sorted(known(rows, "place"), key=lambda row: int(row["place"]))
    return [visible(str(row.get("token")).strip() or "␣", _WORD_CHARACTERS) for row in placed]


def matrix_of(rows: Sequence[Record], size: int) -> Matrix | None:
    """Weights (size, size), NaN where a token does not look; None where the rows do not fit."""
    cells = [[math.nan] * size for _ in range(size)]
    for row in known(rows, "query", "key", "weight"):
        query, key = int(row["query"]), int(row["key"])
        if not (0 <= key < size and 0 <= query < size):
            return None
        cells[query][key] = float(row["weight"])
    return cells if size and any(weight == weight for weight in cells[-1]) else None


def pattern(name: str, words: Sequence[str], rows: Sequence[Record], head: str) -> Figure | None:
    """One head as a map, queries down, keys across."""
    cells = matrix_of(rows, len(words))
    if cells is None or len(words) < 2:
        return None
    named = len(words) <= MOST_NAMED

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        drawn = _map(axes, cells)
        bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
        bar.set_label("Weight (%)")
        bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100"])
        bar.outline.set_visible(False)
        if named:
            middles = [place + 0.5 for place in range(len(words))]
            axes.set_xticks(middles, labels=list(words), rotation=45, ha="right")
            axes.set_yticks(middles, labels=list(words))
        axes.set_aspect("equal")
        axes.set_xlabel("Key: what is looked at")
        axes.set_ylabel("Query: what looks")

    place, most = _strongest(cells)
    message = (
        f"{head}: “{words[-1]}” gives {number(most, 'proportion')}% of its weight to "
        f"“{words[place]}”"
    )
    caption = (
        "Each line is one token's weights over itself and what came before; it adds up to 100%. "
        "Above the diagonal the causal mask leaves nothing."
    )
    return draw(name, message, caption, paint, height_inches=4.6)


def _strongest(cells: Matrix) -> tuple[int, float]:
    """Where the last token looks most: not the first token nor itself, where there is another."""
    last = cells[-1]
    inner = range(1, len(last) - 1) or range(len(last))
    place = max(inner, key=lambda at: -1.0 if math.isnan(last[at]) else last[at])
    return place, last[place]


def _map(axes: Axes, cells: Sequence[Sequence[float]]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("weights", [_NONE, _LESS, _ALL])
    drawn = axes.pcolormesh(
        cells, cmap=colours.with_extremes(bad=PAPER), vmin=0, vmax=1, rasterized=True
    )
    axes.set_ylim(len(cells), 0)
    axes.grid(visible=False)
    return drawn


def lines(name: str, words: Sequence[str], rows: Sequence[Record], head: str) -> Figure | None:
    """One head as lines from each querying token, on the left, to the keys; the last stands out."""
    cells = matrix_of(rows, len(words))
    if cells is None or not 2 <= len(words) <= MOST_NAMED:
        return None
    last = len(words) - 1

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        axes.set_axis_off()
        for query, line in enumerate(cells):
            for key, weight in enumerate(line):
                if math.isnan(weight) or weight < 0.01:
                    continue
                own = query == last
                axes.plot(
                    [0, 1], [query, key], color=VERMILLION if own else GREY, zorder=4 if own else 2,
                    lw=0.4 + 5 * weight, alpha=0.9 if own else 0.12 + 0.4 * weight,
                )  # fmt: skip
        for place, word in enumerate(words):
            strong = "bold" if place == last else "normal"
            axes.text(-0.03, place, word, ha="right", va="center", fontweight=strong)
            weight = cells[last][place]
            told = "" if math.isnan(weight) else f"  {number(weight, 'proportion')}%"
            axes.text(1.03, place, word + told, ha="left", va="center")
        axes.text(-0.03, -1.1, "what looks", ha="right", va="center", fontsize=9, style="italic")
        axes.text(1.03, -1.1, "what is looked at", ha="left", va="center", fontsize=9,
                  style="italic")  # fmt: skip
        axes.set_xlim(-0.55, 1.75)
        axes.set_ylim(last + 0.6, -1.6)

    place, most = _strongest(cells)
    message = f"From “{words[-1]}” back to “{words[place]}”: {number(most, 'proportion')}%"
    caption = (
        f"{head}. Lines go from the token that looks to those it looks at, as thick as the weight; "
        "the last token's in colour, with its weights written out. Below 1% no line."
    )
    return draw(name, message, caption, paint, height_inches=0.9 + 0.27 * len(words))


def multiples(
    name: str, rows: Sequence[Record], size: int, shown: tuple[int | None, int | None]
) -> Figure | None:
    """All heads as small maps: layers across, heads down, the one shown large framed."""
    maps = _maps(rows, size)
    if not maps or size < 2 or len(maps) > _MOST_PANELS or len(maps) * size**2 > _MOST_CELLS:
        return None
    layers = max(layer for layer, _ in maps) + 1
    heads = max(head for _, head in maps) + 1
    across = min(layers, _LAYERS_ACROSS)
    bands = [range(low, min(low + across, layers)) for low in range(0, layers, across)]
    panel = min(_PANEL_INCHES, (WIDTH_INCHES - 0.7) / across)

    def paint(figure: MatplotlibFigure) -> None:
        grid = figure.subplots(len(bands), 1, squeeze=False)
        for axes, band in zip(grid[:, 0], bands, strict=True):
            _mosaic(axes, maps, band, heads, size)
            axes.set_xlim(0, across * (size + 1))
            layer, head = shown
            if layer in band and head is not None and layer is not None:
                _frame(axes, (layer - band[0]) * (size + 1), head * (size + 1), size)
        grid[-1, 0].set_xlabel("Layer")

    looks = sum(max(cells[-1][1:-1], default=0.0) >= 0.5 for cells in maps.values())
    message = (
        f"In {looks} of {len(maps)} heads the last token gives half of its weight to one token "
        "between the first and itself"
    )
    caption = (
        "Each small map is a head: queries from top to bottom, keys from left to right, darker for "
        "more weight. Framed: the head shown large."
    )
    height = len(bands) * (heads * panel + 0.35) + 0.3
    return draw(name, message, caption, paint, height_inches=height)


def _maps(rows: Sequence[Record], size: int) -> dict[tuple[int, int], Matrix]:
    """Layer and head to weights; heads whose words are no weights are left out."""
    found = {}
    for row in known(rows, "layer", "head"):
        lines = str(row.get("thousandths")).split(";")
        try:
            cells = [[int(weight) / 1000 for weight in line.split()] for line in lines]
        except ValueError:
            continue
        if [len(line) for line in cells] == list(range(1, size + 1)):
            whole = [line + [math.nan] * (size - len(line)) for line in cells]
            found[int(row["layer"]), int(row["head"])] = whole
    return found


def _mosaic(
    axes: Axes, maps: dict[tuple[int, int], Matrix], band: range, heads: int, size: int
) -> None:
    step = size + 1
    cells = [[math.nan] * (len(band) * step) for _ in range(heads * step)]
    for (layer, head), own in maps.items():
        if layer not in band:
            continue
        left = (layer - band[0]) * step
        for line, weights in enumerate(own):
            cells[head * step + line][left : left + size] = weights
    _map(axes, cells)
    axes.set_aspect("equal", anchor="W")
    axes.set_xticks([at * step + size / 2 for at in range(len(band))], labels=map(str, band))
    axes.set_yticks([at * step + size / 2 for at in range(heads)], labels=map(str, range(heads)))
    axes.tick_params(length=0, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_ylabel("Head")


def _frame(axes: Axes, left: float, top: float, size: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), size + 1, size + 1, fill=False, ec=VERMILLION, lw=1.4,
                  clip_on=False, zorder=6)
    )  # fmt: skip


def vectors(
    name: str, rows: Sequence[Record], query: str, key: str, weight: float | None
) -> Figure | None:
    """Query, key, their product and the value of one weight, number by number."""
    drawn = known(rows, "number", "query", "key", "product", "value")
    if len(drawn) < 2:
        return None
    kinds = (("query", BLUE), ("key", BLUE), ("product", VERMILLION), ("value", GREY))

    def paint(figure: MatplotlibFigure) -> None:
        panels = figure.subplots(len(kinds), 1, sharex=True)
        for axes, (kind, colour) in zip(panels, kinds, strict=True):
            axes.bar([int(row["number"]) for row in drawn], [float(row[kind]) for row in drawn],
                     color=colour, width=0.8)  # fmt: skip
            axes.axhline(0, color=INK, lw=0.6)
            axes.set_ylabel({"query": "q", "key": "k", "product": "q × k", "value": "v"}[kind],
                            rotation=0, ha="right", va="center")  # fmt: skip
            axes.locator_params("y", nbins=3)
        panels[-1].set_xlabel("Number of the vector")

    total = sum(float(row["product"]) for row in drawn)
    least = _half(drawn)
    message = (
        f"{least} of {len(drawn)} numbers make half of the positive part of “{visible(query, 20)}” "
        f"times “{visible(key, 20)}”"
    )
    caption = f"The products add up to {number(total)}"
    if weight is not None:
        caption += f"; scaled and through the softmax they become {number(weight, 'proportion')}%"
    caption += ". Query and key as they are multiplied, rotated where the model rotates them."
    return draw(name, message, caption, paint, height_inches=3.8)


def _half(rows: Sequence[Record]) -> int:
    """How many of the largest products make half of the sum of the positive ones."""
    positive = sorted((float(row["product"]) for row in rows if row["product"] > 0), reverse=True)
    total, so_far = sum(positive), 0.0
    for count, value in enumerate(positive, 1):
        so_far += value
        if so_far >= total / 2:
            return count
    return 0


def place_of(value: object) -> int | None:
    """A whole number among the values; None for anything else."""
    found = as_number(value)
    return int(found) if found is not None and found.is_integer() else None
