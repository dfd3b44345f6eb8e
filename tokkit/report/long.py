"""Every number of a result as one long CSV: a row a number, whatever table it stands in.

Columns: tokenizer, group, metric, denominator, value, low, high, n, reason. Tables of metrics give
their own; in any other, each column of numbers is a metric named table.column, and what tells the
row apart stands beside it as `name=value` in the denominator.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tokkit.report.formatting import as_number, visible
from tokkit.results import Result, Table

COLUMNS = ("tokenizer", "group", "metric", "denominator", "value", "low", "high", "n", "reason")
# Numbers that say which row it is, not what was measured.
_KEYS = ("id", "length", "rank", "digits", "width")
_NO_METRIC = ("tokenizer", "group", "blocks", "reason", "low", "high")
# What a spreadsheet would take for the start of a formula.
_FORMULA_STARTS = ("=", "+", "-", "@")

Row = tuple[Any, ...]


def long_csv(result: Result) -> str:
    """The numbers of all tables of a result, one a row; see `csv_text`."""
    return csv_text(COLUMNS, long_rows(result))


def wide_csv(table: Table) -> str:
    """A table as it is; see `csv_text`."""
    return csv_text([column.name for column in table.columns], table.rows)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV text, lines ended by a line feed, empty where there is nothing.

    Control characters in foreign text become escapes, and an apostrophe stands before text that a
    spreadsheet would run as a formula.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def long_rows(result: Result) -> Iterator[Row]:
    """The rows of `long_csv`, None where there is nothing."""
    for name, table in result.tables.items():
        columns = {column.name for column in table.columns}
        if {"metric", "value"} <= columns:
            yield from map(_metric_row, table.records())
        elif {"metric", "difference"} <= columns:
            yield from _difference_rows(table)
        else:
            yield from _other_rows(name, table)


def _metric_row(row: Mapping[str, Any]) -> Row:
    return (
        row.get("tokenizer"),
        row.get("group"),
        _metric_name(row),
        row.get("denominator"),
        *(row.get(name) for name in ("value", "low", "high")),
        row.get("blocks"),
        row.get("reason"),
    )


def _metric_name(row: Mapping[str, Any]) -> str:
    """`bytes_per_token`, and its average where that is not the pooled one."""
    average = row.get("average")
    return str(row["metric"]) + (f" ({average})" if average and average != "micro" else "")


def _difference_rows(table: Table) -> Iterator[Row]:
    for row in table.records():
        name = f"{_metric_name(row)} minus that of {row.get('base')}"
        shared = (row.get("tokenizer"), None)
        end = (row.get("blocks"), row.get("reason"))
        bounds = (row.get("difference"), row.get("low"), row.get("high"))
        yield (*shared, name, row.get("denominator"), *bounds, *end)
        for p, label in (("p", "p"), ("p_holm", "p after Holm")):
            yield (
                *shared,
                f"{name}, {label}",
                row.get("denominator"),
                row.get(p),
                None,
                None,
                *end,
            )


def _other_rows(name: str, table: Table) -> Iterator[Row]:
    names = [column.name for column in table.columns]
    open_places = [
        place
        for place, column in enumerate(names)
        if column not in _NO_METRIC and not column.endswith(("_low", "_high"))
    ]
    measured = [
        place for place in open_places if names[place] not in _KEYS and _holds_numbers(table, place)
    ]
    for row, record in zip(table.rows, table.records(), strict=True):
        about = [
            f"{names[place]}={row[place]}"
            for place in open_places
            if place not in measured and row[place] is not None
        ]
        for place in measured:
            yield (
                record.get("tokenizer"),
                record.get("group"),
                f"{name}.{names[place]}",
                "; ".join(about) or None,
                row[place],
                *_bounds_of(names[place], record, names),
                record.get("blocks"),
                record.get("reason"),
            )


def _holds_numbers(table: Table, place: int) -> bool:
    values = [row[place] for row in table.rows if row[place] is not None]
    return bool(values) and all(as_number(value) is not None for value in values)


def _bounds_of(column: str, record: Mapping[str, Any], names: list[str]) -> tuple[Any, Any]:
    """The interval of a column: `cost_low` of `cost`, `low` of what stands right before it."""
    if f"{column}_low" in record:
        return record[f"{column}_low"], record.get(f"{column}_high")
    for ending in ("low", "high"):
        if ending not in names:
            return None, None
    before = names[names.index("low") - 1]
    return (record["low"], record["high"]) if before == column else (None, None)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        text = visible(value)
        return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    return value
