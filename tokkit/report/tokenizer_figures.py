"""Figures of an audit: estimates with their intervals, differences, what groups pay.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREY, INK, PAPER, draw
from tokkit.report.formatting import as_number, number, p_clause, quantity, visible
from tokkit.report.subjects import (
    MAX_LABEL_CHARACTERS,
    Record,
    Subject,
    known,
    of_subject,
    pick,
    points,
    subjects_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MAX_GROUPS = 24
_WHISKER_WIDTH = 1.3
_CAP_SIZE = 8
_POINT_SIZE = 6
_SIDE_PAD_INCHES = 0.12
_LOG_FROM = 4.0
SINGLE = {"bytes": "byte", "characters": "character", "lines": "line"}


def whisker(axes: Axes, low: Any, high: Any, at: float, colour: str, scale: float = 1.0) -> None:
    """A horizontal interval with caps, where there is one."""
    ends = as_number(low), as_number(high)
    if ends[0] is None or ends[1] is None:
        return
    axes.plot(
        [scale * ends[0], scale * ends[1]],
        [at, at],
        color=colour,
        lw=_WHISKER_WIDTH,
        marker="|",
        ms=_CAP_SIZE,
        mew=_WHISKER_WIDTH,
        zorder=5,
    )


def one_panel(figure: MatplotlibFigure) -> Axes:
    """The only axes of a figure, with room for words on both sides."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=_SIDE_PAD_INCHES)  # type: ignore[call-arg]
    axes: Axes = figure.subplots()
    return axes


def list_down(axes: Axes, labels: Sequence[str]) -> None:
    """The y axis as a list of labels, the first on top."""
    axes.set_yticks(range(len(labels)), labels=labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def beside(axes: Axes, text: str, at: float) -> None:
    """A few words right of the axes, on the line `at`."""
    axes.annotate(
        text,
        (1, at),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def is_percent(unit: str) -> bool:
    """Whether a unit is shown as a percentage."""
    return unit == "proportion"


def forest(
    name: str,
    rows: Sequence[Record],
    message: str,
    caption: str,
    axis: str,
    *,
    by: str = "tokenizer",
    one_colour: bool = False,
) -> Figure | None:
    """Estimates with intervals, one line a row; `by` names the column that labels them."""
    drawn = [row for row in rows if as_number(row.get("value")) is not None]
    if not drawn:
        return None
    unit = str(drawn[0].get("unit") or "")
    scale = 100.0 if is_percent(unit) else 1.0
    subjects = {subject.name: subject for subject in subjects_of(drawn, by)}
    drawn = [row for row in drawn if str(row[by]) in subjects]

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, row in enumerate(drawn):
            subject = subjects[str(row[by])]
            colour, marker = (BLUE, "o") if one_colour else (subject.colour, subject.marker)
            whisker(axes, row.get("low"), row.get("high"), line, colour, scale)
            value = scale * float(row["value"])
            axes.plot([value], [line], marker, color=colour, ms=_POINT_SIZE, zorder=6)
            beside(axes, number(row["value"], unit), line)
        list_down(axes, [subjects[str(row[by])].label for row in drawn])
        axes.margins(x=0.08)
        axes.set_xlabel(axis)

    return draw(name, message, caption, paint, height_inches=0.75 + 0.3 * len(drawn))


def compression(name: str, rows: Sequence[Record]) -> Figure | None:
    """Bytes a token of each tokenizer (rows of one metric and average)."""
    valued = known(rows, "value")
    if not valued:
        return None
    best, worst = (f(valued, key=lambda row: float(row["value"])) for f in (max, min))
    message = f"{_label(best)} packs {number(best['value'])} bytes into a token"
    if len(valued) > 1:
        message += f"; {_label(worst)} packs fewest, {number(worst['value'])}"
    caption = "Whole corpus; intervals of 95% over blocks of documents."
    return forest(name, rows, message, caption, "Bytes a token (longer is better)")


def hidden_letters(name: str, rows: Sequence[Record]) -> Figure | None:
    """Share of the letters that stand in tokens with other letters."""
    valued = known(rows, "value")
    if not valued:
        return None
    most = max(valued, key=lambda row: float(row["value"]))
    share = quantity(most["value"], "proportion")
    message = f"{_label(most)} hides {share} of the letters inside longer tokens"
    caption = (
        "A letter is hidden when its token holds another letter too: the model is given the "
        "token's id alone. Intervals of 95% over blocks of documents."
    )
    return forest(name, rows, message, caption, "Letters hidden (%)")


def differences(name: str, rows: Sequence[Record]) -> Figure | None:
    """Paired differences of one metric from the base, with Holm's p beside them."""
    drawn = [row for row in rows if as_number(row.get("difference")) is not None]
    subjects = {subject.name: subject for subject in subjects_of(drawn)}
    drawn = [row for row in drawn if str(row["tokenizer"]) in subjects]
    if not drawn:
        return None
    base = visible(str(drawn[0].get("base")), MAX_LABEL_CHARACTERS)

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        axes.axvline(0, color=INK, lw=1)
        for line, row in enumerate(drawn):
            whisker(axes, row.get("low"), row.get("high"), line, BLUE)
            axes.plot([row["difference"]], [line], "o", color=BLUE, ms=_POINT_SIZE, zorder=6)
            words = [_signed(row["difference"]), p_clause(row.get("p_holm"))]
            beside(axes, ", ".join(word for word in words if word), line)
        list_down(axes, [subjects[str(row["tokenizer"])].label for row in drawn])
        axes.margins(x=0.08)
        axes.set_xlabel(f"Bytes a token more than {base}")

    clear = [row for row in drawn if _excludes_zero(row)]
    message = f"{len(clear)} of {len(drawn)} differ from {base} beyond chance in bytes a token"
    if len(drawn) == 1:
        message = _one_difference(drawn[0], base, beyond_chance=bool(clear))
    caption = (
        "Differences on the same blocks of documents, with intervals of 95%; p by sign flips over "
        "blocks, corrected for all tests of the audit (Holm)."
    )
    return draw(name, message, caption, paint, height_inches=0.75 + 0.3 * len(drawn))


def _one_difference(row: Record, base: str, *, beyond_chance: bool) -> str:
    value = float(row["difference"])
    sure = "" if beyond_chance else ", which may be chance"
    more = "more" if value > 0 else "fewer"
    return f"{_label(row)} packs {number(abs(value))} bytes a token {more} than {base}{sure}"


def _excludes_zero(row: Record) -> bool:
    p = as_number(row.get("p_holm"))
    return p is not None and p < 0.05


def _signed(value: Any) -> str:
    text = number(value)
    return f"+{text}" if float(value) > 0 else text


def _label(row: Record, column: str = "tokenizer") -> str:
    return visible(str(row[column]), MAX_LABEL_CHARACTERS)


def vocabulary_use(
    name: str, used: Sequence[Record], often: Sequence[Record], often_label: str
) -> Figure | None:
    """Share of the declared ids that are met at all (hollow) and often (filled)."""
    valued = known(used, "value")
    subjects = subjects_of(valued)
    if not subjects:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.lines import Line2D

        axes = one_panel(figure)
        style: dict[str, Any] = {"ls": "none", "mew": 1.6, "zorder": 6}
        for line, subject in enumerate(subjects):
            for rows, filled in ((used, False), (often, True)):
                for row in of_subject(rows, subject):
                    value = as_number(row.get("value"))
                    if value is None:
                        continue
                    whisker(axes, row.get("low"), row.get("high"), line, subject.colour, 100)
                    face = subject.colour if filled else PAPER
                    axes.plot(
                        [100 * value], [line], "o", color=subject.colour, mfc=face,
                        ms=5.5 if filled else 8, **style,
                    )  # fmt: skip
        list_down(axes, [subject.label for subject in subjects])
        axes.set_xlim(-2, 104)
        axes.set_xlabel("Ids of the vocabulary (%)")
        marks = [
            Line2D(
                [], [], color=INK, marker="o", mfc=PAPER, ms=8, label="Met once or more", **style
            ),
            Line2D([], [], color=INK, marker="o", ms=5.5, label=often_label, **style),
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=2)

    least = min(valued, key=lambda row: float(row["value"]))
    share = quantity(least["value"], "proportion")
    message = f"This text uses {share} of the ids of {_label(least)}"
    message += ", the least of all" if len(valued) > 1 else ""
    caption = "What a corpus does not use it may still pay for. Intervals of 95% by the jackknife."
    return draw(name, message, caption, paint, height_inches=1.1 + 0.3 * len(subjects))


# Groups ------------------------------------------------------------------------------------------


def best_basis(rows: Sequence[Record], column: str) -> str:
    """Lines where they are parallel, and so have values; else bytes."""
    with_values = {row.get("basis") for row in rows if as_number(row.get(column)) is not None}
    return "lines" if "lines" in with_values else "bytes"


def premiums(name: str, rows: Sequence[Record], reference: str) -> Figure | None:
    """What each group pays over the reference, a mark for each tokenizer, with intervals."""
    basis = best_basis(rows, "premium")
    own = [
        row
        for row in rows
        if row.get("basis") == basis and as_number(row.get("premium")) is not None
    ]
    subjects = subjects_of(own)
    highest: dict[str, float] = {}
    for row in own:
        group = str(row["group"])
        highest[group] = max(highest.get(group, 0.0), float(row["premium"]))
    groups = sorted(highest, key=lambda group: -highest[group])[:MAX_GROUPS]
    if len(highest) < 2 or not subjects:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        axes.axvline(1, color=INK, lw=1)
        for place, subject in enumerate(subjects):
            shift = 0.7 * ((place + 0.5) / len(subjects) - 0.5)
            for row in of_subject(own, subject):
                if str(row["group"]) in groups:
                    _premium_mark(axes, row, groups.index(str(row["group"])) + shift, subject)
        list_down(axes, [visible(group, MAX_LABEL_CHARACTERS) or "(none)" for group in groups])
        values = [float(row["premium"]) for row in own]
        if min(values) > 0 and max(values) / min(values) > _LOG_FROM:
            _ratio_scale(axes, min(values), max(values))
        axes.set_xlabel(
            f"Tokens a {SINGLE[basis]} over those of {visible(reference, MAX_LABEL_CHARACTERS)}"
        )
        if len(subjects) > 1:
            figure.legend(handles=_marks(subjects), loc="outside lower center", ncols=3)

    worst = max(own, key=lambda row: float(row["premium"]))
    message = (
        f"{visible(str(worst['group']), MAX_LABEL_CHARACTERS)} pays {number(worst['premium'])} "
        f"times what {visible(reference, MAX_LABEL_CHARACTERS)} pays under {_label(worst)}"
    )
    caption = f"Tokens a {SINGLE[basis]}; intervals of 95% over blocks of documents."
    if basis == "bytes":
        caption += " By bytes, how many of them a script takes is part of the number."
    if len(highest) > len(groups):
        caption += f" The {len(groups)} groups of {len(highest)} that pay most."
    height = 1.15 + len(groups) * max(0.3, 0.11 + 0.13 * len(subjects))
    return draw(name, message, caption, paint, height_inches=height)


def _premium_mark(axes: Axes, row: Record, at: float, subject: Subject) -> None:
    whisker(axes, row.get("low"), row.get("high"), at, subject.colour)
    axes.plot([row["premium"]], [at], subject.marker, color=subject.colour, ms=5, zorder=6)


def _ratio_scale(axes: Axes, low: float, high: float) -> None:
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low / 2.5 <= t <= high * 2.5]
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _marks(subjects: Sequence[Subject], *, lines: bool = False) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [], [], color=s.colour, marker=None if lines else s.marker,
            ls=s.dash if lines else "none", lw=2, ms=5.5, label=s.label,
        )
        for s in subjects
    ]  # fmt: skip


def line_marks(subjects: Sequence[Subject]) -> list[Any]:
    """Legend entries of lines."""
    return _marks(subjects, lines=True)


def lorenz(name: str, rows: Sequence[Record], ginis: Sequence[Record]) -> Figure | None:
    """Lorenz curves of what groups pay, against the line of equal costs.

    `ginis` are the rows of the Gini coefficient, for the message.
    """
    basis = best_basis(rows, "share_of_cost")
    own = pick(known(rows, "share_of_groups", "share_of_cost"), basis=basis)
    subjects = subjects_of(own)
    if not subjects:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        axes.plot([0, 100], [0, 100], color=GREY, lw=1)
        axes.annotate("equal costs", (50, 50), rotation=45, ha="center", va="bottom", fontsize=9)
        for subject in subjects:
            x, y = points(of_subject(own, subject), "share_of_groups", "share_of_cost", 100)
            axes.plot(
                [100 * share for share in x], y, color=subject.colour, ls=subject.dash, lw=2
            )  # fmt: skip
        axes.set_aspect("equal")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("Groups, cheapest first (%)")
        axes.set_ylabel("Their share of the cost (%)")
        axes.legend(handles=line_marks(subjects), loc="upper left", handlelength=3)

    message = f"How evenly groups share the cost in tokens a {SINGLE[basis]}"
    denominator = f"tokens a {SINGLE[basis]}"
    valued = [
        row
        for row in ginis
        if row.get("denominator") == denominator and as_number(row.get("value")) is not None
    ]
    if valued:
        least = max(valued, key=lambda row: float(row["value"]))
        gini = quantity(least["value"], "proportion")
        message = f"Groups share the cost least evenly under {_label(least)}: Gini {gini}"
    caption = "The farther below the line of equal costs, the less even."
    return draw(name, message, caption, paint, height_inches=4.2)
