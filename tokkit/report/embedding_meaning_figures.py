"""Figures of meaning in rows: category structure, categories, analogies.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

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
    VERMILLION,
    draw,
)
from tokkit.report.formatting import as_number, number, visible
from tokkit.report.subjects import Record, known, pick
from tokkit.report.tokenizer_figures import beside, list_down, one_panel, whisker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MAX_CATEGORIES = 24
MAX_RELATIONS = 12
MAX_CATEGORY_CHARACTERS = 22
_LINE_INCHES = 0.27
_STEP = 0.19
TRAINED = "trained rows"
ALL_WORDS = "all rows of words"
# Column stem, label, colour, marker, and whether the marker is filled.
_CONDITIONS = (
    ("trained", "Trained rows", BLUE, "o", True),
    ("frequency", "Log count of the word alone", PURPLE, "D", True),
    ("baseline", "", ORANGE, "s", False),
    ("shuffled", "Shuffled labels (bar: to the 95th percentile)", GREY, "X", True),
)
# Method, whether the given words are left out, label, colour, marker, filled.
_ANALOGIES = (
    ("3CosAdd", True, "3CosAdd, given words left out", BLUE, "o", True),
    ("3CosMul", True, "3CosMul, given words left out", GREEN, "^", True),
    ("3CosAdd", False, "3CosAdd, given words allowed", BLUE, "o", False),
    ("offset of a wrong pair", True, "Offset of a wrong pair", ORANGE, "s", False),
    ("nearest to c", True, "Nearest to c, no offset", VERMILLION, "X", True),
)


def measures(name: str, rows: Sequence[Record]) -> Figure | None:
    """The three measures, each on trained rows above everything that carries no meaning."""
    drawn = known(rows, "trained")
    if not drawn:
        return None
    other = visible(str(drawn[0].get("baseline_rows") or "untrained rows"), 40)
    conditions = [
        (stem, label or other.capitalize(), colour, marker, filled)
        for stem, label, colour, marker, filled in _CONDITIONS
        if known(drawn, stem)
    ]

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, row in enumerate(drawn):
            for place, (stem, _, colour, marker, filled) in enumerate(conditions):
                at = line + _STEP * (place - (len(conditions) - 1) / 2)
                low = row["shuffled"] if stem == "shuffled" else row.get(f"{stem}_low")
                whisker(axes, low, row.get(f"{stem}_high"), at, colour)
                _mark(axes, row.get(stem), at, colour, marker, filled)
            beside(axes, number(float(row["trained"])), line)
        list_down(axes, [visible(str(row["measure"]), 24).capitalize() for row in drawn])
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_xlim(min(-0.15, *(_least(row) - 0.05 for row in drawn)), 1.03)
        axes.set_xlabel("Silhouette (−1 to 1); share of neighbours, of words (0 to 1)")
        _legend(figure, [(label, *style) for _, label, *style in conditions], columns=1)

    caption = (
        "Words in categories, rows centred and of unit length. Bars: 95% intervals over words. "
        "Separability: words that a linear boundary fitted to other words puts right."
    )
    height = 0.85 + 0.85 * len(drawn) + 0.2 * len(conditions)
    return draw(name, _measures_message(drawn, other), caption, paint, height_inches=height)


def _measures_message(rows: Sequence[Record], other: str) -> str:
    above = [
        row
        for row in known(rows, "gain_low", "p_holm")
        if row["gain_low"] > 0 and row["p_holm"] < 0.05
    ]
    if len(above) == len(rows):
        return f"Words of a category lie together, by every measure more than in {other}"
    if not above:
        return f"Words of a category lie no closer together than in {other}"
    return (
        f"Words of a category lie closer together than in {other} by {len(above)} of "
        f"{len(rows)} measures"
    )


def _least(row: Record) -> float:
    values = [row.get(f"{stem}_low") for stem in ("trained", "baseline", "frequency")]
    values.append(row.get("shuffled"))
    return min((found for value in values if (found := as_number(value)) is not None), default=0.0)


def categories(name: str, rows: Sequence[Record]) -> Figure | None:
    """Neighbour purity of each category, best first, with chance and baseline rows."""
    drawn = sorted(known(rows, "purity", "chance"), key=lambda row: -float(row["purity"]))
    drawn = drawn[:MAX_CATEGORIES]
    if not drawn:
        return None
    other = visible(str(drawn[0].get("baseline_rows") or "untrained rows"), 40)

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, row in enumerate(drawn):
            whisker(axes, row.get("purity_low"), row.get("purity_high"), line, BLUE, 100)
            _mark(axes, row["purity"], line, BLUE, "o", True, 100)
            _mark(axes, row.get("baseline"), line, ORANGE, "s", False, 100)
            _mark(axes, row["chance"], line, INK, "|", True, 100)
            beside(axes, number(row["purity"], "proportion"), line)
        labels = [visible(str(row["category"]), MAX_CATEGORY_CHARACTERS) for row in drawn]
        list_down(
            axes,
            [f"{label} ({row.get('words')})" for label, row in zip(labels, drawn, strict=True)],
        )
        axes.set_xlim(-2, 103)
        axes.set_xlabel("Nearest words that are of the word's category (%)")
        marks = [
            ("Trained rows", BLUE, "o", True),
            (other.capitalize(), ORANGE, "s", False),
            ("Chance", INK, "|", True),
        ]
        _legend(figure, marks, columns=2)

    best, worst = drawn[0], drawn[-1]
    message = (
        f"Neighbours are of the same category most for "
        f"{visible(str(best['category']), MAX_CATEGORY_CHARACTERS)} "
        f"({number(best['purity'], 'proportion')}%), least for "
        f"{visible(str(worst['category']), MAX_CATEGORY_CHARACTERS)} "
        f"({number(worst['purity'], 'proportion')}%)"
    )
    caption = "In brackets: words. Bars: 95% intervals over the words of a category."
    height = 1.25 + _LINE_INCHES * len(drawn)
    return draw(name, message, caption, paint, height_inches=height)


def analogies(name: str, rows: Sequence[Record]) -> Figure | None:
    """Right answers by relation among all rows of words, with what makes them look better."""
    asked = [row for row in pick(rows, candidates=ALL_WORDS) if row.get("rows") == TRAINED]
    kinds = list(dict.fromkeys(str(row["kind"]) for row in known(asked, "accuracy")))
    kinds = sorted(kinds[: MAX_RELATIONS + 1], key=lambda kind: kind != "all")
    if not kinds:
        return None
    initial = [row for row in pick(rows, candidates=ALL_WORDS) if row.get("rows") == "initial rows"]
    marks = [(label, *style) for _, _, label, *style in _ANALOGIES]
    if initial:
        marks.append(("3CosAdd on initial rows", GREY, "D", False))

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, kind in enumerate(kinds):
            for place, (method, excluded, _, *style) in enumerate(_ANALOGIES):
                at = line + 0.16 * (place - len(marks) / 2 + 0.5)
                _answer(axes, _found(asked, kind, method, excluded), at, style)
            if initial:
                at = line + 0.16 * (len(marks) / 2 - 0.5)
                _answer(axes, _found(initial, kind, "3CosAdd", True), at, [GREY, "D", False])
        list_down(axes, [visible(kind, MAX_CATEGORY_CHARACTERS) for kind in kinds])
        axes.set_xlim(-3, 103)
        axes.set_xlabel("Fourth words found among all rows of words (%)")
        _legend(figure, marks, columns=1)

    caption = (
        "a is to b as c is to which word. Bars: 95% intervals over pairs. Where the given words "
        "are allowed, the answer is mostly one of them."
    )
    height = 0.8 + 0.2 * len(marks) + 0.95 * len(kinds)
    return draw(name, _analogies_message(asked, kinds[0]), caption, paint, height_inches=height)


def _analogies_message(asked: Sequence[Record], kind: str) -> str:
    found = [
        _found(asked, kind, method, excluded)
        for method, excluded in (("3CosAdd", True), ("3CosAdd", False), ("nearest to c", True))
    ]
    if not all(found):
        return "How often the fourth word of an analogy is found"
    shares = [f"{number(row['accuracy'], 'proportion')}%" for row in found if row]
    return (
        f"Analogies: {shares[0]} right if the given words are left out, {shares[1]} if not; the "
        f"word nearest to c alone: {shares[2]}"
    )


def _found(rows: Sequence[Record], kind: str, method: str, excluded: bool) -> Record | None:
    for row in rows:
        if (row["kind"], row["method"], row["excluded"]) == (kind, method, excluded):
            return row
    return None


def _answer(axes: Axes, row: Record | None, at: float, style: Sequence[Any]) -> None:
    if row is not None:
        colour, marker, filled = style
        whisker(axes, row.get("accuracy_low"), row.get("accuracy_high"), at, colour, 100)
        _mark(axes, row.get("accuracy"), at, colour, marker, filled, 100)


def _mark(
    axes: Axes, value: Any, at: float, colour: str, marker: str, filled: bool, scale: float = 1.0
) -> None:
    plain = as_number(value)
    if plain is not None:
        axes.plot(
            [scale * plain], [at], marker, color=colour, ms=9 if marker == "|" else 5.5,
            mfc=colour if filled else PAPER, mew=1.4 if marker == "|" or not filled else 0.5,
            zorder=6,
        )  # fmt: skip


def _legend(figure: MatplotlibFigure, marks: Sequence[Sequence[Any]], *, columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            ls="none",
            label=label,
            ms=5.5,
            mfc=colour if filled else PAPER,
            mew=1.4,
        )
        for label, colour, marker, filled in marks
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.3)
