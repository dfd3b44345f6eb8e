"""A loss curve drawn in characters, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[int, float]
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a Braille cell, row by row


def text_curve(
    points: Sequence[Point], *, last_step: int, width: int = 60, height: int = 7, dots: bool = True
) -> str:
    """Losses at steps as `height` lines with the range at the left; "" with fewer than two points.

    The axis runs from step 0 to `last_step`; each column shows the mean of its losses. `dots`
    draws in Braille, two columns and four rows a character; without it in stars.

    >>> points = [(1, 4.0), (2, 2.0), (3, 1.0)]
    >>> text_curve(points, last_step=3, width=3, height=3, dots=False).splitlines()
    ['  4.000 *', '         *', '  1.000   *']
    """
    across, down = (2, 4) if dots else (1, 1)
    columns, rows = width * across, height * down
    means = _column_means(points, last_step, columns)
    if len(points) < 2 or not means:
        return ""
    low, high = min(means.values()), max(means.values())
    spread = (high - low) or 1.0
    marked = {
        (column, round((high - loss) / spread * (rows - 1))) for column, loss in means.items()
    }
    lines = []
    for line in range(height):
        cells = (_cell(marked, place, line, dots=dots) for place in range(width))
        label = {0: f"{high:.3f}", height - 1: f"{low:.3f}"}.get(line, "")
        lines.append(f"{label:>7} {''.join(cells)}".rstrip())
    return "\n".join(lines)


def _column_means(points: Sequence[Point], last_step: int, columns: int) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for step, loss in points:
        column = min(columns - 1, (step - 1) * columns // max(1, last_step))
        found.setdefault(column, []).append(loss)
    return {column: sum(losses) / len(losses) for column, losses in found.items()}


def _cell(marked: set[tuple[int, int]], place: int, line: int, *, dots: bool) -> str:
    if not dots:
        return "*" if (place, line) in marked else " "
    bits = sum(
        bit
        for row, pair in enumerate(_DOTS)
        for column, bit in enumerate(pair)
        if (2 * place + column, 4 * line + row) in marked
    )
    return chr(0x2800 + bits) if bits else " "
