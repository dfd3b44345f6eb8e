"""Figures of positions: what is rotated or added, what rounding leaves, losses.

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
from tokkit.report.subjects import Record, known, points
from tokkit.report.tokenizer_figures import list_down, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MAX_HEADS_LISTED = 40
_WHISKER: dict[str, Any] = {"lw": 1.3, "zorder": 4}
# Way of computing -> colour, marker, dash.
_WAYS: dict[str, tuple[str, str, Any]] = {
    "float32": (BLUE, "o", "-"),
    "float32 angles": (GREEN, "s", (0, (5, 1.5))),
    "bfloat16 tables": (ORANGE, "D", (0, (1.2, 1.2))),
    "bfloat16 angles": (VERMILLION, "^", (0, (6, 1.5, 1.2, 1.5))),
}


def log_axis(axes: Axes, which: str, base: int, *, most: int = 8) -> None:
    """A logarithmic axis, "x" or "y", with plain numbers at powers of `base`."""
    low, high = (math.log(end, base) for end in getattr(axes, f"get_{which}lim")())
    powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    powers = powers[:: max(1, math.ceil(len(powers) / most))]
    setter = getattr(axes, f"set_{which}ticks")
    setter([float(base) ** power for power in powers], labels=[_plain(base, p) for p in powers])
    setter([], minor=True)
    if len(powers) < 2 and base == 10:
        between = [step * 10.0**power for power in (low // 1, low // 1 + 1) for step in (1, 2, 5)]
        setter(shown := [t for t in between if low <= math.log10(t) <= high],
               labels=[f"{tick:g}" for tick in shown])  # fmt: skip


def _plain(base: int, power: int) -> str:
    if power < 0:
        return f"{float(base) ** power:g}"
    whole = base**power
    return f"{whole:,}" if whole < 1_000_000 else f"{whole // 1_000_000:,}M"


def wavelengths(name: str, rows: Sequence[Record], context: float | None) -> Figure | None:
    """The wavelength of each pair on a logarithmic axis, against the context."""
    drawn = [row for row in known(rows, "pair", "wavelength") if float(row["wavelength"]) > 0]
    if not drawn:
        return None
    kinds = list(dict.fromkeys(str(row.get("layers")) for row in drawn))[:2]

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for kind, marker in zip(kinds, "os", strict=False):
            own = [row for row in drawn if str(row.get("layers")) == kind]
            _wavelength_marks(axes, own, context, marker, kind if len(kinds) > 1 else "")
        if context is not None:
            axes.axhline(context, color=INK, lw=1, ls=(0, (4, 2)))
            axes.annotate(
                f"context: {context:,.0f} tokens", (0, context), xytext=(2, 3),
                textcoords="offset points", fontsize=9,
            )  # fmt: skip
        axes.set_yscale("log")
        log_axis(axes, "y", 10)
        axes.set_xlabel("Rotary pair")
        axes.set_ylabel("Wavelength (tokens)")
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0.98), handlelength=1.4)

    if context is None:
        message = "How many tokens each rotary pair takes for one turn"
    else:
        slow = sum(float(row["wavelength"]) > context for row in drawn)
        message = (
            f"{slow} of {plural(len(drawn), 'rotary pair')} never complete a turn within "
            f"{context:,.0f} tokens"
        )
    caption = "A pair that turns less than once tells near from far, and never says the same twice."
    return draw(name, message, caption, paint, height_inches=3.3)


def _wavelength_marks(
    axes: Axes, rows: Sequence[Record], context: float | None, marker: str, kind: str
) -> None:
    tail = f", {visible(kind, 12)} layers" if kind else ""
    base = [
        (row["pair"], 2 * math.pi / float(row["base_radians"]))
        for row in known(rows, "base_radians", "radians")
        if float(row["base_radians"]) > 0
        and abs(float(row["base_radians"]) / float(row["radians"]) - 1) > 1e-9
    ]
    if base:
        axes.plot(
            [x for x, _ in base], [y for _, y in base], "x", color=GREY, ms=4,
            label=f"Before scaling{tail}",
        )  # fmt: skip
    style: dict[str, Any] = {"marker": marker, "ls": "none", "ms": 4.5, "mew": 1.3}
    for slow, colour, label in (
        (False, BLUE, "Turns once or more"),
        (True, VERMILLION, "Never turns once"),
    ):
        own = [
            r for r in rows if (context is not None and float(r["wavelength"]) > context) == slow
        ]
        if own:
            face = PAPER if slow else colour
            axes.plot(
                *points(own, "pair", "wavelength"), color=colour, mfc=face,
                label=f"{label}{tail}", **style,
            )  # fmt: skip


def slopes(name: str, rows: Sequence[Record]) -> Figure | None:
    """Where each ALiBi head's penalty has halved a weight, and made it a hundredth."""
    drawn = [
        row for row in known(rows, "head", "halved_at", "hundredth_at")
        if float(row["halved_at"]) > 0
    ][:MAX_HEADS_LISTED]  # fmt: skip
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, row in enumerate(drawn):
            ends = [float(row["halved_at"]), float(row["hundredth_at"])]
            axes.plot(ends, [line, line], color=GREY, lw=1.6, zorder=3)
            axes.plot(ends[:1], [line], "o", color=BLUE, mfc=PAPER, mew=1.5, ms=7, zorder=4)
            axes.plot(ends[1:], [line], "o", color=BLUE, ms=5.5, zorder=4)
        list_down(axes, [f"head {row['head']}" for row in drawn])
        axes.set_xscale("log")
        log_axis(axes, "x", 10)
        axes.set_xlabel("Distance (tokens); hollow: weight halved, filled: a hundredth")

    most = max(float(row["hundredth_at"]) for row in drawn)
    least = min(float(row["hundredth_at"]) for row in drawn)
    message = (
        f"ALiBi lowers a weight a hundredfold after {least:,.0f} tokens in the nearest-sighted "
        f"head, {most:,.0f} in the farthest"
    )
    return draw(name, message, "", paint, height_inches=1.0 + 0.22 * len(drawn))


def rounding(name: str, rows: Sequence[Record]) -> Figure | None:
    """How far scores are from those of their offset, by position and way of computing."""
    drawn = [
        row for row in known(rows, "position", "deviation")
        if row.get("way") in _WAYS and float(row["deviation"]) > 0
    ]  # fmt: skip
    if not drawn:
        return None
    ways = [way for way in _WAYS if any(row["way"] == way for row in drawn)]

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for way in ways:
            colour, marker, dash = _WAYS[way]
            x, y = points([r for r in drawn if r["way"] == way], "position", "deviation", 100)
            axes.plot(x, y, marker=marker, color=colour, ls=dash, lw=1.6, ms=5, label=way)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        log_axis(axes, "x", 2)
        log_axis(axes, "y", 10)
        axes.set_xlabel("Position of the query (tokens)")
        axes.set_ylabel("Largest deviation\n(% of the largest score)")
        figure.legend(loc="outside lower center", ncols=2, handlelength=3.4)

    worst = max(drawn, key=lambda row: float(row["deviation"]))
    message = (
        f"With {worst['way']} rotary scores are off by up to "
        f"{number(worst['deviation'], 'proportion')}% of the largest score"
    )
    caption = "Against float64 scores of the offset alone, over 64 offsets, on the same vectors."
    return draw(name, message, caption, paint, height_inches=3.6)


def loss_by_position(name: str, rows: Sequence[Record]) -> Figure | None:
    """Loss in bins of positions, with intervals; the initial weights' beside."""
    drawn = known(rows, "first", "last", "nats")
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for row in drawn:
            across = [float(row["first"]), float(row["last"]) + 1]
            axes.plot(across, [row["nats"]] * 2, color=BLUE, lw=2.4, solid_capstyle="butt")
            _upright(axes, row, "nats", (across[0] * across[1]) ** 0.5 if across[0] else 0.5)
        initial = known(drawn, "initial_nats")
        for row in initial:
            across = [float(row["first"]), float(row["last"]) + 1]
            axes.plot(across, [row["initial_nats"]] * 2, color=GREY, lw=2, ls=(0, (2, 1)))
        if initial:
            axes.annotate(
                "initial weights", (float(initial[-1]["last"]), initial[-1]["initial_nats"]),
                xytext=(0, -11), textcoords="offset points", ha="right", fontsize=9,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        log_axis(axes, "x", 2, most=10)
        axes.set_xlabel("Tokens before the predicted one")
        axes.set_ylabel("Loss (nats a token)")

    first, last = drawn[0], drawn[-1]
    message = (
        f"Loss falls from {number(first['nats'])} to {number(last['nats'])} nats a token as the "
        "context grows"
        if float(last["nats"]) < float(first["nats"])
        else "Loss does not fall as the context grows"
    )
    caption = "Windows begin at random places of their texts. Intervals of 95%."
    return draw(name, message, caption, paint, height_inches=3.1)


def _upright(axes: Axes, row: Record, column: str, at: float, stem: str = "") -> None:
    """A vertical interval with caps, where there is one."""
    stem = stem or column
    low, high = as_number(row.get(f"{stem}_low")), as_number(row.get(f"{stem}_high"))
    if low is not None and high is not None:
        axes.plot([at, at], [low, high], color=BLUE, marker="_", ms=6, mew=1.3, **_WHISKER)


def shuffled(name: str, rows: Sequence[Record]) -> Figure | None:
    """How much loss grows as order is destroyed within larger windows."""
    drawn = [row for row in known(rows, "window", "more") if float(row["window"]) > 1]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        x, y = points(drawn, "window", "more")
        axes.plot(x, y, "o-", color=BLUE, lw=1.4, ms=5)
        for row in drawn:
            _upright(axes, row, "more", float(row["window"]))
        axes.axhline(0, color=INK, lw=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, labels=[f"{int(size)}" for size in x])
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.set_xlabel("Tokens shuffled within windows of; the last: all")
        axes.set_ylabel("More loss than in order\n(nats a token)")

    first, last = drawn[0], drawn[-1]
    message = (
        f"Swapping within pairs costs {number(first['more'])} nats a token, shuffling everything "
        f"{number(last['more'])}"
        if int(first["window"]) == 2 and len(drawn) > 1
        else f"Shuffling everything costs {number(last['more'])} nats a token"
    )
    caption = "The same texts in order and shuffled, paired. Intervals of 95%."
    return draw(name, message, caption, paint, height_inches=3.0)


def power(
    name: str, rows: Sequence[Record], *, periodic: Any, p: Any, shuffles: Any = None
) -> Figure | None:
    """Power of a table along the positions, by frequency, against shuffled tables."""
    drawn = [row for row in known(rows, "turns", "share") if float(row["share"]) > 0]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        axes.plot(*points(drawn, "turns", "share", 100), color=BLUE, lw=1.6, label="This table")
        axes.plot(
            *points(drawn, "turns", "null_high", 100), color=VERMILLION, lw=1.4, ls=(0, (4, 2)),
            label="95% of shuffled tables are below",
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        log_axis(axes, "x", 10)
        log_axis(axes, "y", 10)
        axes.set_xlabel("Frequency (turns within the table)")
        axes.set_ylabel("Share of power (%)")
        axes.legend(loc="lower left")

    most = max(drawn, key=lambda row: float(row["share"]))
    share = number(most["share"], "proportion")
    message = (
        f"{share}% of the power of the table of positions lies at "
        f"{plural(int(most['turns']), 'turn')}, far from chance"
        if periodic
        else "No frequency of the table of positions stands out from shuffled tables"
    )
    caption = f"Largest share against {number(shuffles)} shuffles of the rows: p = {number(p)}."
    return draw(name, message, caption, paint, height_inches=3.1)
