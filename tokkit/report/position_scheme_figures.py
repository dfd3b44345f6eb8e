"""Figures of the positions experiment: one message each, intervals drawn.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw. A scheme has its colour, marker and line in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokkit.report.arms import Record
from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAPER,
    PERCENT_TICKS,
    PURPLE,
    SKY,
    VERMILLION,
    draw,
    is_bottom_row,
    legend,
    panels,
)
from tokkit.report.formatting import as_number, listing, number, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

ORDER, CONTROL = "all order tasks", "present"
_MAX_ARMS, _MAX_TASKS = 12, 8
_WHISKER: dict[str, Any] = {"lw": 1.2, "mew": 1.2, "ms": 7}
_TASKS = {
    ORDER: "All order tasks",
    "at k": "k-th from the start",
    "last k": "k-th from the end",
    "earlier": "Which of two is earlier",
    "after": "What comes after",
    CONTROL: "Is it there (no order)",
}


@dataclass(frozen=True, slots=True)
class Style:
    """How one arm is drawn."""

    colour: str
    marker: str
    line: Any = "-"


_STYLES = {
    "none": Style(GREY, "X"),
    "learned": Style(ORANGE, "s"),
    "sinusoidal": Style(GREEN, "D"),
    "rotary": Style(BLUE, "o"),
    "ALiBi": Style(VERMILLION, "^"),
    "rotary + linear": Style(SKY, "<", (0, (1.2, 1.2))),
    "rotary + NTK": Style(PURPLE, ">", (0, (5, 1.5))),
    "rotary + YaRN": Style(BLUE, "v", (0, (4, 1.2, 1, 1.2))),
    "one layer, none": Style(INK, "P"),
}


def style(arm: str) -> Style:
    """The style of an arm; grey for one that is not known."""
    return _STYLES.get(arm, Style(GREY, "p"))


def _label(arm: str) -> str:
    return visible(arm, 20)


def arms_of(rows: Sequence[Record], column: str = "arm") -> list[str]:
    """The arms of a table in their order, at most as many as a figure holds."""
    return list(dict.fromkeys(str(row[column]) for row in rows))[:_MAX_ARMS]


def _points(rows: Sequence[Record], value: str, scale: float) -> list[tuple[float, ...]]:
    """(length, value, low, high) of the rows that have all of them, in order of length."""
    found = []
    for row in rows:
        numbers = [as_number(row.get(name)) for name in ("length", value, "low", "high")]
        if None not in numbers:
            at, *values = (float(n) for n in numbers if n is not None)
            found.append((at, *(scale * v for v in values)))
    return sorted(found)


def _lines(axes: Axes, rows: Sequence[Record], value: str, scale: float = 1.0) -> None:
    """One line an arm over the lengths, arms side by side within a length, intervals upright."""
    lengths = sorted({float(row["length"]) for row in rows if as_number(row.get("length"))})
    arms = arms_of(rows)
    for order, arm in enumerate(arms):
        own = _points([row for row in rows if str(row["arm"]) == arm], value, scale)
        if not own:
            continue
        shift = 0.06 * (order - (len(arms) - 1) / 2)
        at = [lengths.index(point[0]) + shift for point in own]
        how = style(arm)
        for place, (_, _, low, high) in zip(at, own, strict=True):
            axes.plot([place, place], [low, high], color=how.colour, marker="_", **_WHISKER)
        axes.plot(at, [p[1] for p in own], color=how.colour, marker=how.marker, ls=how.line,
                  lw=1.6, ms=6, mec=PAPER, mew=0.6, label=_label(arm), zorder=4)  # fmt: skip
    axes.set_xticks(range(len(lengths)), labels=[f"{length:g}" for length in lengths])


def lengths(name: str, rows: Sequence[Record]) -> Figure | None:
    """Bits per byte of the same tokens against the length of the window, one line an arm."""
    drawn = [row for row in rows if as_number(row.get("bits_per_byte")) is not None]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        _lines(axes, drawn, "bits_per_byte")
        axes.set_xlabel("Length of the window (trained lengths)")
        axes.set_ylabel("Bits per byte of the same last tokens")
        figure.legend(loc="outside lower center", ncols=3, handlelength=3)

    known = {(str(row["arm"]), row["length"]) for row in drawn}
    gaps = [str(row["arm"]) for row in rows if (str(row["arm"]), row["length"]) not in known]
    missing = list(dict.fromkeys(gaps))
    caption = "Lower is better. Whiskers: 95% intervals over seeds and windows."
    if missing:
        caption += f" Past the trained length {listing(missing)} cannot be asked."
    return draw(name, _lengths_message(drawn), caption, paint, height_inches=4.1)


def _lengths_message(rows: Sequence[Record]) -> str:
    longest = max(float(row["length"]) for row in rows)
    last = {str(row["arm"]): float(row["bits_per_byte"]) for row in rows
            if float(row["length"]) == longest}  # fmt: skip
    plain = {arm: value for arm, value in last.items() if "+" not in arm} or last
    best, worst = min(plain, key=plain.__getitem__), max(plain, key=plain.__getitem__)
    return (
        f"At {longest:g} times the trained length {_label(best)} spends "
        f"{number(plain[best])} bits per byte, {_label(worst)} {number(plain[worst])}"
    )


def places(name: str, rows: Sequence[Record], trained: float | None) -> Figure | None:
    """Bits per byte by place in a window, one line an arm; a line where the trained length ends."""
    drawn = [row for row in rows if as_number(row.get("bits_per_byte")) is not None]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for arm in arms_of(drawn):
            own = [row for row in drawn if str(row["arm"]) == arm]
            at = [(float(row["start"]) + float(row["end"])) / 2 for row in own]
            how = style(arm)
            axes.plot(at, [float(row["bits_per_byte"]) for row in own], color=how.colour,
                      ls=how.line, lw=1.5, marker=how.marker, markevery=(len(own) // 9, 6), ms=5.5,
                      mec=PAPER, mew=0.6, label=_label(arm))  # fmt: skip
            bounded = [row for row in own if as_number(row.get("low")) is not None]
            if len(bounded) == len(own):
                low, high = ([float(row[side]) for row in own] for side in ("low", "high"))
                axes.fill_between(at, low, high, color=how.colour, alpha=0.15, lw=0)
        if trained is not None:
            axes.axvline(trained, color=INK, lw=1, ls=(0, (4, 2)))
            axes.annotate(" trained length", (trained, 1), xycoords=("data", "axes fraction"),
                          va="top", fontsize=9)  # fmt: skip
        axes.set_xlabel("Place in the window (tokens)")
        axes.set_ylabel("Bits per byte")
        figure.legend(loc="outside lower center", ncols=3, handlelength=3)

    caption = "Every token with all that is before it in its window. Bands: 95% over seeds."
    message = "Bits per byte by place, within the trained length and beyond"
    return draw(name, message, caption, paint, height_inches=4.1)


def order_lengths(name: str, rows: Sequence[Record]) -> Figure | None:
    """Accuracy on order tasks, and on the control, against the length of the list."""
    drawn = [row for row in rows if as_number(row.get("accuracy")) is not None]
    tasks = [task for task in (ORDER, CONTROL) if any(row["task"] == task for row in drawn)]
    if not tasks:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        shown, _ = panels(figure, len(tasks), sharey=True)
        for axes, task in zip(shown, tasks, strict=True):
            own = [row for row in drawn if row["task"] == task]
            _lines(axes, own, "accuracy", 100)
            _chance(axes, own)
            axes.set_title(_TASKS[task])
            axes.set_xlabel("Items (trained lengths)")
            axes.set_ylim(-3, 103)
            axes.set_yticks(PERCENT_TICKS)
        shown[0].set_ylabel("Right answers (%)")
        handles, _ = shown[0].get_legend_handles_labels()
        figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3)

    caption = (
        "The dotted line is chance. Whiskers: 95% intervals over seeds and questions. A learned "
        "table cannot be asked beyond its length."
    )
    message = "Accuracy on lists longer than any that was trained on"
    return draw(name, message, caption, paint, height_inches=3.9)


def _chance(axes: Axes, rows: Sequence[Record]) -> None:
    chance = next((as_number(row.get("chance")) for row in rows), None)
    if chance is not None:
        axes.axhline(100 * chance, color=INK, lw=1, ls=(0, (1, 2)))


def tasks(name: str, rows: Sequence[Record]) -> Figure | None:
    """Accuracy at the trained length, one panel a task, chance as a mark."""
    rows = [row for row in rows if row.get("length") == 1 and "+" not in str(row["arm"])]
    arms = arms_of(rows)
    named = list(dict.fromkeys(str(row["task"]) for row in rows))[:_MAX_TASKS]
    if not named:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.lines import Line2D

        shown, spare = panels(figure, len(named), sharex=True, sharey=True)
        for place, (axes, task) in enumerate(zip(shown, named, strict=True)):
            own = [row for row in rows if str(row["task"]) == task]
            _down(axes, own, arms, "accuracy")
            chance = next((as_number(row.get("chance")) for row in own), None)
            if chance is not None:
                axes.axvline(100 * chance, color=INK, lw=1, ls=(0, (1, 2)))
            axes.set_title(_TASKS.get(task, visible(task, 24)))
            axes.set_xlim(-4, 104)
            axes.set_xticks(PERCENT_TICKS)
            if is_bottom_row(place, len(named)):
                axes.set_xlabel("Right answers (%)")
        mark = Line2D([], [], color=INK, lw=1, ls=(0, (1, 2)), label="Chance")
        point = Line2D([], [], color=INK, marker="o", ms=5, lw=1.2, label="Accuracy, 95% interval")
        legend(figure, spare, [point, mark])

    height = 0.7 + math.ceil(len(named) / 2) * (0.6 + 0.2 * len(arms))
    caption = (
        "At the trained length. One layer without positions cannot tell order: what it reaches "
        "above chance is what the items alone tell."
    )
    return draw(name, _tasks_message(rows), caption, paint, height_inches=height)


def _tasks_message(rows: Sequence[Record]) -> str:
    found = {str(row["arm"]): number(row["accuracy"], "proportion") for row in rows
             if row["task"] == ORDER and as_number(row.get("accuracy")) is not None}  # fmt: skip
    if not found:
        return "Accuracy by task and scheme"
    return "Right on order tasks: " + ", ".join(f"{_label(a)} {v}%" for a, v in found.items())


def _down(axes: Axes, rows: Sequence[Record], arms: Sequence[str], value: str) -> None:
    """Points in percent with their intervals, one line an arm, names at the left."""
    column = "arm" if rows and "arm" in rows[0] else "scheme"
    for row in rows:
        middle, low, high = (as_number(row.get(name)) for name in (value, "low", "high"))
        arm = str(row[column])
        if middle is None or arm not in arms:
            continue
        how, line = style(arm), arms.index(arm)
        if low is not None and high is not None:
            axes.plot(
                [100 * low, 100 * high], [line, line], color=how.colour, marker="|", **_WHISKER
            )
        axes.plot([100 * middle], [line], how.marker, color=how.colour, ms=6, zorder=4)
    axes.set_yticks(range(len(arms)), labels=[_label(arm) for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def gains(name: str, rows: Sequence[Record]) -> Figure | None:
    """What each scheme adds to none: order tasks beside the control."""
    named = [task for task in (ORDER, CONTROL) if any(row["task"] == task for row in rows)]
    schemes = arms_of(rows, "scheme")
    if not named:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        shown, _ = panels(figure, len(named), sharey=True, sharex=True)
        for axes, task in zip(shown, named, strict=True):
            _down(axes, [row for row in rows if row["task"] == task], schemes, "difference")
            axes.axvline(0, color=INK, lw=1)
            axes.set_title(_TASKS[task])
            axes.set_xlabel("Minus none (% points)")

    caption = "The same seeds, batches and questions. Whiskers: 95% over seeds and questions."
    return draw(name, "What positions add to the same model without them", caption, paint,
                height_inches=0.95 + 0.28 * len(schemes))  # fmt: skip


def pairs(name: str, rows: Sequence[Record]) -> Figure | None:
    """How unequally the losses of two schemes change from 1 to 2 trained lengths."""
    drawn = [row for row in rows if as_number(row.get("difference")) is not None][:_MAX_ARMS]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for line, row in enumerate(drawn):
            axes.plot([row["low"], row["high"]], [line, line], color=BLUE, marker="|", **_WHISKER)
            axes.plot([row["difference"]], [line], "o", color=BLUE, ms=5.5, zorder=4)
        axes.axvline(0, color=INK, lw=1)
        names = [f"{_label(str(r['first']))} minus {_label(str(r['second']))}" for r in drawn]
        axes.set_yticks(range(len(drawn)), labels=names)
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Difference in change (bits per byte)")

    caption = "Below 0: the first scheme fares better past its trained length. Whiskers: 95%."
    return draw(name, "From 1 to 2 trained lengths, pairs of schemes compared", caption, paint,
                height_inches=0.8 + 0.27 * len(drawn))  # fmt: skip


def curves(name: str, rows: Sequence[Record]) -> Figure | None:
    """Accuracy on order tasks and on the control while training, the mean over seeds."""
    named = [task for task in ("order", CONTROL) if any(row["measure"] == task for row in rows)]
    if not named:
        return None
    titles = {"order": _TASKS[ORDER], CONTROL: _TASKS[CONTROL]}

    def paint(figure: MatplotlibFigure) -> None:
        shown, _ = panels(figure, len(named), sharey=True)
        for axes, task in zip(shown, named, strict=True):
            own = [row for row in rows if row["measure"] == task]
            for arm in arms_of(own, "scheme"):
                at: dict[float, list[float]] = {}
                for row in own:
                    if str(row["scheme"]) == arm and as_number(row["value"]) is not None:
                        at.setdefault(float(row["step"]), []).append(float(row["value"]))
                how = style(arm)
                means = [100 * sum(values) / len(values) for values in at.values()]
                axes.plot(list(at), means, color=how.colour, marker=how.marker, lw=1.5, ms=5,
                          mec=PAPER, mew=0.5, label=_label(arm))  # fmt: skip
            axes.set_title(titles[task])
            axes.set_xlabel("Training step")
            axes.set_ylim(-3, 103)
            axes.set_yticks(PERCENT_TICKS)
        shown[0].set_ylabel("Right answers (%)")
        handles, _ = shown[0].get_legend_handles_labels()
        figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3)

    return draw(name, "How fast each scheme learns the questions", "Mean over seeds.", paint,
                height_inches=3.6)  # fmt: skip
