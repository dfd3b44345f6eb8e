"""Figures of what stands in a vocabulary: token lengths, frequencies, how numbers are cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PAPER,
    PERCENT_TICKS,
    SKY,
    VERMILLION,
    draw,
    is_bottom_row,
    legend,
    panels,
)
from tokkit.report.formatting import as_number, percent_range, plural, quantity
from tokkit.report.subjects import Record, Subject, known, of_subject, points, subjects_of
from tokkit.report.tokenizer_figures import line_marks, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_COVERED = 0.995
_COLUMNS = 3
_MANY = 100
GROUPINGS = (
    ("whole", "One token", BLUE),
    ("right", "From the right, as thousands", GREEN),
    ("even", "Groups of one size", SKY),
    ("left", "From the left", ORANGE),
    ("digits_each", "Each digit", GREY),
    ("irregular", "Irregular", VERMILLION),
)


def lengths(name: str, rows: Sequence[Record]) -> Figure | None:
    """Share of the text's tokens by their length in bytes."""
    rows = known(rows, "length", "share")
    subjects = subjects_of(rows)
    if not subjects:
        return None
    last = max(_covering_length(of_subject(rows, subject)) for subject in subjects)

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = one_panel(figure)
        for subject in subjects:
            x, y = points(of_subject(rows, subject), "length", "share", 100)
            axes.plot(
                x, y, color=subject.colour, ls=subject.dash, lw=1.6, marker=subject.marker,
                ms=4, mec=PAPER, mew=0.4, label=subject.label,
            )  # fmt: skip
        axes.set_xlim(0.5, last + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Length of the token (bytes)")
        axes.set_ylabel("Tokens of the text (%)")
        axes.legend(loc="upper right", handlelength=3)

    medians = {
        subject.label: _covering_length(of_subject(rows, subject), 0.5) for subject in subjects
    }
    longest = max(medians, key=lambda label: medians[label])
    message = f"Half of the tokens of {longest} are {plural(medians[longest], 'byte')} long or less"
    caption = f"Lengths up to {last} bytes, which hold 99.5% of the tokens; all are in the record."
    return draw(name, message, caption, paint, height_inches=2.9)


def _covering_length(rows: Sequence[Record], wanted: float = _COVERED) -> int:
    """The length up to which a share of the tokens of a text lies, nearly all of them."""
    found = sorted(
        (int(row["length"]), as_number(row.get("share")) or 0.0)
        for row in rows
        if as_number(row.get("length")) is not None
    )
    covered = 0.0
    for length, share in found:
        covered += share
        if covered >= wanted:
            return length
    return found[-1][0] if found else 1


def frequencies(name: str, rows: Sequence[Record], exponents: Sequence[Record]) -> Figure | None:
    """Rank against frequency on logarithmic axes; Zipf's law is a straight line."""
    rows = [row for row in known(rows, "rank", "share") if row["rank"] > 0 and row["share"] > 0]
    subjects = subjects_of(rows)
    if not subjects:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.ticker import NullLocator

        axes = one_panel(figure)
        for subject in subjects:
            x, y = points(of_subject(rows, subject), "rank", "share", 100)
            axes.plot(x, y, color=subject.colour, ls=subject.dash, lw=1.8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.axes.set(**{f"{axis.axis_name}scale": "log"})
            axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("Rank of the token")
        axes.set_ylabel("Tokens of the text (%)")
        axes.legend(handles=line_marks(subjects), loc="lower left", handlelength=3)

    fitted = [value for row in exponents if (value := as_number(row.get("value"))) is not None]
    caption = "A straight line would be Zipf's law."
    if fitted:
        low, high = min(fitted), max(fitted)
        said = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
        caption += f" Exponents fitted to the tail: {said}."
    message = _frequent(rows, subjects)
    return draw(name, message, caption, paint, height_inches=3.2)


def _frequent(rows: Sequence[Record], subjects: Sequence[Subject]) -> str:
    """What the most frequent tokens make up, at the rank nearest below MANY."""
    shares = []
    for subject in subjects:
        ranks, held = points(of_subject(rows, subject), "rank", "cumulative")
        shares += [share for rank, share in zip(ranks, held, strict=True) if rank <= _MANY][-1:]
    if not shares:
        return "How often tokens stand in the text, by rank"
    return f"Some {_MANY} tokens make up {percent_range(shares)} of the text"


def numbers(name: str, rows: Sequence[Record]) -> Figure | None:
    """Shares of the ways in which numbers of each length are cut, one panel a tokenizer."""
    rows = known(rows, "digits", "irregular")
    subjects = subjects_of(rows)
    if not subjects:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        drawn, _ = panels(figure, len(subjects), _COLUMNS, sharex=True, sharey=True)
        for place, (axes, subject) in enumerate(zip(drawn, subjects, strict=True)):
            _number_panel(axes, of_subject(rows, subject), subject)
            if is_bottom_row(place, len(subjects), _COLUMNS):
                axes.set_xlabel("Digits")
                axes.tick_params(labelbottom=True)
            if place % _COLUMNS == 0:
                axes.set_ylabel("Numbers (%)")
        legend(figure, (), _grouping_marks())

    height = 1.2 + 1.6 * math.ceil(len(subjects) / _COLUMNS)
    caption = "Numbers that stand alone: all up to 3 digits, then a sample for each length."
    return draw(name, _numbers_message(rows, subjects), caption, paint, height_inches=height)


def _number_panel(axes: Axes, rows: Sequence[Record], subject: Subject) -> None:
    for row in rows:
        bottom = 0.0
        for column, _, colour in GROUPINGS:
            share = 100 * (as_number(row.get(column)) or 0.0)
            if share:
                axes.bar(
                    row["digits"], share, 0.9, bottom=bottom, color=colour, ec=PAPER, lw=0.4
                )  # fmt: skip
            bottom += share
    axes.set_title(subject.label)
    axes.set_ylim(0, 100)
    axes.set_yticks(PERCENT_TICKS)
    axes.set_xticks([1, 4, 7, 10])
    axes.grid(visible=False)


def _grouping_marks() -> list[object]:
    from matplotlib.patches import Patch

    return [Patch(fc=colour, label=label) for _, label, colour in GROUPINGS]


def _numbers_message(rows: Sequence[Record], subjects: Sequence[Subject]) -> str:
    long = [row for row in rows if (as_number(row.get("digits")) or 0) >= 4]
    worst, subject = 0.0, None
    for candidate in subjects:
        own = of_subject(long, candidate)
        share = sum(as_number(row.get("irregular")) or 0.0 for row in own) / max(1, len(own))
        if share > worst:
            worst, subject = share, candidate
    if subject is None:
        return "No tokenizer here cuts numbers irregularly"
    return f"{subject.label} cuts {quantity(worst, 'proportion')} of longer numbers irregularly"
