"""The figures of the strawberry experiment: one message each, intervals drawn.

Each function takes the arms and the rows of its table (tokkit.report.arms.records), with
accuracies as proportions, and returns a rendered figure, or None when there is nothing to draw.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report import messages
from tokkit.report.arms import (
    FOCUS,
    SPLITS,
    Arm,
    Record,
    focus_of,
    measure_label,
    measures_in,
    numbers,
)
from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    BLUE,
    INK,
    PANEL_COLUMNS,
    PAPER,
    PERCENT_TICKS,
    draw,
    is_bottom_row,
    legend,
    panels,
)
from tokkit.report.formatting import as_number, number, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_HEAT_COLUMNS = 3
_MAX_HEAT = 0.75
_MAX_PLACES = 14
_WHISKER_WIDTH = 1.3
_CAP_SIZE = 8
_POINT_SIZE = 5


def _percent(value: Any) -> float | None:
    plain = as_number(value)
    return None if plain is None else 100 * plain


def _whisker(axes: Axes, row: Record, at: float, colour: str, *, upright: bool = False) -> None:
    low, high = _percent(row.get("low")), _percent(row.get("high"))
    if low is None or high is None:
        return
    across, along = [at, at], [low, high]
    axes.plot(
        *((across, along) if upright else (along, across)),
        color=colour,
        lw=_WHISKER_WIDTH,
        marker="_" if upright else "|",
        ms=_CAP_SIZE,
        mew=_WHISKER_WIDTH,
        zorder=5,
    )


def accuracy(name: str, arms: Sequence[Arm], rows: Sequence[Record]) -> Figure | None:
    """Accuracy by arm, one panel a measure, with intervals and the best baseline as a mark."""
    measures = measures_in(rows)
    drawn = [arm for arm in arms if any(row["arm"] == arm.name for row in rows)]
    if not measures or not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        drawn_panels, _ = panels(figure, len(measures), sharex=True, sharey=True)
        for place, (axes, measure) in enumerate(zip(drawn_panels, measures, strict=True)):
            own = [row for row in rows if row["measure"] == measure]
            _accuracy_panel(axes, drawn, own)
            axes.set_title(measure_label(measure))
            if is_bottom_row(place, len(measures)):
                axes.set_xlabel("Right answers (%)")
        legend(figure, (), _accuracy_marks())

    height = 0.6 + math.ceil(len(measures) / PANEL_COLUMNS) * (0.75 + 0.27 * len(drawn))
    return draw(name, messages.accuracy(arms, rows), SPLITS, paint, height_inches=height)


def _accuracy_panel(axes: Axes, arms: Sequence[Arm], rows: Sequence[Record]) -> None:
    for line, arm in enumerate(arms):
        for row in (row for row in rows if row["arm"] == arm.name):
            baseline, value = _percent(row.get("baseline")), _percent(row["accuracy"])
            if baseline is not None:
                axes.plot([baseline], [line], "|", color=INK, ms=12, mew=1.6, zorder=3)
            _whisker(axes, row, line, arm.colour)
            if value is not None:
                axes.plot([value], [line], arm.marker, color=arm.colour, ms=_POINT_SIZE, zorder=6)
            axes.annotate(
                number(row["accuracy"], "proportion"),
                (1, line),
                xycoords=("axes fraction", "data"),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
    _arm_axis(axes, arms)
    axes.set_xlim(-4, 104)
    axes.set_xticks(PERCENT_TICKS, labels=["0", "", "50", "", "100"])
    axes.tick_params(labelbottom=True)


def _arm_axis(axes: Axes, arms: Sequence[Arm]) -> None:
    axes.set_yticks(range(len(arms)), labels=[arm.short() for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _accuracy_marks() -> list[Any]:
    from matplotlib.lines import Line2D

    accuracy = Line2D([], [], color=INK, marker="o", ms=_POINT_SIZE, lw=_WHISKER_WIDTH)
    baseline = Line2D([], [], color=INK, marker="|", ms=12, mew=1.6, ls="none")
    accuracy.set_label("Accuracy with its interval")
    baseline.set_label("Best baseline")
    return [accuracy, baseline]


def _rescue_marks() -> list[Any]:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"color": INK, "marker": "o", "mew": 1.6, "ls": "none"}
    word = Line2D([], [], mfc=PAPER, ms=9, label="Asked as a word", **style)
    return [word, Line2D([], [], ms=5.5, label="Spelled out", **style)]


def rescue(name: str, arms: Sequence[Arm], rows: Sequence[Record]) -> Figure | None:
    """The same words with the same weights: as words (hollow) and spelled out (filled)."""
    drawn = [arm for arm in arms if any(row["arm"] == arm.name for row in rows)]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
        for line, arm in enumerate(drawn):
            for row in (row for row in rows if row["arm"] == arm.name):
                _dumbbell(left, row, line, arm)
                _gain(right, row, line, arm)
        for axes in (left, right):
            _arm_axis(axes, drawn)
        left.set_xlim(-4, 104)
        left.set_xticks(PERCENT_TICKS)
        left.set_xlabel("Right answers (%)")
        right.axvline(0, color=INK, lw=1)
        right.set_xlabel("Gain (% points)")
        legend(figure, (), _rescue_marks())

    sizes = [int(size) for size in numbers(rows, "n")]
    caption = (
        f"Up to {plural(max(sizes), 'question')} an arm; intervals in brackets." if sizes else ""
    )
    height = 1.1 + 0.33 * len(drawn)
    return draw(name, messages.rescue(arms, rows), caption, paint, height_inches=height)


def _dumbbell(axes: Axes, row: Record, line: int, arm: Arm) -> None:
    before, after = _percent(messages.word_share(row)), _percent(messages.spelled_share(row))
    if before is None or after is None:
        return
    axes.annotate(
        "",
        (after, line),
        (before, line),
        arrowprops={"arrowstyle": "-", "color": arm.colour, "lw": 2, "shrinkA": 0, "shrinkB": 0},
    )
    style: dict[str, Any] = {"marker": arm.marker, "color": arm.colour, "mew": 1.6}
    axes.plot([before], [line], mfc=PAPER, ms=9, zorder=4, **style)
    axes.plot([after], [line], ms=5.5, zorder=5, **style)


def _gain(axes: Axes, row: Record, line: int, arm: Arm) -> None:
    value = _percent(row.get("gain"))
    if value is None:
        return
    _whisker(axes, row, line, arm.colour)
    axes.plot([value], [line], arm.marker, color=arm.colour, ms=_POINT_SIZE, zorder=6)
    axes.annotate(
        messages.gain(row),
        (1, line),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
    )


def confusion(name: str, arms: Sequence[Arm], rows: Sequence[Record]) -> Figure | None:
    """Truth against answer on words of novel tokens, one heat map an arm, rows sum to 100%."""
    rows = [row for row in rows if row["measure"] == FOCUS]
    drawn = [arm for arm in arms if any(row["arm"] == arm.name for row in rows)]
    if not drawn:
        return None
    truths = _ordered(row["truth"] for row in rows)
    answers = _ordered([*truths, *(row["answer"] for row in rows)])

    def paint(figure: MatplotlibFigure) -> None:
        drawn_panels, _ = panels(figure, len(drawn), _HEAT_COLUMNS, sharex=True, sharey=True)
        for place, (axes, arm) in enumerate(zip(drawn_panels, drawn, strict=True)):
            _heat_map(axes, [row for row in rows if row["arm"] == arm.name], truths, answers)
            axes.set_title(arm.short())
            axes.tick_params(labelbottom=True)
            if is_bottom_row(place, len(drawn), _HEAT_COLUMNS):
                axes.set_xlabel("Answer")
            if place % _HEAT_COLUMNS == 0:
                axes.set_ylabel("True count")

    height = math.ceil(len(drawn) / _HEAT_COLUMNS) * (0.75 + 0.26 * len(truths))
    caption = (
        "Each cell: percent of the questions with that true count. "
        "Rows sum to 100; the diagonal is right."
    )
    return draw(name, messages.confusion(rows), caption, paint, height_inches=height)


def _ordered(values: Any) -> list[str]:
    """Counts in order, then whatever is no count; as many as a figure can hold."""
    names = dict.fromkeys(str(value) for value in values)
    counts = sorted((name for name in names if name.isdecimal()), key=int)
    return (counts + [name for name in names if not name.isdecimal()])[:_MAX_PLACES]


def _heat_map(
    axes: Axes, rows: Sequence[Record], truths: Sequence[str], answers: Sequence[str]
) -> None:
    from matplotlib.patches import Rectangle

    counts = {(str(row["truth"]), str(row["answer"])): as_number(row["n"]) or 0.0 for row in rows}
    for line, truth in enumerate(truths):
        total = sum(counts.get((truth, answer), 0.0) for answer in answers)
        for place, answer in enumerate(answers):
            share = counts.get((truth, answer), 0.0) / total if total else 0.0
            box = Rectangle((place, line), 1, 1, fc=BLUE, alpha=_MAX_HEAT * share, lw=0)
            axes.add_patch(box)
            if total:
                axes.text(
                    place + 0.5,
                    line + 0.52,
                    f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=9,
                )
    for place in range(min(len(truths), len(answers))):
        box = Rectangle((place, place), 1, 1, fill=False, ec=INK, lw=0.9)
        axes.add_patch(box)
    axes.set_xlim(0, len(answers))
    axes.set_ylim(len(truths), 0)
    axes.set_xticks([place + 0.5 for place in range(len(answers))], labels=answers)
    axes.set_yticks([place + 0.5 for place in range(len(truths))], labels=truths)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def breakdown(
    name: str, arms: Sequence[Arm], tables: Sequence[tuple[str, str, Sequence[Record]]]
) -> Figure | None:
    """Accuracy against word length, tokens and true count: `tables` holds (column, label, rows)."""
    focused = [
        (column, label, [row for row in rows if row["measure"] == focus_of(rows)])
        for column, label, rows in tables
    ]
    focused = [(column, label, rows) for column, label, rows in focused if numbers(rows, column)]
    if not focused:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        drawn_panels, spare = panels(figure, len(focused), sharey=True)
        for place, (axes, (column, label, rows)) in enumerate(
            zip(drawn_panels, focused, strict=True)
        ):
            _breakdown_panel(axes, arms, rows, column)
            axes.set_xlabel(label)
            if place % PANEL_COLUMNS == 0:
                axes.set_ylabel("Right answers (%)")
        handles, _ = drawn_panels[0].get_legend_handles_labels()
        legend(figure, spare, handles)

    parts = [messages.breakdown(arms, rows, column, label) for column, label, rows in focused]
    first, *others = [part for part in parts if part] or ["Accuracy by kind of word"]
    caption = " ".join([*others, f"{measure_label(focus_of(focused[0][2]) or '')}."])
    height = 0.5 + 2.1 * math.ceil(len(focused) / PANEL_COLUMNS)
    return draw(name, first.rstrip("."), caption, paint, height_inches=height)


def _breakdown_panel(axes: Axes, arms: Sequence[Arm], rows: Sequence[Record], column: str) -> None:
    places = sorted(set(numbers(rows, column)))
    gap = min((right - left for left, right in itertools.pairwise(places)), default=1)
    for order, arm in enumerate(arms):
        shift = gap * 0.11 * (order - (len(arms) - 1) / 2)
        own = [row for row in rows if row["arm"] == arm.name and as_number(row[column]) is not None]
        own.sort(key=lambda row: float(row[column]))
        points = [
            (row[column] + shift, value)
            for row in own
            if (value := _percent(row.get("accuracy"))) is not None
        ]
        for row in own:
            _whisker(axes, row, row[column] + shift, arm.colour, upright=True)
        axes.plot(
            *zip(*points, strict=True),
            color=arm.colour,
            marker=arm.marker,
            ms=5.5,
            mec=PAPER,
            mew=0.6,
            lw=1.1,
            label=arm.short(),
        )
    axes.set_ylim(-3, 103)
    axes.set_yticks(PERCENT_TICKS)
    if len(places) <= _MAX_PLACES:
        axes.set_xticks(places, labels=[f"{place:g}" for place in places])
