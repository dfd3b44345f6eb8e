"""Heads over a corpus, the causal mask, and heads that copy: figures of an analysis of attention.

Each function takes rows of tables of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREY, INK, PAPER, VERMILLION, draw
from tokkit.report.formatting import as_number, estimate, number, plural, visible
from tokkit.report.subjects import Record, known
from tokkit.report.tokenizer_figures import beside, list_down, one_panel, whisker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_MOST_PAIRS = 64


def entropy(name: str, rows: Sequence[Record]) -> Figure | None:
    """How evenly each head deals its weight, beside even dealing."""
    drawn = known(rows, "layer", "head", "entropy", "entropy_even")
    half = sum(row["entropy"] < row["entropy_even"] / 2 for row in drawn)
    message = (
        f"{half} of {plural(len(drawn), 'head')} deal their weight in fewer than half of the bits "
        "that even dealing has"
    )
    return _by_layer(name, drawn, "entropy", "Entropy of the weights (bits)", message)


def previous(name: str, rows: Sequence[Record]) -> Figure | None:
    """What each head gives to the token before."""
    drawn = _shares(known(rows, "layer", "head", "previous", "previous_even"), "previous_even")
    most = sum(row["previous"] >= 0.5 for row in drawn)
    message = (
        f"{most} of {plural(len(drawn), 'head')} give half of their weight or more to the token "
        "before"
    )
    return _by_layer(name, drawn, "previous", "Weight on the token before (%)", message, 100)


def _shares(rows: Sequence[Record], *columns: str) -> list[Record]:
    """The rows whose values in these columns lie in 0 to 1."""
    return [row for row in rows if all(0 <= row[column] <= 1 for column in columns)]


def _by_layer(
    name: str, drawn: Sequence[Record], column: str, label: str, message: str, scale: float = 1
) -> Figure | None:
    """A dot a head with its interval, by layer; the line is the mean of even dealing by layer."""
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        _dots(axes, drawn, column, BLUE, scale)
        even: dict[int, float] = {}
        for row in drawn:
            even[int(row["layer"])] = scale * float(row[f"{column}_even"])
        layers = sorted(even)
        for layer in layers:
            axes.plot([layer - 0.45, layer + 0.45], [even[layer]] * 2, color=INK, lw=1,
                      ls=(0, (4, 2)))  # fmt: skip
        beside(axes, "dealt\nevenly", even[layers[-1]])
        axes.set_ylim(bottom=0)
        if scale == 100:
            axes.set_ylim(0, 100)
        axes.set_xlabel("Layer")
        axes.set_ylabel(label)

    caption = "A dot a head, queries of the later half of each window. Intervals of 95%."
    return draw(name, message, caption, paint, height_inches=3.0)


def _dots(
    axes: Axes, rows: Sequence[Record], column: str, colour: str, scale: float, marker: str = "o"
) -> None:
    heads = max(int(row["head"]) for row in rows) + 1
    for row in rows:
        at = _at(row, heads)
        low, high = as_number(row.get(f"{column}_low")), as_number(row.get(f"{column}_high"))
        if low is not None and high is not None:
            axes.plot([at, at], [scale * low, scale * high], color=colour, lw=0.9, alpha=0.6)
        axes.plot([at], [scale * float(row[column])], marker, color=colour, ms=3.2, zorder=4)
    axes.locator_params("x", integer=True)


def _at(row: Record, heads: int) -> float:
    """Heads of a layer stand beside each other."""
    return int(row["layer"]) + 0.7 * ((int(row["head"]) + 0.5) / heads - 0.5)


def mask(name: str, rows: Sequence[Record], pairs: object) -> Figure | None:
    """What a change of one token does to the logits of every place, with the mask and without."""
    drawn = known(rows, "place", "changed", "logit", "unmasked_logit")
    size = max((int(row["place"]) for row in drawn), default=-1) + 1
    if not 2 <= size <= _MOST_PAIRS or len(drawn) != size**2:
        return None
    right = [row for row in drawn if row["changed"] > row["place"]]
    moved = sum(row["logit"] > 0 for row in right)
    most = max(float(row["unmasked_logit"]) for row in drawn) or 1.0

    def paint(figure: MatplotlibFigure) -> None:
        both = figure.subplots(1, 2, sharey=True)
        titles = ("With its mask", "Mask taken away")
        for axes, column, title in zip(both, ("logit", "unmasked_logit"), titles, strict=True):
            shown = _changes(axes, drawn, column, size, most)
            axes.set_title(title)
            axes.set_xlabel("Changed token")
        both[0].set_ylabel("Logits at token")
        bar = figure.colorbar(shown, ax=list(both), fraction=0.05, pad=0.02)
        bar.set_label("Change (of the logits' spread)")
        bar.outline.set_visible(False)

    message = (
        f"{moved} of {len(right)} earlier places move when a later token is changed; without the "
        f"mask {sum(row['unmasked_logit'] > 0 for row in right)} do"
    )
    caption = "This model in one pass; blank cells are exactly 0."
    if as_number(pairs) is not None:
        caption += f" All paths and models together: {number(pairs)} pairs."
    return draw(name, message, caption, paint, height_inches=2.9)


def _changes(axes: Axes, rows: Sequence[Record], column: str, size: int, most: float) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    cells = [[math.nan] * size for _ in range(size)]
    for row in rows:
        if row[column] > 0 and 0 <= row["changed"] < size:
            cells[int(row["place"])][int(row["changed"])] = float(row[column])
    colours = LinearSegmentedColormap.from_list("changes", ["#f6dcc8", VERMILLION, "#7a3400"])
    shown = axes.pcolormesh(
        cells, cmap=colours.with_extremes(bad=PAPER), vmin=0, vmax=most, rasterized=True
    )
    axes.set_ylim(size, 0)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    step = max(1, size // 4)
    ticks = list(range(0, size, step))
    axes.set_xticks([at + 0.5 for at in ticks], labels=map(str, ticks))
    axes.set_yticks([at + 0.5 for at in ticks], labels=map(str, ticks))
    return shown


def induction(name: str, rows: Sequence[Record], chance: object, fresh: object) -> Figure | None:
    """What each head gives to the token after the first occurrence, and where nothing repeats."""
    drawn = _shares(known(rows, "layer", "head", "induction", "induction_null"), "induction")
    if not drawn:
        return None
    found = [row for row in drawn if row.get("found") is True]
    rest = [row for row in drawn if row.get("found") is not True]
    heads = max(int(row["head"]) for row in drawn) + 1
    even = as_number(chance)
    even = even if even is not None and 0 <= even <= 1 else None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for row in drawn:
            axes.plot([_at(row, heads)], [100 * float(row["induction_null"])], "_", color=GREY,
                      ms=5, mew=1.4, zorder=2)  # fmt: skip
        for own, colour, marker in ((rest, BLUE, "o"), (found, VERMILLION, "D")):
            if own:
                _dots(axes, own, "induction", colour, 100, marker)
        if even is not None:
            axes.axhline(100 * even, color=INK, lw=1, ls=(0, (4, 2)))
            beside(axes, "dealt\nevenly", 100 * even)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Layer")
        axes.set_ylabel("Weight after the first\noccurrence (%)")

    strongest = max(drawn, key=lambda row: float(row["induction"]))
    message = (
        f"{len(found)} of {plural(len(drawn), 'head')} are induction heads; the strongest gives "
        f"{number(strongest['induction'], 'proportion')}%"
    )
    caption = (
        "Random tokens repeated: what the second copy's tokens give to the token after their first "
        "occurrence, testing rows, intervals of 95%. Grey: the same place where nothing repeats."
    )
    if found:
        caption += " Diamonds: heads found on the other rows."
    if as_number(fresh) is not None:
        caption += f" In a freshly initialised model the rule finds {number(fresh)}."
    return draw(name, message, caption, paint, height_inches=3.1)


def ablation(name: str, rows: Sequence[Record]) -> Figure | None:
    """What is lost without the heads found, beside as many others."""
    drawn = known(rows, "change")[:12]
    if len(drawn) < 2:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, row in enumerate(drawn):
            own = as_number(row.get("sets")) == 1
            colour, marker = (VERMILLION, "D") if own else (GREY, "o")
            whisker(axes, row.get("low"), row.get("high"), line, colour)
            axes.plot([row["change"]], [line], marker, color=colour, ms=6, zorder=6)
            beside(axes, number(row["change"]), line)
        axes.axvline(0, color=INK, lw=0.8)
        labels = [f"{visible(str(row.get('measure')), 26)}\n{visible(str(row.get('heads')), 30)}"
                  for row in drawn]  # fmt: skip
        list_down(axes, labels)
        axes.set_xlabel("Change without the heads (nats a token)")

    first, second = drawn[:2]
    told = [
        estimate(row["change"], row.get("low"), row.get("high"), "nats a token")
        for row in (first, second)
    ]
    message = (
        f"Change of the {visible(str(first.get('measure')), 30)} without the heads found: "
        f"{told[0]}; without others: {told[1]}"
    )
    caption = (
        "Heads give their mean instead of what they found; others: as many of the same layers, "
        "drawn at random. An in-context score that rises means less is learned. Intervals of 95%."
    )
    return draw(name, message, caption, paint, height_inches=0.8 + 0.42 * len(drawn))
