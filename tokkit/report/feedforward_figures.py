"""Figures of the feed-forward layers: shares, values, gates, concepts, routing.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREEN, GREY, INK, ORANGE, PAPER, VERMILLION, draw
from tokkit.report.formatting import as_number, number, plural, visible
from tokkit.report.position_figures import log_axis
from tokkit.report.subjects import Record, known, points
from tokkit.report.tokenizer_figures import list_down, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MOST_LISTED = 40
MAIN_DOSE = "high"
_LABEL = 16
_MOST_CELLS = 4_000
_VOCABULARIES = ((GREEN, "s"), (BLUE, "o"), (VERMILLION, "^"))
_LESS, _MIDDLE, _MORE = "#0072B2", "#f4f2ee", "#D55E00"


def shares(name: str, rows: Sequence[Record], models: Sequence[Record]) -> Figure | None:
    """Shares of feed-forward and of tables by width, a colour a vocabulary; models as points.

    The first of `models` is the one that the page is of.
    """
    drawn = [
        r for r in known(rows, "vocab_size", "width", "feedforward", "tables") if r["width"] > 0
    ]
    sizes = sorted({int(row["vocab_size"]) for row in drawn})[: len(_VOCABULARIES)]
    if not sizes:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for size, (colour, marker) in zip(sizes, _VOCABULARIES, strict=False):
            of = [row for row in drawn if int(row["vocab_size"]) == size]
            line: dict[str, Any] = {"color": colour, "marker": marker, "ms": 4.5, "lw": 1.5}
            axes.plot(*points(of, "width", "feedforward", 100), **line,
                      label=f"Feed-forward, {size:,} tokens")  # fmt: skip
            axes.plot(*points(of, "width", "tables", 100), **line, mfc=PAPER, ls=(0, (4, 2)),
                      label=f"Tables, {size:,} tokens")  # fmt: skip
        _models(axes, models)
        axes.set_xscale("log", base=2)
        log_axis(axes, "x", 2, most=9)
        axes.set_ylim(0, 100)
        axes.set_xlabel("Width")
        axes.set_ylabel("Share of all parameters (%)")
        figure.legend(loc="outside lower center", ncols=2, handlelength=3)

    message = (
        "Feed-forward layers hold most of a wide model, the tables of tokens most of a narrow one"
    )
    caption = (
        "Usual ratios: gated, hidden 8/3 of the width, a layer for each 64 of width, one table for "
        "embedding and unembedding. Diamonds: this model (filled: feed-forward); crosses: "
        "feed-forward of the presets."
    )
    return draw(name, message, caption, paint, height_inches=3.9)


def _models(axes: Axes, models: Sequence[Record]) -> None:
    fit = [m for m in known(models, "width", "feedforward", "tables") if float(m["width"]) > 0]
    for model in fit:
        at, share = float(model["width"]), 100 * float(model["feedforward"])
        if model is models[0]:
            axes.plot(at, share, "D", color=INK, ms=7, zorder=5)
            axes.plot(at, 100 * float(model["tables"]), "D", color=INK, mfc=PAPER, ms=7, zorder=5)
        else:
            axes.plot(at, share, "+", color=INK, ms=6, mew=1.1, zorder=4)


def agreement(name: str, rows: Sequence[Record]) -> Figure | None:
    """How often values promote what follows, by layer, against another unit's texts."""
    drawn = known(rows, "layer", "own", "shuffled")
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for column, colour, marker, shift, label in (
            ("own", BLUE, "o", -0.12, "The unit's own texts"),
            ("shuffled", GREY, "s", 0.12, "Another unit's texts"),
        ):
            for row in drawn:
                _upright(axes, row, column, float(row["layer"]) + shift, colour)
            x, y = points(drawn, "layer", column, 100)
            axes.plot([at + shift for at in x], y, marker, color=colour, ms=4.5, label=label)
        axes.set_ylim(bottom=0)
        _layers(axes, drawn)
        axes.set_ylabel("Next token among the first 1%\nof what the value promotes (%)")
        axes.legend(loc="best")

    above = sum((as_number(row.get("more_low")) or 0.0) > 0 for row in drawn)
    message = (
        f"In {above} of {plural(len(drawn), 'layer')} a unit's value promotes the token that "
        "follows what excites it, beyond chance"
    )
    caption = "Chance: the texts of another unit of the layer. Intervals of 95% over units."
    return draw(name, message, caption, paint, height_inches=3.0)


def gates(name: str, rows: Sequence[Record]) -> Figure | None:
    """How far gate and up are from their usual size at exciting tokens, by layer."""
    drawn = known(rows, "layer", "gate_times", "up_times")
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        axes.plot(*points(drawn, "layer", "gate_times"), "o-", color=BLUE, ms=4.5, lw=1.4,
                  label="Gate, after its nonlinearity")  # fmt: skip
        axes.plot(*points(drawn, "layer", "up_times"), "s", color=ORANGE, ms=4.5, lw=1.4,
                  ls=(0, (4, 2)), label="Up")  # fmt: skip
        axes.axhline(1, color=INK, lw=1)
        axes.set_ylim(bottom=0)
        _layers(axes, drawn)
        axes.set_ylabel("Size at exciting tokens\n(times its usual size)")
        figure.legend(loc="outside lower center", ncols=2, handlelength=3)

    larger = sum(float(row["gate_times"]) > float(row["up_times"]) for row in drawn)
    signs = [float(row["negative"]) for row in known(drawn, "negative")]
    tail = f"; {number(sum(signs) / len(signs), 'proportion')}% of units are excited downwards"
    message = (
        f"What excites a unit opens its gate more than it moves up in {larger} of "
        f"{plural(len(drawn), 'layer')}{tail if signs else ''}"
    )
    caption = "Medians over units and their exciting tokens; usual size: root mean square."
    return draw(name, message, caption, paint, height_inches=2.9)


def found(name: str, rows: Sequence[Record]) -> Figure | None:
    """Units that answer to each category by layer, as a map of numbers."""
    drawn = known(rows, "layer", "units")
    layers = sorted({int(row["layer"]) for row in drawn})
    names = list(dict.fromkeys(str(row.get("category")) for row in drawn))[:MOST_LISTED]
    if not layers or len(layers) * len(names) > _MOST_CELLS:
        return None
    counts = {(str(r.get("category")), int(r["layer"])): float(r["units"]) for r in drawn}
    cells = [[math.log10(1 + max(0.0, counts.get((n, at), 0.0))) for at in layers] for n in names]

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = one_panel(figure)
        colours = LinearSegmentedColormap.from_list("units", [_MIDDLE, "#56B4E9", "#003f66"])
        most = max(max(map(max, cells)), 0.5)
        made = axes.pcolormesh(cells, cmap=colours, vmin=0, vmax=most, rasterized=True)
        _names_down(axes, names)
        step = max(1, math.ceil(len(layers) / 10))
        axes.set_xticks(
            [at + 0.5 for at in range(0, len(layers), step)],
            labels=[str(layer) for layer in layers[::step]],
        )
        axes.set_xlabel("Layer")
        bar = figure.colorbar(made, ax=axes, pad=0.02)
        ticks = [n for n in (0, 1, 3, 10, 30, 100, 300, 1000, 3000) if math.log10(1 + n) <= most]
        bar.set_ticks([math.log10(1 + n) for n in ticks], labels=[f"{n:,}" for n in ticks])
        bar.set_label("Units")

    some = sum(any(counts.get((n, at), 0) > 0 for at in layers) for n in names)
    initial = sum(float(row["initial"]) for row in known(drawn, "initial"))
    permuted = sum(float(row["permuted"]) for row in known(drawn, "permuted"))
    message = f"{some} of {len(names)} categories have units that answer to them"
    caption = (
        "Chosen on half of the words and their contexts, significant on the other half "
        f"(familywise). The same at initial weights: {initial:,.0f} in all; with labels "
        f"permuted: {number(permuted)} on average."
    )
    return draw(name, message, caption, paint, height_inches=1.3 + 0.24 * len(names))


def clamped(name: str, rows: Sequence[Record]) -> Figure | None:
    """Effects of setting a category's units on its words, control units beside."""
    drawn = [r for r in known(rows, "effect", "control") if r.get("dose") == MAIN_DOSE][
        :MOST_LISTED
    ]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, row in enumerate(drawn):
            for column, colour, marker, shift in (
                ("control", GREY, "s", 0.16), ("effect", BLUE, "o", -0.12),
            ):  # fmt: skip
                low, high = (as_number(row.get(f"{column}_{end}")) for end in ("low", "high"))
                if low is not None and high is not None:
                    axes.plot([low, high], [line + shift] * 2, color=colour, lw=1.6, zorder=3)
                axes.plot(float(row[column]), line + shift, marker, color=colour, ms=5, zorder=4,
                          label=_of[column] if line == 0 else None)  # fmt: skip
        axes.axvline(0, color=INK, lw=1)
        list_down(axes, [visible(str(row.get("category")), _LABEL) for row in drawn])
        axes.set_xlabel("Change of the log-probability of its held-out words,\n"
                        "against other categories' (nats)")  # fmt: skip
        figure.legend(loc="outside lower center", ncols=2)

    _of = {"effect": "The category's units", "control": "Control units"}
    above = sum((as_number(row.get("beyond_low")) or 0.0) > 0 for row in drawn)
    up = sum((as_number(row.get("effect_low")) or 0.0) > 0 for row in drawn)
    down = sum((as_number(row.get("effect_high")) or 0.0) < 0 for row in drawn)
    message = (
        f"Setting its units moves a category's words more than control units do in {above} of "
        f"{plural(len(drawn), 'case')} (raised in {up}, lowered in {down})"
    )
    caption = (
        "Units set to the farthest value that a word of the choosing half gives them, at the last "
        "token of neutral contexts. Controls: of the same layers, writing as much. Intervals of "
        "95% over texts."
    )
    return draw(name, message, caption, paint, height_inches=1.4 + 0.27 * len(drawn))


def across(name: str, rows: Sequence[Record]) -> Figure | None:
    """What setting the units of each category does to the words of all, as a map."""
    drawn = known(rows, "effect")
    units = list(dict.fromkeys(str(row.get("category")) for row in drawn))[:MOST_LISTED]
    words = list(dict.fromkeys(str(row.get("words")) for row in drawn))[:MOST_LISTED]
    if len(units) < 2 or len(words) < 2:
        return None
    of = {(str(r.get("category")), str(r.get("words"))): float(r["effect"]) for r in drawn}
    cells = [[of.get((unit, word), math.nan) for word in words] for unit in units]
    most = max((abs(value) for value in of.values()), default=1.0) or 1.0

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = one_panel(figure)
        colours = LinearSegmentedColormap.from_list("effect", [_LESS, _MIDDLE, _MORE])
        made = axes.pcolormesh(cells, cmap=colours, vmin=-most, vmax=most, rasterized=True)
        for line, unit in enumerate(units):
            if unit in words:
                at = words.index(unit)
                axes.add_patch(_frame(at, line))
        _names_down(axes, units)
        axes.set_xticks([at + 0.5 for at in range(len(words))],
                        labels=[visible(word, _LABEL) for word in words], rotation=90)  # fmt: skip
        axes.set_ylabel("Units of")
        axes.set_xlabel("Words of")
        figure.colorbar(made, ax=axes, pad=0.02).set_label("Effect (nats)")

    own = sum(
        unit in words and max(words, key=lambda word: of.get((unit, word), -math.inf)) == unit
        for unit in units
    )
    message = f"Set units raise their own category's words most in {own} of {len(units)} cases"
    caption = "Framed: a category's own words. Effects are against the mean of the others."
    return draw(name, message, caption, paint, height_inches=1.9 + 0.24 * len(units))


def _frame(at: int, line: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((at + 0.04, line + 0.04), 0.92, 0.92, fill=False, ec="#1b1c1e", lw=1.2)


def loads(name: str, rows: Sequence[Record]) -> Figure | None:
    """The load of each expert by layer, with what even routing would give."""
    drawn = known(rows, "layer", "expert", "load", "even")[:_MOST_CELLS]
    if not drawn:
        return None
    even = float(drawn[0]["even"])

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        alive = [row for row in drawn if float(row["load"]) > 0]
        dead = [row for row in drawn if float(row["load"]) <= 0]
        axes.plot([float(r["layer"]) for r in alive], [100 * float(r["load"]) for r in alive], "o",
                  color=BLUE, mfc="none", ms=5, label="An expert")  # fmt: skip
        if dead:
            axes.plot([float(r["layer"]) for r in dead], [0.0] * len(dead), "x", color=VERMILLION,
                      ms=6, label="A dead one")  # fmt: skip
        axes.axhline(100 * even, color=INK, lw=1, ls=(0, (4, 2)), label="Even")
        axes.set_ylim(bottom=-2 if dead else 0)
        _layers(axes, drawn)
        axes.set_ylabel("Share of the choices (%)")
        figure.legend(loc="outside lower center", ncols=3)

    count = sum(float(row["load"]) <= 0 for row in drawn)
    most = max(float(row["load"]) for row in drawn)
    message = (
        f"The busiest expert gets {number(most, 'proportion')}% of the choices, even would be "
        f"{number(even, 'proportion')}%; {count} of {plural(len(drawn), 'expert')} get none"
    )
    return draw(name, message, "", paint, height_inches=3.0)


def _names_down(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks([line + 0.5 for line in range(len(names))],
                    labels=[visible(one, _LABEL) for one in names])  # fmt: skip
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(axis="both", length=0)


def _layers(axes: Axes, rows: Sequence[Record]) -> None:
    layers = sorted({int(row["layer"]) for row in rows})
    step = max(1, math.ceil(len(layers) / 10))
    axes.set_xticks(layers[::step])
    axes.set_xlabel("Layer")


def _upright(axes: Axes, row: Record, column: str, at: float, colour: str) -> None:
    low, high = as_number(row.get(f"{column}_low")), as_number(row.get(f"{column}_high"))
    if low is not None and high is not None:
        axes.plot([at, at], [100 * low, 100 * high], color=colour, lw=1.3, zorder=3)
