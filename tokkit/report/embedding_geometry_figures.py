"""Figures of the geometry of an embedding: spectrum, norms, hubness, isotropy.

Each function takes the rows of a table of the record, named geometry_*, and returns a rendered
figure, or None when there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREEN, GREY, INK, ORANGE, PAPER, VERMILLION, draw
from tokkit.report.formatting import MINUS, as_number, number
from tokkit.report.subjects import Record
from tokkit.report.tokenizer_figures import list_down, one_panel, whisker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_THESE, _BEFORE = "These rows", "Before training"
_SPREAD, _SPECTRUM = "Random, same spread", "Random, same mean and covariance"
# Column of the spectrum's table: label, colour, line, width.
_SPECTRA: dict[str, tuple[str, str, Any, float]] = {
    "centred": (f"{_THESE}, without the mean row", BLUE, "-", 2.2),
    "initial": (_BEFORE, GREEN, (0, (5, 1.5)), 1.6),
    "spread": (_SPREAD, GREY, (0, (1.2, 1.4)), 1.8),
}
# Cloud of the hubness tables: label, colour, line, width.
_CLOUDS: dict[str, tuple[str, str, Any, float]] = {
    "these rows, centred": (f"{_THESE}, without the mean row", BLUE, "-", 2.2),
    "these rows, raw": (f"{_THESE}, as they are", VERMILLION, (0, (7, 1.5, 1.5, 1.5)), 1.6),
    "before training, centred": (_BEFORE, GREEN, (0, (5, 1.5)), 1.6),
    "same spectrum, centred": ("Random, same covariance", ORANGE, (0, (3, 1)), 1.6),
    "same spread": (_SPREAD, GREY, (0, (1.2, 1.4)), 1.8),
}
# What stands in the figure of isotropy, top to bottom: measure, rows, label.
_ISOTROPY = (
    ("iso_score", "centred", "IsoScore, without the mean row"),
    ("iso_score", "raw", "IsoScore, as they are"),
    ("mean_cosine", "centred", "Mean cosine, without the mean row"),
    ("mean_cosine", "raw", "Mean cosine, as they are"),
    ("share_of_first_1", "centred", "Variance along one direction"),
    ("share_of_first_10", "centred", "Variance along ten directions"),
)
_RANDOM = (
    # Column, label, marker, colour, how far below the line of the measure it stands.
    ("initial", _BEFORE, "s", GREEN, 0.0),
    ("spread", _SPREAD, "^", GREY, 0.0),
    ("spectrum", _SPECTRUM, "D", ORANGE, 0.0),
)


def spectrum(name: str, rows: Sequence[Record]) -> Figure | None:
    """Shares of the variance by principal direction (geometry_spectrum), both axes logarithmic."""
    first = next((row for row in rows if row.get("rank") == 1), None)
    if first is None or as_number(first.get("centred")) is None:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for column, (label, colour, line, width) in _SPECTRA.items():
            x, y = _positive(rows, "rank", column, 100.0)
            if x:
                axes.plot(x, y, color=colour, ls=line, lw=width, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes)
        axes.set_xlabel("Principal direction, the widest first")
        axes.set_ylabel("Share of the variance (%)")
        figure.legend(loc="outside lower center", ncols=1, handlelength=3)

    null, of_null = (
        ("initial", "before training")
        if as_number(first.get("initial")) is not None
        else ("spread", "of random rows")
    )
    message = (
        f"The widest direction holds {number(first['centred'], 'proportion')}% of the variance"
    )
    if as_number(first.get(null)) is not None:
        message += f", {of_null} {number(first[null], 'proportion')}%"
    caption = "A flat line would mean that no direction is wider than another."
    return draw(name, message, caption, paint, height_inches=3.5)


def _positive(
    rows: Sequence[Record], across: str, up: str, scale: float = 1.0
) -> tuple[list[float], list[float]]:
    """The points of two columns where both can stand on a logarithmic axis."""
    found = [(as_number(row.get(across)), as_number(row.get(up))) for row in rows]
    kept = [(x, scale * y) for x, y in found if x is not None and y is not None and min(x, y) > 0]
    return [x for x, _ in kept], [y for _, y in kept]


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())


def norms(
    name: str, rows: Sequence[Record], correlation: Mapping[str, Any] | None = None
) -> Figure | None:
    """Norms by training count (geometry_norms): medians with intervals, the middle of tokens.

    `correlation` is values["norm_by_count"]["seen"]: the rank correlation, for the message.
    """
    drawn = [row for row in rows if as_number(row.get("median")) is not None]
    seen = [row for row in drawn if float(row["least"]) > 0]
    if not seen:
        return None
    never = [row for row in drawn if float(row["greatest"]) == 0]

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        least = min(float(row["least"]) for row in seen)
        for row in drawn:
            at = _middle(row) if row in seen else least / _NEVER_APART
            _norm_mark(axes, row, at, hollow=row in never)
        axes.plot([_middle(row) for row in seen], [float(row["median"]) for row in seen],
                  color=BLUE, lw=1, alpha=0.6)  # fmt: skip
        axes.set_xscale("log")
        _plain_ticks(axes)
        axes.minorticks_off()
        if never:
            axes.set_xticks(
                [least / _NEVER_APART, *_decades(seen)],
                labels=["never", *(f"{tick:,.0f}" for tick in _decades(seen))],
            )
        axes.set_xlabel("Times that the token stood in the training text")
        axes.set_ylabel("Norm of its row")
        figure.legend(handles=_norm_legend(never), loc="outside lower center", ncols=2)

    message = "Norms of rows by how often their tokens were trained"
    rho = as_number((correlation or {}).get("plain"))
    if correlation is not None and rho is not None:
        low, high = as_number(correlation.get("low")), as_number(correlation.get("high"))
        sure = low is not None and high is not None and (low > 0 or high < 0)
        word = ("longer" if rho > 0 else "shorter") if sure else "neither longer nor shorter"
        message = f"Rows of tokens trained more often are {word}: rank correlation {_cosine(rho)}"
    caption = (
        "Each mark is the median of tokens of like count, with its 95% interval; four in five of "
        "their rows lie within the pale bar."
    )
    return draw(name, message, caption, paint, height_inches=3.5)


_NEVER_APART = 6.0


def _middle(row: Record) -> float:
    return math.sqrt(float(row["least"]) * float(row["greatest"]))


def _decades(rows: Sequence[Record]) -> list[float]:
    low = min(float(row["least"]) for row in rows)
    high = max(float(row["greatest"]) for row in rows)
    return [10.0**power for power in range(13) if low / 2 <= 10.0**power <= high]


def _norm_mark(axes: Axes, row: Record, at: float, *, hollow: bool) -> None:
    colour = VERMILLION if hollow else BLUE
    axes.plot([at, at], [float(row["tenth"]), float(row["ninetieth"])], color=colour, lw=7,
              alpha=0.22, solid_capstyle="butt", zorder=2)  # fmt: skip
    low, high = as_number(row.get("low")), as_number(row.get("high"))
    if low is not None and high is not None:
        axes.plot([at, at], [low, high], color=colour, lw=1.4, marker="_", ms=7, zorder=4)
    face = PAPER if hollow else colour
    axes.plot([at], [float(row["median"])], "D" if hollow else "o", color=colour, mfc=face,
              mew=1.4, ms=6, zorder=5)  # fmt: skip


def _norm_legend(never: Sequence[Record]) -> list[Any]:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"ls": "none", "mew": 1.4, "ms": 6}
    marks = [Line2D([], [], color=BLUE, marker="o", label="Median of a band", **style)]
    if never:
        marks.append(
            Line2D([], [], color=VERMILLION, marker="D", mfc=PAPER, label="Never trained", **style)
        )
    return marks


def hubs(name: str, rows: Sequence[Record], measured: Sequence[Record]) -> Figure | None:
    """Share of rows that are neighbours of at least so many (geometry_occurrences).

    `measured` are the rows of geometry_hubness, for the message.
    """
    clouds = [cloud for cloud in _CLOUDS if any(row.get("cloud") == cloud for row in rows)]
    if "these rows, centred" not in clouds:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for cloud in clouds:
            label, colour, line, width = _CLOUDS[cloud]
            own = [row for row in rows if row.get("cloud") == cloud]
            x, y = _positive(own, "times", "share", 100.0)
            axes.plot(x, y, color=colour, ls=line, lw=width, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes)
        axes.set_xlabel("Neighbour of at least so many rows")
        axes.set_ylabel("Share of the rows (%)")
        figure.legend(loc="outside lower center", ncols=1, handlelength=3)

    own = _of_cloud(measured, "these rows, centred")
    null = _of_cloud(measured, "before training, centred") or _of_cloud(measured, "same spread")
    message = "How often a row is a neighbour of others"
    if own and null:
        of_null = "before training" if null["cloud"] != "same spread" else "among random rows"
        message = (
            f"The largest hub is a neighbour of {number(own['largest'])} of "
            f"{number(own['n'])} rows; {of_null}, of {number(null['largest'])}"
        )
    k = number(own["k"]) if own else "k"
    caption = f"Each row has {k} neighbours, so it is that of {k} others in the mean."
    return draw(name, message, caption, paint, height_inches=3.9)


def _cosine(value: Any) -> str:
    """Two decimals, and no zero below zero."""
    return f"{float(value):.2f}".replace("-0.00", "0.00").replace("-", MINUS)


def _of_cloud(rows: Sequence[Record], cloud: str) -> Record | None:
    return next((row for row in rows if row.get("cloud") == cloud), None)


def isotropy(name: str, rows: Sequence[Record]) -> Figure | None:
    """IsoScore, mean cosine and widest directions, beside what they are compared with
    (geometry_measures).
    """
    drawn = []
    for measure, kind, label in _ISOTROPY:
        row = next((r for r in rows if (r.get("measure"), r.get("rows")) == (measure, kind)), None)
        if row is not None and as_number(row.get("value")) is not None:
            drawn.append((label, row))
    if not drawn:
        return None
    beside = [
        spec for spec in _RANDOM if any(as_number(r.get(spec[0])) is not None for _, r in drawn)
    ]

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.lines import Line2D

        axes = one_panel(figure)
        for line, (_, row) in enumerate(drawn):
            for column, _, marker, colour, _ in beside:
                value = as_number(row.get(column))
                if value is not None:
                    axes.plot([value], [line], marker, color=colour, mfc=PAPER, mew=1.5, ms=8,
                              zorder=4)  # fmt: skip
            whisker(axes, row.get("low"), row.get("high"), line, BLUE)
            axes.plot([float(row["value"])], [line], "o", color=BLUE, ms=5, zorder=6)
        axes.axvline(0, color=INK, lw=0.8)
        list_down(axes, [label for label, _ in drawn])
        axes.set_xlabel("0: none, 1: all")
        style: dict[str, Any] = {"ls": "none", "mew": 1.5}
        marks = [Line2D([], [], color=BLUE, marker="o", ms=5, label=_THESE, **style)]
        marks += [
            Line2D([], [], color=colour, marker=marker, mfc=PAPER, ms=8, label=label, **style)
            for _, label, marker, colour, _ in beside
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=2, handlelength=1.4)

    value = {(row["measure"], row["rows"]): row for _, row in drawn}
    own = value.get(("mean_cosine", "raw"))
    message = "How evenly the rows fill their space"
    if own is not None:
        message = f"Two rows have a mean cosine of {_cosine(own['value'])} as they are"
        centred = value.get(("mean_cosine", "centred"))
        if centred is not None:
            message += f", {_cosine(centred['value'])} without the mean row"
    caption = "Lines: 95% intervals, often narrower than the mark. IsoScore is 1 for a ball."
    return draw(name, message, caption, paint, height_inches=1.3 + 0.33 * len(drawn))
