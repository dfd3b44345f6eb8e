"""The tables of a study: the sweep, the test half by arm and by kind of prompt, rows of edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np

from tokkit.analysis.editing.known_facts import Knowledge, KnownFact
from tokkit.analysis.editing.metrics import (
    BASES,
    MEASURES,
    Estimate,
    harmonic_over_facts,
    mean_over_facts,
    share_of_facts,
)
from tokkit.analysis.editing.odds import KINDS, Odds, Query
from tokkit.analysis.editing.study_records import Record
from tokkit.results import Column, Table

HARMONIC = "harmonic mean"
WORST = 20
_SAID = (
    ("target", "Says the target"),
    ("answer_before", "Said the true answer before"),
    ("answer", "Says it after"),
    ("same", "Likeliest token stays"),
)
Measures = Mapping[str, float | None]
_MEASURE_COLUMNS = (
    Column("basis", "By"),
    Column("measure", "Measure"),
    Column("value", "Value", "proportion"),
    Column("low", "Low", "proportion"),
    Column("high", "High", "proportion"),
    Column("facts", "Facts"),
)


@dataclass(frozen=True, slots=True)
class TestedFact:
    """A fact of the test half: what was asked, the odds without and with the edit, the measures.

    `rise` is in bits per byte of unrelated text.
    """

    __test__ = False  # pytest would collect a class of this name

    fact: KnownFact
    queries: Sequence[Query]
    before: Sequence[Odds]
    after: Sequence[Odds]
    measures: Measures
    rise: float

    @property
    def score(self) -> float:
        """The mean of its measures by token, to sort by."""
        parts = [self.measures[f"{measure}_token"] for measure in MEASURES]
        known = [part for part in parts if part is not None]
        return sum(known) / len(known)


def _of(found: Estimate) -> tuple[Any, ...]:
    return (found.value, found.low, found.high, found.n)


def measure_rows(
    facts: Sequence[Measures], generator: np.random.Generator
) -> list[tuple[Any, ...]]:
    """By basis: each measure and the harmonic mean, with intervals over facts."""
    rows = []
    for basis in BASES:
        for measure in MEASURES:
            values = [fact[f"{measure}_{basis}"] for fact in facts]
            shared = measure == "efficacy"  # a fact does it or not
            found = share_of_facts(values) if shared else mean_over_facts(values, generator)
            rows.append((basis, measure, *_of(found)))
        rows.append((basis, HARMONIC, *_of(harmonic_over_facts(facts, basis, generator))))
    return rows


def sweep(by_layer: Mapping[int, Sequence[Measures]], seed: int) -> Table:
    """Each layer on the choosing half."""
    rows = [
        (layer, *row)
        for layer, facts in by_layer.items()
        for row in measure_rows(facts, np.random.default_rng([seed, 2, layer]))
    ]
    columns = (Column("layer", "Layer"), *_MEASURE_COLUMNS)
    return Table("The sweep over layers, on the choosing half", columns, tuple(rows))


def harmonic_by_layer(table: Table) -> dict[int, float | None]:
    """The harmonic mean by token of each layer in a sweep."""
    return {
        row["layer"]: row["value"]
        for row in table.records()
        if row["measure"] == HARMONIC and row["basis"] == BASES[0]
    }


def arms(by_arm: Mapping[str, Sequence[Measures]], about: Mapping[str, str], seed: int) -> Table:
    """The edit and what it is compared with, on the test half."""
    rows = [
        (arm, about[arm], *row)
        for arm, facts in by_arm.items()
        for row in measure_rows(facts, np.random.default_rng([seed, 3]))
    ]
    columns = (Column("arm", "Change"), Column("about", "What it is"), *_MEASURE_COLUMNS)
    return Table("The edit and its baselines, on the test half", columns, tuple(rows))


def probabilities(tested: Sequence[TestedFact], seed: int) -> Table:
    """By kind of prompt: mean probabilities before and after; each fact counts once."""
    rows = []
    for kind in KINDS:
        for answer in ("answer", "target"):
            cells = [_mean_probabilities(one, kind, answer) for one in tested]
            known = [cell for cell in cells if cell is not None]
            if not known:
                continue
            generator = np.random.default_rng([seed, 4])
            old, new = (mean_over_facts([cell[n] for cell in known], generator) for n in (0, 1))
            rows.append((kind, answer, *_of(old)[:3], *_of(new)[:3], len(known)))
    probability = "probability"
    columns = (
        Column("kind", "Prompt"), Column("answer", "Answer"),
        Column("before", "Before", probability), Column("before_low", "Low", probability),
        Column("before_high", "High", probability), Column("after", "After", probability),
        Column("after_low", "Low", probability), Column("after_high", "High", probability),
        Column("facts", "Facts"),
    )  # fmt: skip
    title = "Mean probability of the true answer and of the target, before and after"
    return Table(title, columns, tuple(rows))


def _mean_probabilities(one: TestedFact, kind: str, answer: str) -> tuple[float, float] | None:
    name = f"{answer}_nats"
    pairs = [
        (exp(getattr(old, name)), exp(getattr(new, name)))
        for query, old, new in zip(one.queries, one.before, one.after, strict=True)
        if query.kind == kind
    ]
    if not pairs:
        return None
    old, new = np.mean(pairs, axis=0).tolist()
    return old, new


def kinds(tested: Sequence[TestedFact], seed: int) -> Table:
    """By kind of prompt: the shares that say target and true answer, and that say what they did."""
    rows = []
    for kind in KINDS:
        cells: dict[str, list[float]] = {name: [] for name, _ in _SAID}
        for one in tested:
            asked = [
                (new.target_said, old.answer_said, new.answer_said, new.said == old.said)
                for query, old, new in zip(one.queries, one.before, one.after, strict=True)
                if query.kind == kind
            ]
            if asked:
                for held, value in zip(cells.values(), np.mean(asked, axis=0), strict=True):
                    held.append(float(value))
        if cells["target"]:
            generator = np.random.default_rng([seed, 5])
            found = (_of(mean_over_facts(held, generator))[:3] for held in cells.values())
            rows.append((kind, *(value for part in found for value in part), len(cells["target"])))
    shares = [
        Column(f"{name}{end}", label if not end else end[1:].capitalize(), "proportion")
        for name, label in _SAID
        for end in ("", "_low", "_high")
    ]
    columns = (Column("kind", "Prompt"), *shares, Column("facts", "Facts"))
    return Table("What is said with the edit, by kind of prompt", columns, tuple(rows))


def rows_of_edits(records: Sequence[Record], before: float, seed: int) -> Table:
    """A line for each order and stop: all edits so far asked again; and unrelated text."""
    rows = []
    for order, record in enumerate(records, start=1):
        for stop in record["stops"]:
            generator = np.random.default_rng([seed, 6])
            bits = stop["bits_per_byte"]
            found = measure_rows(stop["facts"], generator)[: len(MEASURES) + 1]
            shares = [value for row in found for value in row[2:5]]
            rows.append((order, stop["edits"], *shares, bits, bits - before))
    names = (*MEASURES, "harmonic_mean")
    shares_of = [
        Column(f"{name}{end}", (name if not end else end[1:]).replace("_", " ").capitalize(),
               "proportion")
        for name in names
        for end in ("", "_low", "_high")
    ]  # fmt: skip
    columns = (
        Column("order", "Order"), Column("edits", "Edits"), *shares_of,
        Column("bits_per_byte", "Unrelated text", "bits per byte"),
        Column("rise", "Rise", "bits per byte"),
    )  # fmt: skip
    return Table("Edits in a row: what holds of all of them, by token", columns, tuple(rows))


def facts_of(tested: Sequence[TestedFact]) -> Table:
    """Every fact of the test half."""
    return Table("The facts of the test half", _FACT_COLUMNS, tuple(map(_fact_row, tested)))


def worst(tested: Sequence[TestedFact]) -> Table:
    """Those on which the edit did worst, by the mean of the three measures by token."""
    found = sorted(tested, key=lambda one: (one.score, one.fact.name))[:WORST]
    return Table("Where the edit did worst", _FACT_COLUMNS, tuple(map(_fact_row, found)))


_FACT_COLUMNS = (
    Column("relation", "Relation"),
    Column("subject", "Subject"),
    Column("answer", "True answer"),
    Column("target", "Target"),
    Column("target_before", "Target before", "probability"),
    Column("target_after", "Target after", "probability"),
    Column("efficacy", "Efficacy", "proportion"),
    Column("paraphrase", "Paraphrase", "proportion"),
    Column("neighbourhood", "Neighbours kept", "proportion"),
    Column("rise", "Rise", "bits per byte"),
)


def _fact_row(one: TestedFact) -> tuple[Any, ...]:
    fact = one.fact
    return (
        fact.relation, fact.subject, fact.answer, fact.target,
        exp(one.before[0].target_nats), exp(one.after[0].target_nats),
        *(one.measures[f"{measure}_token"] for measure in MEASURES), one.rise,
    )  # fmt: skip


def knowledge(found: Knowledge) -> Table:
    """Of each relation, what the model knows."""
    rows = tuple((name, known, asked) for name, (known, asked) in found.counts().items())
    columns = (Column("relation", "Relation"), Column("known", "Known"), Column("asked", "Asked"))
    return Table("What the model knows", columns, rows)
