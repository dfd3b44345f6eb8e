"""The rows of an audit's tables: metrics with intervals, and paired differences with tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokkit.results import Column, Table
from tokkit.stats import holm, sign_flip_p
from tokkit.tokenizer.audit.efficiency import Metric
from tokkit.tokenizer.audit.replicates import Replicates

TOKENIZER = Column("tokenizer", "Tokenizer")
GROUP = Column("group", "Group")
REASON = Column("reason", "Why there is none")
_METRIC = (
    Column("metric", "Metric"),
    Column("label", "What is measured"),
    Column("unit", "Unit"),
    Column("denominator", "Denominator"),
    Column("average", "Average"),
)
LOW, HIGH = Column("low", "95% low"), Column("high", "95% high")

TESTED = ("micro", "groups count alike")
"""The averages whose differences are tested."""

Metrics = Mapping[str, Sequence[Metric]]


def metrics_table(title: str, metrics: Metrics, replicates: Replicates) -> Table:
    """One row for each tokenizer and metric, with its interval over blocks."""
    rows = []
    for name, found in metrics.items():
        for metric in found:
            words = (name, metric.name, metric.label, metric.unit, metric.denominator)
            values: tuple[Any, ...]
            if metric.rows is None:
                values = (metric.fixed, None, None, None, None, metric.reason)
            else:
                made = replicates.estimate(metric.rows)
                method = None if made.low is None else metric.method
                values = (
                    made.value, made.low, made.high, replicates.blocks, method, made.reason,
                )  # fmt: skip
            rows.append((*words, metric.average, *values))
    columns = (
        TOKENIZER,
        *_METRIC,
        Column("value", "Value"),
        LOW,
        HIGH,
        Column("blocks", "Blocks of documents", "blocks"),
        Column("interval", "Interval by"),
        REASON,
    )
    return Table(title, columns, tuple(rows))


def differences_table(
    metrics: Metrics, base: str, replicates: Replicates, generator: np.random.Generator
) -> Table:
    """Each tokenizer minus `base`, metric by metric, paired by blocks; p is Holm-corrected.

    Pooled metrics are tested, for the other averages ask the same again; the family is all tests
    of the table. Signs of what each block adds to a difference are flipped; see
    `tokkit.stats.sign_flip_p`.
    """
    pairs = [
        (name, ours, theirs)
        for name, found in metrics.items()
        if name != base
        for ours, theirs in zip(found, metrics[base], strict=True)
        if ours.fixed is None and theirs.fixed is None
    ]
    differences = [_difference(ours, theirs) for _, ours, theirs in pairs]
    tested = [
        rows_of if ours.average in TESTED else None
        for (_, ours, _), rows_of in zip(pairs, differences, strict=True)
    ]
    p_values = _p_values(tested, replicates, generator)
    rows = [
        _difference_row(name, base, ours, theirs, rows_of, p, corrected, replicates)
        for (name, ours, theirs), rows_of, p, corrected in zip(
            pairs, differences, p_values, holm(p_values), strict=True
        )
    ]
    columns = (
        TOKENIZER,
        Column("base", "Compared with"),
        *_METRIC,
        Column("difference", "Difference"),
        LOW,
        HIGH,
        Column("relative", "Difference / value of the base", "proportion"),
        Column("p", "p, sign flips over blocks"),
        Column("p_holm", "p, Holm"),
        Column("blocks", "Blocks of documents", "blocks"),
        REASON,
    )
    family = sum(p is not None for p in p_values)
    title = f"Each tokenizer minus {base}, paired by blocks; Holm over {family} tests"
    return Table(title, columns, tuple(rows))


def _difference_row(
    name: str,
    base: str,
    ours: Metric,
    theirs: Metric,
    difference: Any,
    p: float | None,
    corrected: float | None,
    replicates: Replicates,
) -> tuple[Any, ...]:
    words = (name, base, ours.name, ours.label, ours.unit, ours.denominator, ours.average)
    if difference is None or theirs.rows is None:
        return (*words, *[None] * 7, ours.reason or theirs.reason)
    made, against = replicates.estimate(difference), float(theirs.rows[0])
    relative = made.value / against if made.value is not None and against else None
    values = (made.value, made.low, made.high, relative, p, corrected)
    return (*words, *values, replicates.blocks, made.reason)


def _difference(ours: Metric, theirs: Metric) -> Any:
    if ours.rows is None or theirs.rows is None:
        return None
    return ours.rows - theirs.rows


def _p_values(
    differences: Sequence[Any], replicates: Replicates, generator: np.random.Generator
) -> list[float | None]:
    found: list[float | None] = [None] * len(differences)
    if replicates.why_no_interval() is not None:
        return found
    parts = {
        index: replicates.contributions(rows)
        for index, rows in enumerate(differences)
        if rows is not None
    }
    parts = {index: part for index, part in parts.items() if np.isfinite(part).all()}
    if parts:
        tested = sign_flip_p(np.stack(list(parts.values()), axis=1), generator)
        for index, p in zip(parts, tested, strict=True):
            found[index] = float(p)
    return found
