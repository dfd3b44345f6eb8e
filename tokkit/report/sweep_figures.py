"""Figures of a sweep: the front of compression against parameters, and what size costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import INK, PAPER, draw, legend, panels
from tokkit.report.formatting import as_number, number
from tokkit.report.subjects import Record, Subject, of_subject, points, subjects_of
from tokkit.report.tokenizer_figures import line_marks, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_BY = "pretokenizer"
_MAX_TICKS = 7
_COSTS = (
    ("vocabulary_used", "Vocabulary used (%)", 100.0),
    ("renyi_efficiency", "Rényi efficiency (%)", 100.0),
    ("gini", "Gini over groups (%)", 100.0),
)


def front(name: str, rows: Sequence[Record], where: str) -> Figure | None:
    """Bytes a token against vocabulary size; filled marks are on the Pareto front."""
    drawn = [row for row in rows if as_number(row.get("bytes_per_token")) is not None]
    subjects = subjects_of(drawn, _BY)
    if not subjects:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.lines import Line2D

        axes = one_panel(figure)
        for place, subject in enumerate(subjects):
            own = of_subject(drawn, subject, _BY)
            # A little apart, or intervals of the same size would hide each other.
            shift = 1.025 ** (place - (len(subjects) - 1) / 2)
            for row in own:
                _point(axes, row, subject, shift)
            x, y = points(own, "tokens", "bytes_per_token")
            axes.plot([shift * at for at in x], y, color=subject.colour, ls=subject.dash, lw=1.2)
        _size_axis(axes, drawn)
        axes.set_ylabel("Bytes a token")
        style: dict[str, Any] = {"color": INK, "marker": "o", "ls": "none", "mew": 1.4, "ms": 6}
        marks = [
            *line_marks(subjects),
            Line2D([], [], label="On the front", **style),
            Line2D([], [], label="Beaten by another", mfc=PAPER, **style),
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=3, handlelength=2.5)

    best = max(drawn, key=lambda row: float(row["bytes_per_token"]))
    label = {subject.name: subject.label for subject in subjects}.get(str(best[_BY]), "")
    message = (
        f"{label} with {number(best['tokens'])} tokens compresses best: "
        f"{number(best['bytes_per_token'])} bytes a token"
    )
    caption = (
        f"Measured on {where}, intervals of 95% over blocks of documents. "
        "On the front: no other point compresses better with fewer parameters."
    )
    return draw(name, message, caption, paint, height_inches=3.9)


def _point(axes: Axes, row: Record, subject: Subject, shift: float) -> None:
    at, value = shift * float(row["tokens"]), float(row["bytes_per_token"])
    low, high = as_number(row.get("low")), as_number(row.get("high"))
    if low is not None and high is not None:
        axes.plot(
            [at, at], [low, high], color=subject.colour, lw=1.2, marker="_", ms=6, mew=1.2, zorder=4
        )
    face = subject.colour if row.get("pareto") else PAPER
    axes.plot(
        [at], [value], subject.marker, color=subject.colour, mfc=face, mew=1.4, ms=6, zorder=6
    )


def _size_axis(axes: Axes, rows: Sequence[Record], *, parameters: bool = True) -> None:
    """Sizes on a logarithmic axis, with the parameters of the embedding below them."""
    sizes: dict[float, float | None] = {}
    for row in rows:
        asked = as_number(row.get("vocab_size"))
        tokens, count = as_number(row.get("tokens")), as_number(row.get("input_parameters"))
        if asked is not None and tokens:
            sizes[asked] = None if count is None else count / tokens * asked
    shown = sorted(sizes)[:: max(1, -(-len(sizes) // _MAX_TICKS))]
    axes.set_xscale("log")
    labels = [_thousands(size) for size in shown]
    if parameters:
        labels = [
            f"{label}\n{_millions(sizes[size])}" for label, size in zip(labels, shown, strict=True)
        ]
    axes.set_xticks(shown, labels=labels)
    axes.set_xticks([], minor=True)
    axes.set_xlabel(
        "Vocabulary (tokens)" + (", input embedding (parameters)" if parameters else "")
    )


def _thousands(size: float) -> str:
    return f"{size / 1000:g}k" if size >= 1000 else f"{size:g}"


def _millions(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:.3g}M"


def differences(name: str, rows: Sequence[Record]) -> Figure | None:
    """Bytes a token more than the first pre-tokenizer at the same size, with paired intervals."""
    drawn = [row for row in rows if as_number(row.get("difference")) is not None]
    subjects = [subject for subject in subjects_of(rows, _BY) if of_subject(drawn, subject, _BY)]
    if not subjects:
        return None
    base = subjects_of(rows, _BY)[0].label

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        axes.axhline(0, color=INK, lw=1)
        for place, subject in enumerate(subjects):
            own = of_subject(drawn, subject, _BY)
            shift = 1.02 ** (place - (len(subjects) - 1) / 2)
            for row in own:
                _upright(axes, row, "difference", subject, 1.0, shift)
            x, y = points(own, "tokens", "difference")
            axes.plot(
                [shift * at for at in x], y, color=subject.colour, ls=subject.dash, lw=1.4,
                marker=subject.marker, ms=5.5, label=subject.label,
            )  # fmt: skip
        _size_axis(axes, drawn)
        axes.set_ylabel(f"Bytes a token more than {base}")
        axes.legend(loc="best", handlelength=3)

    widest = max(drawn, key=lambda row: abs(float(row["difference"])))
    label = {subject.name: subject.label for subject in subjects}.get(str(widest[_BY]), "")
    value = float(widest["difference"])
    message = (
        f"At {number(widest['vocab_size'])} tokens {label} packs {number(abs(value))} bytes a "
        f"token {'more' if value > 0 else 'fewer'} than {base}"
    )
    caption = "The same blocks of documents for all, which pairs them; intervals of 95%."
    return draw(name, message, caption, paint, height_inches=2.9)


def costs(name: str, rows: Sequence[Record]) -> Figure | None:
    """Use, evenness and fairness against vocabulary size."""
    subjects = subjects_of(rows, _BY)
    found = [
        cost for cost in _COSTS if any(as_number(row.get(cost[0])) is not None for row in rows)
    ]
    if not subjects or not found:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        drawn, spare = panels(figure, len(found))
        for axes, (column, label, scale) in zip(drawn, found, strict=True):
            for subject in subjects:
                own = of_subject(rows, subject, _BY)
                for row in own:
                    _upright(axes, row, column, subject, scale)
                axes.plot(
                    *points(own, "tokens", column, scale), color=subject.colour, ls=subject.dash,
                    lw=1.4, marker=subject.marker, ms=5, mec=PAPER, mew=0.5,
                )  # fmt: skip
            _size_axis(axes, rows, parameters=False)
            axes.set_title(label)
        legend(figure, spare, line_marks(subjects))

    message = "What a larger vocabulary does to use, evenness and fairness"
    message = message if len(found) > 2 else "What a larger vocabulary does to its use and evenness"
    caption = "Intervals of 95%. Lower Gini is fairer; the other two are better high."
    return draw(name, message, caption, paint, height_inches=0.6 + 2.1 * ((len(found) + 1) // 2))


def _upright(
    axes: Axes, row: Record, column: str, subject: Subject, scale: float, shift: float = 1.0
) -> None:
    at = as_number(row.get("tokens"))
    low, high = as_number(row.get(f"{column}_low")), as_number(row.get(f"{column}_high"))
    if at is not None and low is not None and high is not None:
        ends = [scale * low, scale * high]
        axes.plot([shift * at, shift * at], ends, color=subject.colour, lw=1, zorder=3)
