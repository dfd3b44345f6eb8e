"""The arms and measures of a strawberry record: their order, their words, their colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokkit.report import canvas
from tokkit.report.formatting import as_number, visible
from tokkit.results import Result

Record = Mapping[str, Any]

FOCUS = "count C"
# What the claim is about comes first, beside what it is compared with.
MEASURES = {
    "count C": "Count, novel tokens (C)",
    "spelled C": "Spelled out, C",
    "count R": "Count, new words (R)",
    "spelled A": "Spelled out, A",
    "count A": "Count, trained words (A)",
    "items": "Items in a list",
}
SPLITS = (
    "A: words trained on. R: new words made only of tokens seen in A. C: words whose "
    "multi-letter tokens are all novel: never counted, never spelled."
)
LETTERS = {
    "visible": "letters visible",
    "hidden": "letters hidden",
    "wrong": "wrong letters",
}
_COLOURS = {
    "hidden": (canvas.VERMILLION, canvas.ORANGE),
    "visible": (canvas.BLUE, canvas.GREEN),
    "wrong": (canvas.PURPLE,),
}
_SPARE_COLOURS = (canvas.SKY, canvas.GREY)
_MARKERS = "osD^vPXh*"
_MAX_LABEL_CHARACTERS = 24
# What a figure can hold; the tables hold the rest.
MAX_ARMS = 16
MAX_MEASURES = 12


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm as drawn: `name` is the record's, `label` is safe to show."""

    name: str
    label: str
    letters: str
    length: str
    how: str
    colour: str
    marker: str

    def short(self) -> str:
        """The label with what the arm can see: `bpe (hidden)`."""
        return f"{self.label} ({self.letters})" if self.letters else self.label


def read_arms(result: Result) -> list[Arm]:
    """The arms in the order of the record's values; arms that only a table names come last.

    At most MAX_ARMS are returned.
    """
    described = mapping(result.values.get("arms"))
    listed = result.settings.get("arms")
    names = list(described) + ([str(name) for name in listed] if isinstance(listed, list) else [])
    for table in result.tables.values():
        names += [str(record["arm"]) for record in table.records() if "arm" in record]
    arms: list[Arm] = []
    for place, name in enumerate(list(dict.fromkeys(names))[:MAX_ARMS]):
        about = mapping(described.get(name))
        letters = visible(str(about.get("letters", "")), _MAX_LABEL_CHARACTERS // 2)
        used = sum(arm.letters == letters for arm in arms)
        colours = _COLOURS.get(letters, ()) + _SPARE_COLOURS
        arms.append(
            Arm(
                name=name,
                label=visible(name, _MAX_LABEL_CHARACTERS),
                letters=letters,
                length=visible(str(about.get("length", ""))),
                how=visible(str(about.get("how", ""))),
                colour=colours[min(used, len(colours) - 1)],
                marker=_MARKERS[place % len(_MARKERS)],
            )
        )
    return arms


def by_letters(arms: Iterable[Arm]) -> dict[str, list[Arm]]:
    """The arms grouped by what they see: visible first, then hidden, then wrong."""
    groups: dict[str, list[Arm]] = {}
    arms = list(arms)
    for letters in (*LETTERS, *(arm.letters for arm in arms)):
        members = [arm for arm in arms if arm.letters == letters]
        if members:
            groups[letters] = members
    return groups


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def records(result: Result, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table, or none when it is absent or lacks one of `columns`."""
    found = result.tables.get(table)
    if found is None or not set(columns) <= {column.name for column in found.columns}:
        return []
    return found.records()


def measures_in(rows: Iterable[Record]) -> list[str]:
    """Up to MAX_MEASURES measures of a table: the known ones in their order, then the others."""
    present = list(dict.fromkeys(str(row["measure"]) for row in rows))
    known = [name for name in MEASURES if name in present]
    return (known + [name for name in present if name not in MEASURES])[:MAX_MEASURES]


def measure_label(measure: str) -> str:
    """What a measure is called on the page."""
    return MEASURES.get(measure, visible(measure, _MAX_LABEL_CHARACTERS))


def focus_of(rows: Iterable[Record]) -> str | None:
    """The measure that the claim is about, or the first one when it is absent."""
    measures = measures_in(rows)
    return FOCUS if FOCUS in measures else next(iter(measures), None)


def numbers(rows: Iterable[Record], column: str) -> list[float]:
    """The finite numbers of one column."""
    values = (as_number(row.get(column)) for row in rows)
    return [value for value in values if value is not None]


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing."""
    return sum(values) / len(values) if values else None


def mean_curve(rows: Iterable[Record], column: str = "accuracy") -> list[tuple[float, float]]:
    """The mean over seeds at each step, as (step, mean), in order of step."""
    at_step: dict[float, list[float]] = {}
    for row in rows:
        step, value = as_number(row.get("step")), as_number(row.get(column))
        if step is not None and value is not None:
            at_step.setdefault(step, []).append(value)
    return [(step, sum(values) / len(values)) for step, values in sorted(at_step.items())]
