"""The things that a tokenizer figure compares: their order, labels, colours and markers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokkit.report import canvas
from tokkit.report.formatting import as_number, visible

Record = Mapping[str, Any]

MAX_SUBJECTS = 10
"""What a figure can hold; the tables hold the rest."""
MAX_LABEL_CHARACTERS = 24
_COLOURS = (
    canvas.BLUE,
    canvas.VERMILLION,
    canvas.GREEN,
    canvas.PURPLE,
    canvas.ORANGE,
    canvas.SKY,
    canvas.GREY,
)
_MARKERS = "osD^vPXh*<"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


@dataclass(frozen=True, slots=True)
class Subject:
    """One tokenizer or pre-tokenizer as drawn: `name` is the record's, `label` is safe to show."""

    name: str
    label: str
    colour: str
    marker: str
    dash: Any


def subjects_of(rows: Iterable[Record], column: str = "tokenizer") -> list[Subject]:
    """The distinct values of a column in their order, at most MAX_SUBJECTS."""
    names = list(dict.fromkeys(str(row[column]) for row in rows if row.get(column) is not None))
    return [
        Subject(
            name,
            visible(name, MAX_LABEL_CHARACTERS),
            _COLOURS[place % len(_COLOURS)],
            _MARKERS[place % len(_MARKERS)],
            _DASHES[place % len(_DASHES)],
        )
        for place, name in enumerate(names[:MAX_SUBJECTS])
    ]


def of_subject(rows: Sequence[Record], subject: Subject, column: str = "tokenizer") -> list[Record]:
    """The rows of one subject."""
    return [row for row in rows if str(row.get(column)) == subject.name]


def pick(rows: Sequence[Record], **wanted: str) -> list[Record]:
    """The rows with these values in these columns."""
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def known(rows: Sequence[Record], *columns: str) -> list[Record]:
    """The rows that have a number in each of these columns."""
    return [row for row in rows if all(as_number(row.get(name)) is not None for name in columns)]


def points(rows: Sequence[Record], across: str, up: str, scale: float = 1.0) -> list[Any]:
    """Two lists, x and scaled y, of the rows that have both, in order of x."""
    found = sorted(
        (x, scale * y)
        for row in rows
        if (x := as_number(row.get(across))) is not None
        and (y := as_number(row.get(up))) is not None
    )
    return [[x for x, _ in found], [y for _, y in found]]
