"""Maps of words, with labels that do not overlap, above the null map of the same words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
)
from tokkit.report.formatting import as_number, number, visible
from tokkit.report.subjects import Record, known, pick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

Box = tuple[float, float, float, float]
MAX_LABELS = 60
MAX_CATEGORIES = 14
MAX_WORD_CHARACTERS = 14
TRAINED = "trained rows"
_LABEL_POINTS = 7.5
_GAP_POINTS = 4.0
_POINTS_AN_INCH = 72.0
_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, GREY)
_MARKERS = "os^DvPX<>*hpd8"
_HEIGHTS = (4.3, 2.3)
_MARGIN = 0.07
# Where a label may stand around its point, in the order of trial: (right, up), each -1 to 1.
_PLACES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def word_map(
    name: str, method: str, rows: Sequence[Record], quality: Sequence[Record]
) -> Figure | None:
    """The map of trained rows, and small below it that of the null; `quality` rows are of both."""
    placed = known(rows, "x", "y")
    trained = [row for row in placed if row.get("rows") == TRAINED]
    null = [row for row in placed if row.get("rows") != TRAINED]
    if not trained:
        return None
    names = list(dict.fromkeys(str(row["category"]) for row in trained))
    styles = {
        category: (_COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)])
        for place, category in enumerate(names)
    }

    def paint(figure: MatplotlibFigure) -> None:
        heights = _HEIGHTS if null else _HEIGHTS[:1]
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        _scatter(panels[0], trained, styles, f"{TRAINED.capitalize()}")
        for text, x, y in place_labels(trained, 5.2, 4.0):
            panels[0].text(x, y, text, fontsize=_LABEL_POINTS, ha="center", va="center", zorder=8)
        if null:
            _scatter(panels[1], null, styles, f"Null: {visible(str(null[0]['rows']), 40)}")
        _legend(figure, styles)

    lines = -(-min(len(names), MAX_CATEGORIES + 1) // 4)
    height = sum(_HEIGHTS if null else _HEIGHTS[:1]) + 0.5 + 0.2 * lines
    own = next(iter(_of(quality, method, null=False)), {})
    other = next(iter(_of(quality, method, null=True)), {})
    return draw(
        name, _message(method, own), _caption(method, own, other), paint, height_inches=height
    )


def _of(quality: Sequence[Record], method: str, *, null: bool) -> list[Record]:
    return [row for row in pick(quality, method=method) if (row.get("rows") != TRAINED) == null]


def _message(method: str, own: Record) -> str:
    rows, drawn = as_number(own.get("rows_purity")), as_number(own.get("map_purity"))
    if rows is None or drawn is None:
        return f"Words by {method}"
    shown, held = (number(value, "proportion") for value in (drawn, rows))
    verb = "hides" if drawn < rows - 0.05 else "adds" if drawn > rows + 0.05 else "keeps"
    told = {
        "hides": "the map hides groups that the rows have",
        "adds": "the map shows purer groups than the rows have",
        "keeps": "the map shows the groups about as the rows have them",
    }[verb]
    return f"{method}: {told} (neighbours of one category: {shown}% on it, {held}% in the rows)"


def _caption(method: str, own: Record, other: Record) -> str:
    parts = []
    first, second = as_number(own.get("explained_first")), as_number(own.get("explained_second"))
    if first is not None and second is not None:
        parts.append(f"The axes hold {number(first + second, 'proportion')}% of the variance.")
    kept = as_number(own.get("kept_neighbours"))
    if kept is not None:
        parts.append(
            f"Of each word's nearest rows {number(kept, 'proportion')}% are nearest on the map too "
            f"(by chance {number(own.get('chance_neighbours'), 'proportion')}%); trustworthiness "
            f"{number(own.get('trustworthiness'))}."
        )
    if as_number(other.get("map_purity")) is not None:
        parts.append(
            f"On the null map {number(other['map_purity'], 'proportion')}% of neighbours are of "
            "one category."
        )
    if method == "t-SNE":
        parts.append("Sizes of groups and distances between them mean nothing in t-SNE.")
    return " ".join(parts)


def _scatter(
    axes: Axes, rows: Sequence[Record], styles: dict[str, tuple[str, str]], title: str
) -> None:
    for category, (colour, marker) in styles.items():
        own = [row for row in rows if str(row["category"]) == category]
        axes.scatter(
            [row["x"] for row in own], [row["y"] for row in own], s=17, c=colour, marker=marker,
            edgecolors=PAPER, linewidths=0.4, zorder=4,
        )  # fmt: skip
    (left, right), (low, high) = (_limits(rows, axis) for axis in "xy")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title)
    for side in ("left", "bottom"):
        axes.spines[side].set_alpha(0.4)


def _limits(rows: Sequence[Record], axis: str) -> tuple[float, float]:
    values = [float(row[axis]) for row in rows]
    pad = _MARGIN * ((max(values) - min(values)) or 1.0)
    return min(values) - pad, max(values) + pad


def _legend(figure: MatplotlibFigure, styles: dict[str, tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, ls="none", ms=5, label=visible(name, 16))
        for name, (colour, marker) in list(styles.items())[:MAX_CATEGORIES]
    ]
    if len(styles) > MAX_CATEGORIES:
        more = f"and {len(styles) - MAX_CATEGORIES} more"
        handles.append(Line2D([], [], color=INK, ls="none", label=more))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, handletextpad=0.1, columnspacing=1.0
    )


def place_labels(
    rows: Sequence[Record], width_inches: float, height_inches: float
) -> list[tuple[str, float, float]]:
    """Labels and their centres, in the map's units, none over another label or leaving the map.

    Words are tried a category at a time, in each those first that lie far from the labels there
    are; each takes the first of eight places around its point where it touches nothing labelled,
    or goes without. At most MAX_LABELS. The same rows give the same labels.
    """
    (left, right), (low, high) = (_limits(rows, axis) for axis in "xy")
    across = width_inches * _POINTS_AN_INCH / (right - left)
    up = height_inches * _POINTS_AN_INCH / (high - low)
    at = [((float(row["x"]) - left) * across, (float(row["y"]) - low) * up) for row in rows]
    edge = (0.0, 0.0, width_inches * _POINTS_AN_INCH, height_inches * _POINTS_AN_INCH)
    marks = [(x - 2, y - 2, x + 2, y + 2) for x, y in at]
    taken: list[Box] = []
    found: list[tuple[str, float, float]] = []
    for place in _order(rows, at):
        text = visible(str(rows[place]["word"]), MAX_WORD_CHARACTERS)
        box = _free_box(text, at[place], taken, marks, edge)
        if box is not None:
            taken.append(box)
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            found.append((text, left + x / across, low + y / up))
        if len(found) == MAX_LABELS:
            break
    return found


def _order(rows: Sequence[Record], at: Sequence[tuple[float, float]]) -> Iterator[int]:
    """Places of rows: categories take turns, each giving the word farthest from those given."""
    waiting: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        waiting.setdefault(str(row["category"]), []).append(place)
    gap = [float("inf")] * len(rows)
    while any(waiting.values()):
        for members in waiting.values():
            if not members:
                continue
            chosen = max(members, key=lambda place: (gap[place], -place))
            members.remove(chosen)
            yield chosen
            for place, (x, y) in enumerate(at):
                gap[place] = min(gap[place], (x - at[chosen][0]) ** 2 + (y - at[chosen][1]) ** 2)


def _free_box(
    text: str, at: tuple[float, float], taken: Sequence[Box], marks: Sequence[Box], edge: Box
) -> Box | None:
    """Where `text` touches no label and no point but its own; where none is so, None."""
    width, height = 0.62 * _LABEL_POINTS * len(text) + 2, _LABEL_POINTS + 1.5
    for right, up in _PLACES:
        x = at[0] + right * (width / 2 + _GAP_POINTS * (1 if not up else 0.5))
        y = at[1] + up * (height / 2 + _GAP_POINTS * (1 if not right else 0.5))
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        inside = box[0] >= edge[0] and box[1] >= edge[1] and box[2] <= edge[2] and box[3] <= edge[3]
        if inside and not any(_touch(box, other) for other in (*taken, *marks)):
            return box
    return None


def _touch(first: Box, second: Box) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )
