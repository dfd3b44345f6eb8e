"""What one part of an analysis found: records that the whole analysis puts into one result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokkit.results import Claim, Table


@dataclass(frozen=True, slots=True)
class Section:
    """Values (JSON, units in their names), tables by name, claims, and what was left out and why.

    `left_out` maps a reason in words to a count: rows that hold NaN, tokens without letters.
    """

    values: Mapping[str, Any]
    tables: Mapping[str, Table] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
