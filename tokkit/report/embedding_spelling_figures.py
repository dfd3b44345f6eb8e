"""Figures of spelling: what probes read of letters, beside all that it is held against."""

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
    is_bottom_row,
    legend,
    panels,
)
from tokkit.report.formatting import as_number, number, visible
from tokkit.report.subjects import Record, known
from tokkit.report.tokenizer_figures import list_down, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

# Column, words, colour, marker; in the order of the legend.
_ROWS = ("value", "Rows", BLUE, "o")
_BESIDE = (
    ("initial", "Baseline rows", VERMILLION, "s"),
    ("control", "Control task", ORANGE, "D"),
    ("shuffled", "Shuffled labels", GREY, "v"),
)
_ALONE = (
    ("surface", "Norm, id, count, space, capital", GREEN, "^"),
    ("length_alone", "Length alone", PURPLE, "P"),
)
_TASKS = {
    "presence": "Letter present",
    "count": "Count of a letter",
    "first": "First letter",
    "last": "Last letter",
    "length": "Length",
}
_PROBES = {"logistic": "logistic", "mlp": "MLP"}
_MOST_GROUPS = 15
_ARM_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)
_ARM_MARKERS = "osD^vPX"


def tasks(name: str, rows: Sequence[Record]) -> Figure | None:
    """The first metric of each task, of both probes, against controls and baselines."""
    found: dict[tuple[str, str], Record] = {}
    for row in known(rows, "value"):
        found.setdefault((str(row.get("task")), str(row.get("probe"))), row)
    shown = [row for (task, _), row in found.items() if task in _TASKS]
    if not shown:
        return None
    labels = [
        f"{_TASKS[str(row['task'])]}\n{_metric(row)}, {_PROBES.get(str(row['probe']), '')}"
        for row in shown
    ]

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for series in (*_ALONE, *reversed(_BESIDE), _ROWS):
            _dots(axes, shown, series)
        axes.axvline(0, color=INK, lw=0.7)
        list_down(axes, labels)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Value on words never trained on")
        figure.legend(handles=_handles(shown), loc="outside lower center", ncols=2)

    top = shown[0]
    message = (
        f"{_TASKS[str(top['task'])]}: {_metric(top)} {number(top['value'])} by the rows, "
        f"{number(top.get('initial'))} by baseline rows"
    )
    caption = (
        "The control task gives each word a random label; on words never trained on it must be "
        "at chance, as must shuffled labels. Lines are 95% intervals."
    )
    return draw(name, message, caption, paint, height_inches=1.4 + 0.5 * len(shown))


def _metric(row: Record) -> str:
    return visible(str(row.get("metric")), 24)


def _dots(axes: Axes, rows: Sequence[Record], series: tuple[str, str, str, str]) -> None:
    """One series down the list, with intervals where the rows have them."""
    column, _, colour, marker = series
    for place, row in enumerate(rows):
        value = as_number(row.get(column))
        if value is None:
            continue
        low, high = (as_number(row.get(f"{column}_{end}")) for end in ("low", "high"))
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=colour, lw=1.6)
        axes.plot([value], [place], marker, color=colour, mec=PAPER, ms=6.5, ls="none")


def _handles(rows: Sequence[Record]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, marker=marker, mec=PAPER, ls="none", label=label)
        for column, label, colour, marker in (_ROWS, *_BESIDE, *_ALONE)
        if any(as_number(row.get(column)) is not None for row in rows)
    ]


def letters(name: str, rows: Sequence[Record]) -> Figure | None:
    """Balanced accuracy letter by letter, the best known first."""
    shown = sorted(known(rows, "value"), key=lambda row: (-row["value"], str(row["letter"])))
    if not shown:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for column, label, colour, marker in (_ALONE[1], _BESIDE[0], _ROWS):
            for place, row in enumerate(shown):
                _bar(axes, place, row, column, colour)
            values = [as_number(row.get(column)) for row in shown]
            at = [(place, value) for place, value in enumerate(values) if value is not None]
            if at:
                axes.plot(
                    *zip(*at, strict=True), marker, color=colour, mec=PAPER, ms=6, label=label
                )
        axes.axhline(0.5, color=INK, lw=1, ls=(0, (5, 1.5)))
        axes.annotate("chance", (len(shown) - 0.5, 0.5), ha="right", va="bottom", fontsize=9)
        axes.set_xticks(range(len(shown)), labels=[visible(str(row["letter"]), 2) for row in shown])
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("Balanced accuracy, present or not")
        axes.set_xlabel("Letter")
        figure.legend(loc="outside lower center", ncols=3)

    first, last = shown[0], shown[-1]
    message = (
        f"Rows know best whether a token has {visible(str(first['letter']), 2)} "
        f"({number(first['value'])}), least {visible(str(last['letter']), 2)} "
        f"({number(last['value'])})"
    )
    return draw(name, message, "Logistic probe, words never trained on, 95% intervals.", paint,
                height_inches=3.4)  # fmt: skip


def _bar(axes: Axes, place: float, row: Record, column: str, colour: str) -> None:
    low, high = (as_number(row.get(f"{column}_{end}")) for end in ("low", "high"))
    if low is not None and high is not None:
        axes.plot([place, place], [low, high], color=colour, lw=1.4)


def groups(name: str, rows: Sequence[Record]) -> Figure | None:
    """Balanced accuracy by quarters of frequency, or by length."""
    shown = known(rows, "value")[:_MOST_GROUPS]
    if len(shown) < 2:
        return None
    by_length = any(str(row["group"]).isdigit() for row in shown)
    what = "Letters in the token" if by_length else "Tokens by how often they were trained"

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for column, label, colour, marker in (*_ALONE, _BESIDE[0], _ROWS):
            rows_of = [
                (p, row) for p, row in enumerate(shown) if as_number(row.get(column)) is not None
            ]
            for place, row in rows_of:
                _bar(axes, place, row, column, colour)
            if rows_of:
                axes.plot(
                    [place for place, _ in rows_of],
                    [row[column] for _, row in rows_of],
                    f"{marker}-", color=colour, mec=PAPER, ms=6, lw=1, label=label,
                )  # fmt: skip
        axes.axhline(0.5, color=INK, lw=1, ls=(0, (5, 1.5)))
        labels = [visible(str(row["group"]), 24).replace(" quarter", "\nquarter") for row in shown]
        axes.set_xticks(range(len(shown)), labels=labels)
        axes.set_ylabel("Balanced accuracy")
        axes.set_xlabel(what)
        figure.legend(loc="outside lower center", ncols=2)

    least, most = (pick(shown, key=lambda row: row["value"]) for pick in (min, max))
    unit = " letters" if by_length else ""
    message = "Letters are known from " + " to ".join(
        f"{number(row['value'])} ({visible(str(row['group']), 24)}{unit})" for row in (least, most)
    )
    caption = "All letters together, 0.5 is chance (dashed). 95% intervals."
    if not by_length:
        caption += " Where the counts are not known, the id stands in: an early one is frequent."
    return draw(name, message, caption, paint, height_inches=3.4)


def codes(name: str, rows: Sequence[Record]) -> Figure | None:
    """How much shorter the labels become for one who has the rows."""
    shown = known(rows, "compression_of_prior")
    kinds = list(dict.fromkeys(str(row.get("task")) for row in shown))
    if not kinds:
        return None
    series = (
        ("rows", BLUE, ""),
        ("baseline rows", VERMILLION, "///"),
        ("rows, control task", ORANGE, "..."),
    )

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for at, (by, colour, hatch) in enumerate(series):
            of = [
                (kinds.index(str(r["task"])), r["compression_of_prior"])
                for r in shown
                if r["by"] == by
            ]
            if of:
                places = [place + 0.26 * (at - 1) for place, _ in of]
                values = [value for _, value in of]
                axes.bar(places, values, 0.24, color=colour, hatch=hatch, ec=PAPER, label=by)
        axes.axhline(1, color=INK, lw=1, ls=(0, (5, 1.5)))
        axes.set_xticks(range(len(kinds)), labels=[_TASKS.get(k, visible(k, 24)) for k in kinds])
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("Bits without the rows / with them")
        figure.legend(loc="outside lower center", ncols=3)

    best = max(shown, key=lambda row: row["compression_of_prior"])
    message = (
        f"With the rows, labels of the task {_TASKS.get(str(best['task']), '').lower()} take "
        f"{number(best['compression_of_prior'])} times fewer bits"
    )
    caption = (
        "Online code (Voita and Titov 2020), against a code that knows how often each class "
        "occurs. At 1 (dashed) the rows tell nothing."
    )
    return draw(name, message, caption, paint, height_inches=3.0)


def arms_knowledge(name: str, rows: Sequence[Record]) -> Figure | None:
    """Each arm before and after training, on tokens trained on and on novel ones."""
    shown = known(rows, "value")
    arms = list(dict.fromkeys(str(row.get("arm")) for row in shown))
    kinds = [kind for kind in ("known", "novel") if any(row.get("tokens") == kind for row in shown)]
    if not arms or not kinds:
        return None
    series = (
        ("before training", VERMILLION, "s"),
        ("after training", BLUE, "o"),
        ("after, shuffled letters", GREY, "v"),
    )

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.lines import Line2D

        axes_of, spare = panels(figure, len(kinds), sharey=True)
        for axes, kind in zip(axes_of, kinds, strict=True):
            for at, (stage, colour, marker) in enumerate(series):
                for row in shown:
                    if row.get("tokens") == kind and row.get("stage") == stage:
                        place = arms.index(str(row["arm"])) + 0.22 * (at - 1)
                        _bar(axes, place, row, "value", colour)
                        axes.plot([place], [row["value"]], marker, color=colour, mec=PAPER, ms=6.5)
            axes.axhline(0.5, color=INK, lw=1, ls=(0, (5, 1.5)))
            axes.set_title(f"{kind} tokens")
            axes.set_xticks(range(len(arms)), labels=[visible(a, 12) for a in arms], rotation=35)
            axes.grid(visible=False, axis="x")
        axes_of[0].set_ylabel("Balanced accuracy, letter present or not")
        handles = [Line2D([], [], color=c, marker=m, mec=PAPER, ls="none", label=s)
                   for s, c, m in series]  # fmt: skip
        legend(figure, spare, handles)

    message = _knowledge_message(shown)
    caption = (
        "Read off the rows by a logistic probe that never saw the token; 0.5 is chance (dashed). "
        "Novel tokens were never trained on."
    )
    return draw(name, message, caption, paint, height_inches=3.6)


def _knowledge_message(rows: Sequence[Record]) -> str:
    said = []
    for arm in ("bpe", "letters"):
        of = {row["stage"]: row["value"] for row in rows
              if row["arm"] == arm and row["tokens"] == "novel"}  # fmt: skip
        if {"before training", "after training"} <= of.keys():
            before, after = (number(of[f"{stage} training"]) for stage in ("before", "after"))
            said.append(f"{arm} {before} before and {after} after training")
    listed = "; ".join(said)
    return f"Letters of novel tokens: {listed}" if said else "What each arm's rows know of letters"


def arms_accuracy(name: str, rows: Sequence[Record]) -> Figure | None:
    """Right answers against knowledge of the asked words, an arm and seed a mark."""
    shown = known(rows, "after", "accuracy")
    arms = list(dict.fromkeys(str(row.get("arm")) for row in shown))
    measures = list(dict.fromkeys(str(row.get("measure")) for row in shown))
    if not arms:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.lines import Line2D

        axes_of, spare = panels(figure, len(measures), sharey=True, sharex=True)
        handles = []
        for at, arm in enumerate(arms):
            colour, marker = _ARM_COLOURS[at % 7], _ARM_MARKERS[at % 7]
            handles.append(Line2D([], [], color=colour, marker=marker, mec=PAPER, ls="none",
                                  label=visible(arm, 12)))  # fmt: skip
            for axes, measure in zip(axes_of, measures, strict=True):
                of = [r for r in shown if r["arm"] == arm and r["measure"] == measure]
                axes.plot([r["after"] for r in of], [100 * r["accuracy"] for r in of], marker,
                          color=colour, mec=PAPER, ms=8, ls="none")  # fmt: skip
        for place, (axes, measure) in enumerate(zip(axes_of, measures, strict=True)):
            tokens = next(str(r.get("tokens")) for r in shown if r["measure"] == measure)
            axes.set_title(f"words of {tokens} tokens")
            if is_bottom_row(place, len(measures)):
                axes.set_xlabel("Knowledge after training")
        axes_of[0].set_ylabel("Right counts (%)")
        legend(figure, spare, handles)

    caption = (
        "Knowledge is the probe's probability of the asked letter's true counts in all tokens of "
        "the word, less the same by the letter's frequency: 0 where a row says nothing."
    )
    message = "Right counts of each arm, against what its rows know of letters"
    return draw(name, message, caption, paint, height_inches=3.2)


def arms_prediction(name: str, rows: Sequence[Record]) -> Figure | None:
    """Within each arm: whether words whose tokens are known are counted right more often."""
    shown = [row for row in known(rows, "slope") if row.get("measure") == "count R"]
    if not shown:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for column, label, colour, marker, shift in (
            ("slope", "Rows after training", BLUE, "o", -0.12),
            ("before", "Rows before training", VERMILLION, "s", 0.12),
        ):
            for place, row in enumerate(known(shown, column)):
                low, high = (as_number(row.get(f"{column}_{end}")) for end in ("low", "high"))
                if low is not None and high is not None:
                    axes.plot([low, high], [place + shift] * 2, color=colour, lw=1.6)
                axes.plot([row[column]], [place + shift], marker, color=colour, mec=PAPER, ms=7,
                          ls="none", label=label if place == 0 else None)  # fmt: skip
        axes.axvline(0, color=INK, lw=1)
        list_down(axes, [visible(str(row["arm"]), 16) for row in shown])
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Change in accuracy as knowledge goes from 0 to 1, 95% interval")
        figure.legend(loc="outside lower center", ncols=2)

    of = next((row for row in shown if row["arm"] == "hidden arms"), shown[0])
    message = (
        f"Words of known tokens, {visible(str(of['arm']), 16)}: from knowing nothing to all, "
        f"accuracy changes by {number(of['slope'])}"
    )
    caption = "Within true counts and numbers of tokens; words and seeds resampled."
    return draw(name, message, caption, paint, height_inches=1.4 + 0.42 * len(shown))
