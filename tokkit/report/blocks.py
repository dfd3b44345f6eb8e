"""What a page is built of: sections of blocks, which both templates know how to draw.

Every string in a block is plain text; the templates escape it. Only `Figure.svg` is markup, made
by tokkit.report.canvas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tokkit.report import formatting
from tokkit.results import Claim, Table

MAX_ROWS = 400
MAX_SETTINGS = 400


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; `lead` sets it larger."""

    text: str
    lead: bool = False
    type: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Cell:
    """One table cell; `tone` is "", "good", "bad" or "note" and always doubled by words."""

    text: str
    numeric: bool = False
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as drawn. `folded` puts it behind its title, to be opened."""

    title: str
    headings: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False
    type: ClassVar[str] = "grid"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its message; `svg` is for inlining, `svg_file` and `png` stand alone."""

    name: str
    message: str
    caption: str
    svg: str
    svg_file: bytes
    png: bytes
    type: ClassVar[str] = "figure"


@dataclass(frozen=True, slots=True)
class Chip:
    """One token: what the model is given (`shown`, `ids`) and what it stands for (`text`)."""

    text: str
    shown: str
    ids: str
    letters: str


@dataclass(frozen=True, slots=True)
class ChipRow:
    """The chips of one arm."""

    arm: str
    note: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True, slots=True)
class Chips:
    """The same word as each arm receives it, with a legend: (letters, explanation) pairs."""

    rows: tuple[ChipRow, ...]
    legend: tuple[tuple[str, str], ...]
    type: ClassVar[str] = "chips"


@dataclass(frozen=True, slots=True)
class ClaimHead:
    """A claim's statement with its verdict."""

    claim: Claim
    type: ClassVar[str] = "claim"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A titled list."""

    title: str
    items: tuple[str, ...]
    type: ClassVar[str] = "bullets"


Block = Text | Grid | Figure | Chips | ClaimHead | Bullets


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of one run; `id` is unique within the run."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One result on the page; `id` is unique on it."""

    id: str
    title: str
    facts: tuple[str, ...]
    opening: tuple[Block, ...]
    sections: tuple[Section, ...]

    def figures(self) -> list[Figure]:
        """Every figure of the run, in order."""
        blocks = [block for section in self.sections for block in section.blocks]
        return [block for block in blocks if isinstance(block, Figure)]


def grid_of(table: Table, *, folded: bool = False, units: Mapping[str, str] | None = None) -> Grid:
    """Draw a result table; `units` says more precisely what an empty or "proportion" unit means.

    At most MAX_ROWS rows are drawn, and the note says how many there are.
    """
    precise = units or {}
    filled = [
        precise.get(column.name, column.unit) if column.unit in ("", "proportion") else column.unit
        for column in table.columns
    ]
    numeric = [_is_numeric(table, place) for place in range(len(table.columns))]
    headings = tuple(
        Cell(formatting.heading(column.label or column.name, unit), is_numeric)
        for column, unit, is_numeric in zip(table.columns, filled, numeric, strict=True)
    )
    rows = tuple(
        tuple(
            Cell(formatting.cell(value, column.name, unit), is_numeric)
            for value, column, unit, is_numeric in zip(
                row, table.columns, filled, numeric, strict=True
            )
        )
        for row in table.rows[:MAX_ROWS]
    )
    hidden = len(table.rows) - len(rows)
    note = f"{len(rows):,} of {len(table.rows):,} rows; all are in result.json." if hidden else ""
    return Grid(table.title, headings, rows, note, folded)


def _is_numeric(table: Table, place: int) -> bool:
    values = [row[place] for row in table.rows if row[place] is not None]
    return bool(values) and all(formatting.as_number(value) is not None for value in values)


def pairs(title: str, values: Mapping[str, Any], names: tuple[str, str]) -> Grid:
    """Draw nested settings as two columns, each leaf under its dotted name."""
    leaves = _flatten(values)
    shown = leaves[:MAX_SETTINGS]
    rows = tuple((Cell(name), Cell(text)) for name, text in shown)
    note = "" if len(shown) == len(leaves) else f"{len(shown):,} of {len(leaves):,} values."
    return Grid(title, tuple(Cell(name) for name in names), rows, note)


def _flatten(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            leaf
            for key, inner in value.items()
            for leaf in _flatten(inner, f"{name}.{key}" if name else str(key))
        ]
    return [(name, _leaf(value))]


def _leaf(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_leaf(item) for item in value) or formatting.MISSING
    if value is None or value == {}:
        return formatting.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
