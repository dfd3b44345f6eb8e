"""How values look on a page: numbers, intervals, p-values, foreign text, Markdown."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

MISSING = "–"
MINUS = "−"
MAX_TEXT_CHARACTERS = 600
P_FLOOR = 0.001

# What a unit means for the reader: (unit shown, factor from the stored number).
_PERCENT = ("%", 100.0)
_POINTS = ("percentage points", 100.0)
_UNITS = {
    "proportion": _PERCENT,
    "fraction": _PERCENT,
    "share": _PERCENT,
    "probability": _PERCENT,
    "accuracy": _PERCENT,
    "proportion difference": _POINTS,
    "difference in proportions": _POINTS,
    "difference in accuracy": _POINTS,
}
_SHORT_UNITS = {"percentage points": "% points"}
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]|~$#!])")


def visible(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    r"""Foreign text made safe to look at: control and direction marks become escapes, long is cut.

    >>> visible("a\u202eb\n")
    'a\\u202eb\\n'
    """
    shown = "".join(
        character
        if character == " " or unicodedata.category(character)[0] in "LMNPS"
        else character.encode("unicode_escape").decode("ascii")
        for character in text[: limit + 1]
    )
    return shown if len(text) <= limit else shown[:limit] + "…"


def markdown(text: str) -> str:
    r"""Text as literal Markdown: nothing in it makes markup, HTML, a link or a table cell.

    >>> markdown("<b>|*")
    '&lt;b&gt;\\|\\*'
    """
    safe = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _MARKDOWN_SPECIAL.sub(r"\\\1", safe)
    safe = safe.replace("://", r"\://").replace("www.", r"www\.")
    return re.sub(r"^(\d+)([.)]\s)|^([-+=])", r"\1\\\2\3", safe)


def as_number(value: Any) -> float | None:
    """The value as a float, or None where it is not a finite number (booleans are not)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def shown_unit(unit: str) -> str:
    """The unit that a reader sees: proportions are shown as percentages."""
    return _UNITS.get(unit, (unit, 1.0))[0]


def number(value: Any, unit: str = "") -> str:
    """A number without its unit: one decimal for percentages, an en dash for what is missing.

    >>> number(0.9583, "proportion"), number(1200), number(-0.25, "nats"), number(None)
    ('95.8', '1,200', '−0.250', '–')
    """
    plain = as_number(value)
    if plain is None:
        return MISSING
    if unit in _UNITS:
        scaled = _UNITS[unit][1] * plain
        return _minus(f"{scaled:.1f}") if math.isfinite(scaled) else MISSING
    if isinstance(value, int) or (plain.is_integer() and unit == "%"):
        return _minus(f"{int(plain):,}")
    if unit in ("%", "percentage points"):
        return _minus(f"{plain:.1f}")
    if plain == 0 or 0.001 <= abs(plain) < 1000:
        return _minus(f"{plain:.3f}")
    return _minus(f"{plain:,.0f}" if 1000 <= abs(plain) < 1e9 else f"{plain:.3g}")


def quantity(value: Any, unit: str = "") -> str:
    """A number with its unit: `95.8%`, `0.250 nats`."""
    text, shown = number(value, unit), shown_unit(unit)
    if text == MISSING or not shown:
        return text
    return f"{text}%" if shown == "%" else f"{text} {shown}"


def interval(low: Any, high: Any, unit: str = "") -> str:
    """An interval in brackets, without unit; an en dash when there is none."""
    if as_number(low) is None or as_number(high) is None:
        return MISSING
    return f"[{number(low, unit)}, {number(high, unit)}]"


def estimate(value: Any, low: Any, high: Any, unit: str = "") -> str:
    """A quantity with its interval behind it where it has one."""
    text, bounds = quantity(value, unit), interval(low, high, unit)
    return text if bounds == MISSING else f"{text} {bounds}"


def p_value(value: Any) -> str:
    """A p-value as `.023`, or `< .001`.

    >>> p_value(0.0231), p_value(1e-9), p_value(1.0), p_value(None)
    ('.023', '< .001', '1.000', '–')
    """
    plain = as_number(value)
    if plain is None:
        return MISSING
    return "< .001" if plain < P_FLOOR else f"{plain:.3f}".removeprefix("0")


def p_clause(value: Any) -> str:
    """A p-value inside a sentence: `p < .001`, `p = .023`, or nothing."""
    text = p_value(value)
    if text == MISSING:
        return ""
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def cell(value: Any, name: str = "", unit: str = "") -> str:
    """A table value as text; columns named p or p_... hold p-values."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return p_value(value) if name == "p" or name.startswith("p_") else number(value, unit)
    return str(value)


def heading(label: str, unit: str) -> str:
    """A column's heading: its label with the shown unit, unless the label says it already.

    >>> heading("Accuracy", "proportion"), heading("Questions", "questions")
    ('Accuracy (%)', 'Questions')
    """
    shown = _SHORT_UNITS.get(shown_unit(unit), shown_unit(unit))
    said = {word.rstrip("s") for word in label.lower().split()}
    return label if not shown or shown.rstrip("s") in said else f"{label} ({shown})"


def percent_range(values: Sequence[float | None]) -> str:
    """Proportions as a range of percentages: `95.8–99.5%`, or `54.7%` when they coincide."""
    present = [value for value in values if value is not None]
    if not present:
        return MISSING
    low, high = (number(bound, "proportion") for bound in (min(present), max(present)))
    return f"{low}%" if low == high else f"{low}–{high}%"


def listing(words: Sequence[str]) -> str:
    """Words joined as in a sentence: `a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def plural(count: int, noun: str) -> str:
    """A count with its noun, in the plural where it is not one.

    >>> plural(1, "seed"), plural(1200, "question")
    ('1 seed', '1,200 questions')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _minus(text: str) -> str:
    zero = text.startswith("-") and not re.search("[1-9]", text)
    return text.removeprefix("-") if zero else text.replace("-", MINUS)
