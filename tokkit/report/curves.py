"""Learning curves of the strawberry experiment: accuracy by arm, and loss.

Rows are those of the "curves" table: arm, seed, step, measure and accuracy (a proportion; where
the measure is "loss", nats).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report import messages
from tokkit.report.arms import FOCUS, Arm, Record, mean_curve, measure_label, measures_in
from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    GREY,
    INK,
    PANEL_COLUMNS,
    PAPER,
    PERCENT_TICKS,
    draw,
    is_bottom_row,
    legend,
    panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

# The claim's measure is drawn in the arm's colour (None), what it is compared with in greys.
_CURVE_STYLES: dict[str, tuple[str | None, Any]] = {
    FOCUS: (None, "-"),
    "spelled C": (INK, (0, (5, 1.5))),
    "count A": (GREY, "-"),
    "items": (GREY, (0, (1.2, 1.4))),
}


def curves(name: str, arms: Sequence[Arm], rows: Sequence[Record]) -> Figure | None:
    """Accuracy while training, one panel an arm: thin lines are seeds, thick ones their mean."""
    rows = [row for row in rows if row["measure"] != "loss"]
    known = [measure for measure in _CURVE_STYLES if measure in measures_in(rows)]
    measures = known or measures_in(rows)[: len(_CURVE_STYLES)]
    drawn = [arm for arm in arms if any(row["arm"] == arm.name for row in rows)]
    if not measures or not drawn:
        return None
    styles = dict(zip(measures, _CURVE_STYLES.values(), strict=False)) | {
        measure: _CURVE_STYLES[measure] for measure in known
    }

    def paint(figure: MatplotlibFigure) -> None:
        drawn_panels, spare = panels(figure, len(drawn), sharex=True, sharey=True)
        for place, (axes, arm) in enumerate(zip(drawn_panels, drawn, strict=True)):
            for measure in reversed(measures):
                own = [row for row in rows if (row["arm"], row["measure"]) == (arm.name, measure)]
                colour, dash = styles[measure]
                _seeds_and_mean(axes, own, colour or arm.colour, dash)
            axes.set_title(arm.short())
            axes.tick_params(labelbottom=True)
            if is_bottom_row(place, len(drawn)):
                axes.set_xlabel("Training step")
            if place % PANEL_COLUMNS == 0:
                axes.set_ylabel("Right answers (%)")
            axes.set_ylim(-3, 103)
            axes.set_yticks(PERCENT_TICKS)
        legend(figure, spare, _line_marks({name: styles[name] for name in measures}, drawn[0]))

    height = 0.8 + 1.75 * math.ceil(len(drawn) / PANEL_COLUMNS)
    caption = "Thin lines: one seed each. Thick lines: the mean over seeds."
    return draw(name, messages.curves(arms, rows), caption, paint, height_inches=height)


def _seeds_and_mean(axes: Axes, rows: Sequence[Record], colour: str, dash: Any) -> None:
    seeds = list(dict.fromkeys(row.get("seed") for row in rows))
    for seed in seeds if len(seeds) > 1 else ():
        points = mean_curve(row for row in rows if row.get("seed") == seed)
        axes.plot(*_scaled(points, 100), color=colour, lw=0.8, alpha=0.4)
    axes.plot(*_scaled(mean_curve(rows), 100), color=colour, ls=dash, lw=2)


def _line_marks(styles: dict[str, tuple[str | None, Any]], arm: Arm) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [],
            [],
            color=colour or arm.colour,
            ls=dash,
            lw=2,
            label=measure_label(measure) + ("" if colour else ",\nin the arm's colour"),
        )
        for measure, (colour, dash) in styles.items()
    ]


def loss(name: str, arms: Sequence[Arm], rows: Sequence[Record]) -> Figure | None:
    """The loss while training in nats, all arms on one pair of axes."""
    rows = [row for row in rows if row["measure"] == "loss"]
    drawn = [arm for arm in arms if any(row["arm"] == arm.name for row in rows)]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for arm in drawn:
            points = mean_curve(row for row in rows if row["arm"] == arm.name)
            axes.plot(
                *_scaled(points, 1),
                color=arm.colour,
                marker=arm.marker,
                markevery=max(1, len(points) // 6),
                mec=PAPER,
                ms=7,
                lw=2,
                label=arm.short(),
            )
        axes.set_xlabel("Training step")
        axes.set_ylabel("Loss (nats)")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right", ncols=1)

    caption = "Mean over seeds."
    return draw(name, messages.loss(arms, rows), caption, paint, height_inches=3.0)


def _scaled(points: Sequence[tuple[float, float]], scale: float) -> tuple[list[float], list[float]]:
    return [step for step, _ in points], [scale * value for _, value in points]
