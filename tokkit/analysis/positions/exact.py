"""Properties that hold exactly, each with a control that must fail: the record and its rules."""

from __future__ import annotations

from dataclasses import dataclass

from tokkit.results import Column, Table

# Largest deviations, relative to what is measured; fixed before any model was looked at.
WHOLE_MODEL = "float32, whole model"
TOLERANCE = {"float64": 1e-10, "float32": 1e-4, WHOLE_MODEL: 1e-2}
CONTROL_FLOOR = 1e-2
"""A control fails as it must where it deviates by more than this."""
MOST_POSITIONS = 2048
"""All pairs of this many positions are looked at; their number grows with the square."""


@dataclass(frozen=True, slots=True)
class Property:
    """What should hold, how far it is from holding, and the same of what must not hold.

    `deviation` and `control_deviation` are relative: 1e-3 is a thousandth of `relative_to`.
    """

    name: str
    scheme: str
    of_model: bool
    dtype: str
    checked: str
    relative_to: str
    deviation: float
    control: str
    control_deviation: float

    @property
    def tolerance(self) -> float:
        """The largest deviation that rounding explains."""
        return TOLERANCE[self.dtype]

    @property
    def holds(self) -> bool:
        """Whether the deviation is within tolerance; NaN is not."""
        return self.deviation <= self.tolerance

    @property
    def control_fails(self) -> bool:
        """Whether the control deviates, as it must for the check to mean anything."""
        return self.control_deviation > CONTROL_FLOOR


def exact_table(properties: tuple[Property, ...]) -> Table:
    """The table of the record."""
    columns = (
        Column("property", "Property"),
        Column("scheme", "Scheme"),
        Column("of_model", "This model's own"),
        Column("dtype", "Computed in"),
        Column("checked", "Looked at"),
        Column("deviation", "Largest deviation"),
        Column("relative_to", "... as a share of"),
        Column("tolerance", "Tolerance"),
        Column("holds", "Holds"),
        Column("control", "Control that must fail"),
        Column("control_deviation", "Its deviation"),
        Column("control_fails", "Control fails"),
    )
    rows = tuple(
        (
            p.name, p.scheme, p.of_model, p.dtype, p.checked, p.deviation, p.relative_to,
            p.tolerance, p.holds, p.control, p.control_deviation, p.control_fails,
        )
        for p in properties
    )  # fmt: skip
    return Table("Exact properties", columns, rows)
