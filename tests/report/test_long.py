"""Numbers of a record as a long CSV."""

from __future__ import annotations

import csv
import io

from tokenizer_records import metric_table

from tokkit.report.long import COLUMNS, csv_text, long_csv, long_rows, wide_csv
from tokkit.results import Column, Result, Table


def result_of(**tables):
    return Result("x.y", "T", {}, {}, tables, (), {})


def table_of(names, *rows):
    return Table("T", tuple(Column(name, name) for name in names), rows)


def test_metrics_keep_their_denominator_and_name_their_average():
    table = metric_table(
        ("t", "m", "", "micro", 0.5, 0.25, 0.75, 7),
        ("t", "m", "", "by type", None, None, None, None),
    )
    assert list(long_rows(result_of(efficiency=table))) == [
        ("t", None, "m", "tokens", 0.5, 0.25, 0.75, 7, None),
        ("t", None, "m (by type)", "tokens", None, None, None, None, None),
    ]


def test_other_tables_give_a_row_for_each_number_with_its_interval():
    names = ("tokenizer", "group", "basis", "cost", "cost_low", "cost_high", "premium", "low")
    table = table_of((*names, "high", "blocks", "reason"),
                     ("t", "fr", "bytes", 0.5, 0.4, 0.6, 1.5, 1.4, 1.6, 9, None),
                     ("t", "de", "lines", None, None, None, None, None, None, 9, "not parallel"),
                     )  # fmt: skip
    assert list(long_rows(result_of(groups=table))) == [
        ("t", "fr", "groups.cost", "basis=bytes", 0.5, 0.4, 0.6, 9, None),
        ("t", "fr", "groups.premium", "basis=bytes", 1.5, 1.4, 1.6, 9, None),
        ("t", "de", "groups.cost", "basis=lines", None, None, None, 9, "not parallel"),
        ("t", "de", "groups.premium", "basis=lines", None, None, None, 9, "not parallel"),
    ]


def test_numbers_that_name_a_row_are_no_metrics():
    table = table_of(("tokenizer", "length", "share"), ("t", 3, 0.25))
    assert list(long_rows(result_of(token_lengths=table))) == [
        ("t", None, "token_lengths.share", "length=3", 0.25, None, None, None, None)
    ]


def test_differences_come_with_their_p_values():
    names = ("tokenizer", "base", "metric", "average", "denominator", "difference", "low", "high")
    row = ("b", "a", "m", "micro", "tokens", 0.5, 0.4, 0.6, 0.01, 0.02, 9, None)
    table = table_of((*names, "p", "p_holm", "blocks", "reason"), row)
    found = [(row[2], row[4]) for row in long_rows(result_of(differences=table))]
    assert found == [
        ("m minus that of a", 0.5),
        ("m minus that of a, p", 0.01),
        ("m minus that of a, p after Holm", 0.02),
    ]


def test_nothing_is_read_as_a_formula_or_a_command():
    text = csv_text(["a"], [["=1+1"], ["@x"], ["-2"], [-2.5], ["a\x1b[31m\n\u202e"], [None]])
    rows = [row[0] if row else "" for row in csv.reader(io.StringIO(text))]
    assert rows == ["a", "'=1+1", "'@x", "'-2", "-2.5", r"a\x1b[31m\n\u202e", ""]


def test_headings():
    assert long_csv(result_of()).strip() == ",".join(COLUMNS)
    assert wide_csv(table_of(("a", "b"), (1, "x"))) == "a,b\n1,x\n"
