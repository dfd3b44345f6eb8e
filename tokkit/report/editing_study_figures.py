"""Figures of many edits: the sweep over layers, before and after, baselines, edits in a row.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PERCENT_TICKS,
    VERMILLION,
    draw,
)
from tokkit.report.formatting import as_number, number, plural, visible
from tokkit.report.subjects import Record, known, pick
from tokkit.report.tokenizer_figures import list_down, one_panel, whisker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_MOST_LAYERS, _MOST_ARMS, _MOST_ORDERS, _MOST_STOPS = 200, 12, 12, 40
_LABEL = 28
HARMONIC = "harmonic mean"
# Measure -> what it says, colour, marker, dash.
MEASURES: dict[str, tuple[str, str, str, Any]] = {
    "efficacy": ("efficacy", BLUE, "o", (0, (5, 1.5))),
    "paraphrase": ("other wordings", GREEN, "s", (0, (1.2, 1.2))),
    "neighbourhood": ("neighbours kept", ORANGE, "D", (0, (6, 1.5, 1.2, 1.5))),
    HARMONIC: ("harmonic mean", INK, "v", "-"),
}
_BY = {
    "token": "By token: the target is said; a neighbour is kept where it says what it said.",
    "probability": (
        "By probability: the target is more probable than the true answer, and for neighbours less."
    ),
}
_EDIT = "edit"


def sweep(name: str, rows: Sequence[Record], basis: str, chosen: object) -> Figure | None:
    """Each measure by layer, with intervals over the facts of the choosing half."""
    drawn = known(pick(rows, basis=basis), "layer", "value")
    layers = sorted({int(row["layer"]) for row in drawn})
    if not 2 <= len(layers) <= _MOST_LAYERS:
        return None
    layer = as_number(chosen)
    width = 0.04 * min(b - a for a, b in pairwise(layers))

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for place, (measure, (label, colour, marker, dash)) in enumerate(MEASURES.items()):
            line = sorted(pick(drawn, measure=measure), key=lambda row: int(row["layer"]))
            across = [int(row["layer"]) + width * (place - 1.5) for row in line]
            up = [100 * float(row["value"]) for row in line]
            axes.plot(across, up, color=colour, ls=dash, marker=marker, ms=4.5, label=label)
            _upright(axes, across, line, colour, ("low", "high"))
        if layer is not None:
            axes.axvline(layer, color=GREY, lw=8, alpha=0.18, zorder=0)
        _percent_up(axes, "Facts or prompts (%)")
        axes.set_xticks(layers if len(layers) <= 12 else layers[:: len(layers) // 8])
        axes.set_xlabel("Layer that was edited")
        figure.legend(loc="outside lower center", ncols=2)

    best = pick(drawn, measure=HARMONIC)
    top = max(best, key=lambda row: float(row["value"]), default=None)
    message = f"By {basis}, edits work unevenly over {len(layers)} layers"
    if top is not None:
        message = (
            f"By {basis}, edits work best at layer {int(top['layer'])}: harmonic mean "
            f"{number(top['value'], 'proportion')}%"
        )
    caption = (
        f"{_BY.get(basis, '')} 95% intervals over the {number(drawn[0].get('facts'))} facts of the "
        "choosing half (efficacy: Wilson's; else bootstrap). The band is the layer that was chosen."
    )
    return draw(name, message, caption, paint, height_inches=3.6)


def _upright(
    axes: Axes, across: Sequence[float], line: Sequence[Record], colour: str, ends: tuple[str, str]
) -> None:
    for at, row in zip(across, line, strict=True):
        low, high = (as_number(row.get(end)) for end in ends)
        if low is not None and high is not None:
            axes.plot([at, at], [100 * low, 100 * high], color=colour, lw=1.2, zorder=2)


def _percent_up(axes: Axes, label: str) -> None:
    axes.set_ylim(-3, 103)
    axes.set_yticks(PERCENT_TICKS)
    axes.set_ylabel(label)


def probabilities(name: str, rows: Sequence[Record]) -> Figure | None:
    """True answer and target by kind of prompt: before, and after with its interval."""
    drawn = known(rows, "before", "after")
    if not drawn or len(drawn) > 2 * _MOST_ARMS:
        return None
    kinds = list(dict.fromkeys(str(row.get("kind")) for row in drawn))
    answers = {"answer": ("true answer", BLUE, "o"), "target": ("target", VERMILLION, "D")}

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for row in drawn:
            if row.get("answer") not in answers:
                continue
            _, colour, marker = answers[str(row["answer"])]
            at = kinds.index(str(row.get("kind"))) + (-0.16 if row["answer"] == "answer" else 0.16)
            old, new = 100 * float(row["before"]), 100 * float(row["after"])
            axes.annotate(
                "", (new, at), (old, at),
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 1, "alpha": 0.6},
            )  # fmt: skip
            axes.plot([old], [at], marker, mfc="none", color=colour, ms=6)
            whisker(axes, row.get("after_low"), row.get("after_high"), at, colour, 100)
            axes.plot([new], [at], marker, color=colour, ms=5.5, zorder=6)
        list_down(axes, [visible(kind, _LABEL) for kind in kinds])
        axes.set_xlim(-3, 103)
        axes.set_xticks(PERCENT_TICKS)
        axes.set_xlabel("Mean probability (%)")
        marks = [
            axes.plot([], [], marker, mfc=fill, color=colour, ms=6, ls="", label=f"{what}, {when}")[
                0
            ]
            for what, colour, marker in answers.values()
            for when, fill in (("before", "none"), ("after", colour))
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=2)

    targets = {str(row["kind"]): row for row in pick(drawn, answer="target")}
    first = targets.get("prompt", drawn[0])
    message = (
        f"After the edited prompt the target goes from {number(first['before'], 'proportion')}% to "
        f"{number(first['after'], 'proportion')}%"
    )
    caption = (
        "Hollow: before the edit; filled: after it, with 95% bootstrap intervals over the facts of "
        "the test half. Of neighbours the true answer is their own, and the target that of the "
        "edited fact."
    )
    return draw(name, message, caption, paint, height_inches=1.3 + 0.55 * len(kinds))


def arms(name: str, rows: Sequence[Record]) -> Figure | None:
    """The edit and its baselines, by token, with intervals."""
    drawn = known(pick(rows, basis="token"), "value")
    names = list(dict.fromkeys(str(row.get("arm")) for row in drawn))[:_MOST_ARMS]
    if len(names) < 2:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for place, (measure, (label, colour, marker, _)) in enumerate(MEASURES.items()):
            if measure == HARMONIC:
                continue
            for row in pick(drawn, measure=measure):
                if str(row["arm"]) not in names:
                    continue
                at = names.index(str(row["arm"])) + 0.22 * (place - 1)
                whisker(axes, row.get("low"), row.get("high"), at, colour, 100)
                axes.plot([100 * float(row["value"])], [at], marker, color=colour, ms=5.5, zorder=6)
            axes.plot([], [], marker, color=colour, ms=5.5, ls="", label=label)
        list_down(axes, [visible(arm, _LABEL) for arm in names])
        axes.set_xlim(-3, 103)
        axes.set_xticks(PERCENT_TICKS)
        axes.set_xlabel("Facts or prompts, by token (%)")
        figure.legend(loc="outside lower center", ncols=3)

    shares = {
        str(row["arm"]): number(row["value"], "proportion")
        for row in pick(drawn, measure="paraphrase")
    }
    others = [f"{visible(arm, _LABEL)} {share}%" for arm, share in shares.items() if arm != _EDIT]
    message = (
        f"In other wordings the target is said in {shares.get(_EDIT, '–')}% with the edit; "
        f"{', '.join(others[:2])}"
    )
    caption = (
        f"Test half, {number(drawn[0].get('facts'))} facts, 95% intervals over facts. Neighbours "
        "are kept by doing nothing: only all three together say that an edit works."
    )
    return draw(name, message, caption, paint, height_inches=1.2 + 0.6 * len(names))


def in_a_row(name: str, rows: Sequence[Record]) -> Figure | None:
    """What holds of all edits so far, a line an order."""
    drawn = _rows(rows, "efficacy", "paraphrase", "neighbourhood")
    orders = list(dict.fromkeys(row.get("order") for row in drawn))
    stops = sorted({int(row["edits"]) for row in drawn})
    if not drawn or len(stops) < 2:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for measure, (label, colour, marker, dash) in MEASURES.items():
            for place, order in enumerate(orders) if measure != HARMONIC else ():
                line = [row for row in drawn if row.get("order") == order]
                # Apart by a hair, so that the intervals of several orders can be told apart.
                across = [int(row["edits"]) * 1.03**place for row in line]
                axes.plot(
                    across, [100 * float(row[measure]) for row in line],
                    color=colour, ls=dash, lw=1.2, marker=marker, ms=4, alpha=0.85,
                    label=label if place == 0 else None,
                )  # fmt: skip
                _upright(axes, across, line, colour, (f"{measure}_low", f"{measure}_high"))
        _count_across(axes, stops)
        _percent_up(axes, "All edits so far, by token (%)")
        figure.legend(loc="outside lower center", ncols=3)

    last = [row for row in drawn if int(row["edits"]) == stops[-1]]
    lows, highs = (pick_(float(row["efficacy"]) for row in last) for pick_ in (min, max))
    message = (
        f"After {plural(stops[-1], 'edit')} in a row, {_range(lows, highs)} of the targets are "
        "still said"
    )
    caption = (
        f"A line an order ({plural(len(orders), 'random order')}), 95% intervals over facts. Each "
        "edit is worked out on the model of those before it; second moments are those of the model "
        "before all. Edited neighbours are not asked."
    )
    return draw(name, message, caption, paint, height_inches=3.4)


def rise(name: str, rows: Sequence[Record]) -> Figure | None:
    """What unrelated text costs more after edits in a row, a line an order."""
    drawn = _rows(rows, "rise")
    orders = list(dict.fromkeys(row.get("order") for row in drawn))
    stops = sorted({int(row["edits"]) for row in drawn})
    if not drawn or len(stops) < 2:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for order in orders:
            line = [row for row in drawn if row.get("order") == order]
            axes.plot(
                [int(row["edits"]) for row in line], [float(row["rise"]) for row in line],
                color=VERMILLION, lw=1.2, marker="o", ms=4, alpha=0.85,
            )  # fmt: skip
        axes.axhline(0, color=GREY, lw=1)
        _count_across(axes, stops)
        axes.set_ylabel("Rise (bits per byte)")

    last = [float(row["rise"]) for row in drawn if int(row["edits"]) == stops[-1]]
    message = (
        f"After {plural(stops[-1], 'edit')} in a row unrelated text costs {number(min(last))} to "
        f"{number(max(last))} bits per byte more"
    )
    caption = "Text that names none of the subjects, the same for all. A line an order."
    return draw(name, message, caption, paint, height_inches=2.8)


def _rows(rows: Sequence[Record], *columns: str) -> list[Mapping[str, Any]]:
    drawn = [row for row in known(rows, "edits", *columns) if float(row["edits"]) >= 1]
    orders = list(dict.fromkeys(row.get("order") for row in drawn))[:_MOST_ORDERS]
    stops = sorted({int(row["edits"]) for row in drawn})[:_MOST_STOPS]
    kept = [row for row in drawn if row.get("order") in orders and int(row["edits"]) in stops]
    return sorted(kept, key=lambda row: int(row["edits"]))


def _count_across(axes: Axes, stops: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(stops, labels=[str(stop) for stop in stops])
    axes.minorticks_off()
    axes.set_xlabel("Edits in a row")


def _range(low: float, high: float) -> str:
    ends = [number(end, "proportion") for end in (low, high)]
    return f"{ends[0]}%" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}%"
