"""What the figures of agreement share: colours of roles, intervals, lines over layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.canvas import BLUE, GREEN, GREY, ORANGE, PAPER, VERMILLION
from tokkit.report.formatting import as_number
from tokkit.report.subjects import Record, pick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MOST_LAYERS = 128
# Role -> colour, marker, dash.
ROLES: dict[str, tuple[str, str, Any]] = {
    "subject": (BLUE, "o", "-"),
    "attractors": (VERMILLION, "s", (0, (5, 1.5))),
    "adverb": (GREEN, "^", (0, (1.2, 1.2))),
    "another token": (GREY, "D", (0, (6, 1.5, 1.2, 1.5))),
    "last token": (ORANGE, "v", (0, (3, 1))),
}
WHISKER: dict[str, Any] = {"lw": 1.2, "zorder": 3}


def whisker(
    axes: Axes, row: Record, column: str, at: float, colour: str, scale: float = 100
) -> None:
    """An upright interval, where there is one."""
    low, high = as_number(row.get(f"{column}_low")), as_number(row.get(f"{column}_high"))
    if low is not None and high is not None:
        axes.plot([at, at], [scale * low, scale * high], color=colour, **WHISKER)


def by_layer(
    axes: Axes, rows: Sequence[Record], roles: Sequence[str], column: str, scale: float
) -> None:
    """A line a role over layers, with intervals a little apart."""
    from matplotlib.ticker import MaxNLocator

    shift = 0.5 / len(roles)
    for place, role in enumerate(roles):
        own = sorted(pick(rows, role=role), key=lambda row: float(row["layer"]))
        if not own:
            continue
        colour, marker, dash = ROLES[role]
        across = [float(row["layer"]) + shift * (place - (len(roles) - 1) / 2) for row in own]
        axes.plot(
            across, [scale * float(row[column]) for row in own], marker=marker, color=colour,
            ls=dash, lw=1.4, ms=4.5, mec=PAPER, mew=0.4, label=role,
        )  # fmt: skip
        for row, at in zip(own, across, strict=True):
            whisker(axes, row, column, at, colour, scale)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Layer")


def layers_of(rows: Sequence[Record]) -> int:
    """How many layers the rows are of."""
    return len({float(row["layer"]) for row in rows})


def legend_below(figure: MatplotlibFigure, axes: Axes, columns: int) -> None:
    """The axes' legend below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3)
