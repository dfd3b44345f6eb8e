"""Figures of the ladder: losses, steps, learning rates, costs.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    VERMILLION,
    draw,
    panels,
)
from tokkit.report.formatting import as_number, number, plural, visible
from tokkit.report.position_figures import log_axis
from tokkit.report.subjects import Record, known
from tokkit.report.tokenizer_figures import beside, list_down, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

BASE, DENSE = "2017", "to-grouped"
_MOST_RUNGS, _MOST_STEPS, _LABEL = 14, 8, 30
_WHISKER: dict[str, Any] = {"marker": "|", "lw": 1.3, "mew": 1.3, "ms": 7}
_CAP = 1.12
"""How far above the unigram a loss is drawn, as a factor of it."""
# Last step taken -> colour, marker, dash.
_STYLES: dict[str, tuple[str, str, Any]] = {
    "": (GREY, "X", "-"),
    "pre-norm": (ORANGE, "s", (0, (5, 1.5))),
    "rmsnorm": (GREEN, "D", (0, (1.2, 1.2))),
    "rotary": (BLUE, "o", "-"),
    "swiglu": (VERMILLION, "^", (0, (6, 1.5, 1.2, 1.5))),
    "grouped": (PURPLE, "v", (0, (3, 1))),
    "mixture": (SKY, "h", "-"),
}


def _style(step: object) -> tuple[str, str, Any]:
    return _STYLES.get(str(step or ""), (GREY, "p", "-"))


def _span(axes: Axes, row: Record, line: float, colour: str, stem: str = "") -> None:
    low, high = as_number(row.get(f"{stem}low")), as_number(row.get(f"{stem}high"))
    if low is not None and high is not None:
        axes.plot([low, high], [line, line], color=colour, zorder=4, **_WHISKER)


def losses(name: str, rows: Sequence[Record], unigram: float | None) -> Figure | None:
    """Bits per byte of every model as against 2017's, the chain's above, the steps alone below."""
    drawn = known(rows, "bits_per_byte", "minus_2017")[:_MOST_RUNGS]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        axes.axvline(0, color=INK, lw=1, ls=(0, (4, 2)))
        chain = [(float(r["minus_2017"]), n) for n, r in enumerate(drawn) if r.get("chain") is True]
        axes.plot([x for x, _ in chain], [n for _, n in chain], color=GREY, lw=1.4, zorder=3)
        for line, row in enumerate(drawn):
            colour, marker, _ = _style(row.get("step"))
            _span(axes, row, line, colour, "minus_2017_")
            axes.plot([row["minus_2017"]], [line], marker, color=colour, ms=7, mec=PAPER, mew=0.6,
                      zorder=5)  # fmt: skip
            beside(axes, number(row["bits_per_byte"]), line)
        list_down(axes, [visible(str(row.get("label")), _LABEL) for row in drawn])
        axes.set_xlabel("Bits per byte minus those of 2017 (left is better)")

    found = {str(row.get("rung")): number(row["bits_per_byte"]) for row in drawn}
    message = "Bits per byte of every rung, at its own best learning rate"
    if BASE in found and DENSE in found:
        message = (
            f"From the transformer of 2017 to today's dense stack: {found[BASE]} to "
            f"{found[DENSE]} bits per byte"
        )
    caption = (
        "Joined: one step after another; below: steps alone. Right: bits per byte (unigram "
        f"baseline: {number(unigram)}). Equal active parameters and tokens. Whiskers: 95%, paired "
        "by seed and window."
    )
    return draw(name, message, caption, paint, height_inches=0.9 + 0.27 * len(drawn))


def steps(name: str, chain: Sequence[Record], alone: Sequence[Record]) -> Figure | None:
    """What each step changes, taken in its turn and alone."""
    told = {"On the chain": known(chain, "difference", "low", "high")[:_MOST_STEPS],
            "Alone": known(alone, "difference", "low", "high")[:_MOST_STEPS]}  # fmt: skip
    named = list(dict.fromkeys(str(row.get("step")) for rows in told.values() for row in rows))
    if not named:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        shown, _ = panels(figure, len(told), sharex=True, sharey=True)
        for axes, (title, rows) in zip(shown, told.items(), strict=True):
            for row in rows:
                line, sure = named.index(str(row.get("step"))), row.get("outcome") != "not shown"
                colour = _outcome_colour(row.get("outcome"))
                _span(axes, row, line, colour)
                axes.plot([row["difference"]], [line], "o", color=colour, ms=6.5, mew=1.5,
                          mfc=colour if sure else PAPER, zorder=5)  # fmt: skip
            axes.axvline(0, color=INK, lw=1)
            axes.set_title(title)
            axes.set_xlabel("Change (bits per byte)")
            list_down(axes, [visible(step, _LABEL) for step in named])

    caption = (
        "Left of 0 is better. Filled: shown by interval and test, corrected over the steps; "
        "hollow: not shown. A mixture alone stands on SwiGLU. Whiskers: 95%."
    )
    return draw(name, _steps_message(told), caption, paint, height_inches=1.0 + 0.3 * len(named))


def _outcome_colour(outcome: object) -> str:
    return {"helps": BLUE, "costs": VERMILLION}.get(str(outcome), GREY)


def _steps_message(told: dict[str, list[Record]]) -> str:
    parts = []
    for title, rows in told.items():
        helps, costs = (sum(r.get("outcome") == o for r in rows) for o in ("helps", "costs"))
        parts.append(f"{title.lower()} {helps} of {plural(len(rows), 'step')} shown to help, "
                     f"{costs} to cost")  # fmt: skip
    joined = "; ".join(parts)
    return joined[:1].upper() + joined[1:]


def rates(
    name: str, rows: Sequence[Record], rungs: Sequence[Record], unigram: float | None
) -> Figure | None:
    """Loss against learning rate: the rungs of the chain, and the steps alone."""
    drawn = [row for row in known(rows, "rate") if float(row["rate"]) > 0]
    kinds = {str(row.get("rung")): row for row in rungs}
    drawn = [row for row in drawn if str(row.get("rung")) in kinds]
    if not drawn or unigram is None:
        return None
    titles = {"One after another": "chain", "Each alone": "alone"}

    def paint(figure: MatplotlibFigure) -> None:
        shown, _ = panels(figure, len(titles), sharex=True, sharey=True)
        for axes, (title, kind) in zip(shown, titles.items(), strict=True):
            for rung, about in kinds.items():
                if about.get(kind) or rung == BASE:
                    own = [row for row in drawn if str(row.get("rung")) == rung]
                    _rate_line(axes, own, about, unigram)
            axes.axhline(unigram, color=INK, lw=1, ls=(0, (1, 2)))
            axes.set_title(title)
            axes.set_xlabel("Learning rate")
            axes.set_xscale("log")
            log_axis(axes, "x", 10)
        shown[0].set_ylabel("Bits per byte")
        _rate_legend(figure, [str(about.get("step") or "") for about in kinds.values()])

    caption = (
        "Ringed: the rate chosen. × at the top: diverged, or worse than shown. Dotted: the unigram "
        "baseline, to which a model that collapses falls back. Windows that choose."
    )
    return draw(name, _rates_message(drawn), caption, paint, height_inches=4.3)


def _rate_line(axes: Axes, rows: Sequence[Record], about: Record, unigram: float) -> None:
    colour, marker, dash = _style(about.get("step"))
    top, points = unigram * _CAP, []
    for row in sorted(rows, key=lambda row: float(row["rate"])):
        bits = as_number(row.get("bits_per_byte"))
        lost = bits is None or bits > top
        points.append((float(row["rate"]), top if lost or bits is None else bits))
        if lost:
            axes.plot(*points[-1], "x", color=colour, ms=7, mew=1.8, zorder=5)
        elif row.get("chosen") is True:
            axes.plot(*points[-1], "o", mfc="none", mec=colour, ms=11, mew=1.4, zorder=4)
    axes.plot([x for x, _ in points], [y for _, y in points], color=colour, marker=marker, ls=dash,
              lw=1.5, ms=5, mec=PAPER, mew=0.5)  # fmt: skip


def _rate_legend(figure: MatplotlibFigure, found: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for step in dict.fromkeys(found):
        colour, marker, dash = _style(step)
        label = visible(step, _LABEL) if step else "2017"
        handles.append(Line2D([], [], color=colour, marker=marker, ls=dash, lw=1.5, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=2.6)


def _rates_message(rows: Sequence[Record]) -> str:
    def largest(rung: str) -> float | None:
        fine = [float(r["rate"]) for r in rows if r.get("rung") == rung and r.get("trains") is True]
        fails = [
            float(r["rate"]) for r in rows if r.get("rung") == rung and r.get("trains") is False
        ]
        below = [rate for rate in fine if not fails or rate < min(fails)]
        return max(below, default=None)

    ends = [largest(rung) for rung in (BASE, DENSE)]
    if None in ends:
        return "Loss against learning rate"
    return (
        f"The transformer of 2017 trains up to a learning rate of {ends[0]:g}, today's dense stack "
        f"up to {ends[1]:g}, of those tried"
    )


def speed(name: str, rows: Sequence[Record]) -> Figure | None:
    """Steps a second as against 2017, with intervals over rounds."""
    drawn = known(rows, "speed")[:_MOST_RUNGS]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        axes.axvline(1, color=INK, lw=1, ls=(0, (4, 2)))
        for line, row in enumerate(drawn):
            _span(axes, row, line, BLUE)
            axes.plot([row["speed"]], [line], "o", color=BLUE, ms=6, zorder=5)
            beside(axes, f"{row['speed']:.2f} x", line)
        list_down(axes, [visible(str(row.get("label")), _LABEL) for row in drawn])
        axes.set_xlim(left=0)
        axes.set_xlabel("Training steps a second, as against 2017 (times)")

    slowest = min(drawn, key=lambda row: float(row["speed"]))
    end = next((row for row in drawn if row.get("rung") == DENSE), None)
    told = f"the slowest, {visible(str(slowest.get('label')), _LABEL)}, {slowest['speed']:.2f}"
    if end is not None:
        told = f"today's dense stack {end['speed']:.2f}; {told}"
    message = f"Steps a second, as multiples of 2017's: {told}"
    caption = "One thread of a CPU, rungs in turn. Whiskers: 95% over rounds."
    return draw(name, message, caption, paint, height_inches=0.9 + 0.26 * len(drawn))


_PARTS = (
    ("parameter_bytes", "Parameters", BLUE, ""),
    ("optimizer_bytes", "Optimizer", ORANGE, "//"),
    ("activation_bytes", "Kept for the backward pass", GREEN, ".."),
)


def memory(name: str, rows: Sequence[Record]) -> Figure | None:
    """What a training step holds in memory, by part."""
    drawn = known(rows, *(column for column, *_ in _PARTS))[:_MOST_RUNGS]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        starts = [0.0] * len(drawn)
        for column, label, colour, hatch in _PARTS:
            sizes = [float(row[column]) / 1e6 for row in drawn]
            axes.barh(range(len(drawn)), sizes, left=starts, height=0.62, color=colour, hatch=hatch,
                      edgecolor=PAPER, lw=0.8, label=label)  # fmt: skip
            starts = [start + size for start, size in zip(starts, sizes, strict=True)]
        for line, row in enumerate(drawn):
            cache = as_number(row.get("cache_bytes_per_token"))
            told = "" if cache is None else f", {cache:,.0f} B"
            beside(axes, f"{starts[line]:.1f} MB{told}", line)
        list_down(axes, [visible(str(row.get("label")), _LABEL) for row in drawn])
        axes.set_xlabel("Megabytes of a training step")
        figure.legend(loc="outside lower center", ncols=3, handlelength=1.6)

    caption = (
        "Right: all of it, and the bytes of cache of each token read at inference. Counted from "
        "shapes, and from what the forward pass keeps."
    )
    cache = {str(row.get("rung")): as_number(row.get("cache_bytes_per_token")) for row in drawn}
    message = "Memory of a training step, and of a cached token"
    if (first := cache.get(BASE)) and (last := cache.get(DENSE)):
        message = (
            f"Today's dense stack keeps {number(last / first, 'proportion')}% of 2017's cache for "
            "each token read"
        )
    return draw(name, message, caption, paint, height_inches=1.3 + 0.27 * len(drawn))
