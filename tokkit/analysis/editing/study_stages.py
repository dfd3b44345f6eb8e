"""What a study measures, stage by stage: the sweep, the test half, edits in a row, traces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from tokkit.analysis.editing.known_facts import KnownFact
from tokkit.analysis.editing.metrics import Estimate, mean_over_facts, measures_of
from tokkit.analysis.editing.odds import Odds
from tokkit.analysis.editing.study_edits import (
    ARMS,
    EDITED,
    RANDOM_KEY,
    UNEDITED,
    Bench,
    asked,
    asked_and_written,
    compared,
    in_a_row,
    odds_in,
    swept,
)
from tokkit.analysis.editing.study_records import Record, Records
from tokkit.analysis.editing.study_tables import Measures, TestedFact
from tokkit.analysis.editing.study_tracing import beside_the_sweep, can_be_traced, traced
from tokkit.analysis.editing.study_verdict import TestFacts
from tokkit.results import Table

Told = Callable[[str, str, int, int], None]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Found:
    """The test half: every fact with its edit, the measures of each arm, fluency and text."""

    facts: list[TestedFact]
    by_arm: dict[str, list[Measures]]
    bits_before: float
    entropy: list[tuple[float | None, float | None]]
    repeated: list[tuple[float | None, float | None]]

    def values(self, seed: int) -> dict[str, Any]:
        """Fluency before, after and the difference, and the rise of unrelated text."""
        generator = np.random.default_rng([seed, 8])
        found: dict[str, Any] = {}
        parts = (("fluency_entropy_bits", self.entropy), ("repeated_trigrams", self.repeated))
        for name, pairs in parts:
            known = [(old, new) for old, new in pairs if old is not None and new is not None]
            for end, values in (
                ("before", [old for old, _ in known]),
                ("after", [new for _, new in known]),
                ("difference", [new - old for old, new in known]),
            ):
                found |= _with_ends(f"{name}_{end}", mean_over_facts(values, generator))
        rises = mean_over_facts([one.rise for one in self.facts], generator)
        largest = max(self.facts, key=lambda one: one.rise)
        return {
            **found, **_with_ends("bits_per_byte_rise", rises),
            "bits_per_byte_rise_largest": largest.rise,
            "bits_per_byte_rise_largest_of": largest.fact.name,
        }  # fmt: skip

    def for_verdict(self) -> TestFacts:
        """What the claim is judged by."""
        return TestFacts(
            edited=self.by_arm[EDITED],
            unedited=self.by_arm[UNEDITED],
            random_key=self.by_arm[RANDOM_KEY],
            preferred=[not one.before[0].prefers_target for one in self.facts],
            rises=[one.rise for one in self.facts],
        )


def _with_ends(name: str, found: Estimate) -> dict[str, float | None]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


@dataclass(frozen=True, slots=True)
class Stages:
    """The measurements of a study, in their order; each record is kept."""

    bench: Bench
    records: Records
    told: Told

    def sweep(self, facts: Sequence[KnownFact], layers: Sequence[int]) -> dict[int, list[Measures]]:
        """The measures of each fact, edited in each layer."""
        found: dict[int, list[Measures]] = {layer: [] for layer in layers}
        for layer, fact in self._counted("sweep", [(at, one) for at in layers for one in facts]):
            record = self.records.kept(
                f"sweep-{layer}-{_digest(asdict(fact))}",
                lambda: swept(self.bench, fact, layer),  # noqa: B023
            )
            found[layer].append(self._measures(fact, record))
        return found

    def test(self, facts: Sequence[KnownFact], layer: int) -> Found:
        """The chosen layer on the other half, with its baselines."""
        bits_before = self.bench.unrelated.bits_per_byte(self.bench.model)
        found = Found([], {arm: [] for arm in ARMS}, bits_before, [], [])
        for fact in self._counted("test half", facts):
            digest = _digest(asdict(fact))
            old = self.records.kept(
                f"unedited-{digest}",
                lambda: asked_and_written(self.bench, fact),  # noqa: B023
            )
            record = self.records.kept(
                f"test-{layer}-{digest}",
                lambda: compared(self.bench, fact, layer),  # noqa: B023
            )
            record = {**record, UNEDITED: old}
            for arm in ARMS:
                found.by_arm[arm].append(self._measures(fact, record[arm], old))
            new = record[EDITED]
            found.entropy.append((old["entropy_bits"], new["entropy_bits"]))
            found.repeated.append((old["repeated"], new["repeated"]))
            found.facts.append(
                TestedFact(
                    fact, self.bench.queries(fact), odds_in(old), odds_in(new),
                    found.by_arm[EDITED][-1], new["bits_per_byte"] - bits_before,
                )
            )  # fmt: skip
        return found

    def rows(
        self, facts: Sequence[KnownFact], layer: int, *, orders: int, stops: Sequence[int]
    ) -> list[Record]:
        """Edits in a row, in several orders, of as many facts as the last stop needs."""
        taken = facts[: max(stops)]
        stops = sorted({min(stop, len(taken)) for stop in stops})
        before = {fact.name: self._before(fact) for fact in taken}
        found = []
        for number in self._counted("edits in a row", list(range(orders))):
            order = np.random.default_rng([self.bench.seed, 9, number]).permutation(len(taken))
            row = [taken[int(n)] for n in order]
            name = _digest([stops, [asdict(fact) for fact in row]])
            found.append(
                self.records.kept(
                    f"row-{layer}-{name}",
                    lambda: in_a_row(self.bench, row, before, layer=layer, stops=stops),  # noqa: B023
                )
            )
        return found

    def traces(
        self, facts: Sequence[KnownFact], by_layer: Mapping[int, Sequence[Measures]], count: int
    ) -> tuple[dict[str, Table], dict[str, Any]]:
        """Tracing beside the sweep on some of the choosing half; nothing of none."""
        possible = [
            place for place, fact in enumerate(facts) if can_be_traced(self.bench.queries(fact)[0])
        ][:count]
        if not possible:
            return {}, {}
        found = [
            self.records.kept(
                f"trace-{_digest(asdict(facts[place]))}",
                lambda: traced(self.bench, facts[place]),  # noqa: B023
            )
            for place in self._counted("tracing", possible)
        ]
        same = {layer: [own[place] for place in possible] for layer, own in by_layer.items()}
        table, values = beside_the_sweep(found, same, self.bench.seed)
        return {"traced": table}, values

    def _before(self, fact: KnownFact) -> list[Odds]:
        name = f"asked-{_digest(asdict(fact))}"
        return odds_in(self.records.kept(name, lambda: asked(self.bench, fact)))

    def _measures(
        self, fact: KnownFact, record: Record, old: Record | None = None
    ) -> dict[str, float | None]:
        kinds = [query.kind for query in self.bench.queries(fact)]
        before = self._before(fact) if old is None else odds_in(old)
        return measures_of(kinds, before, odds_in(record))

    def _counted(self, stage: str, items: Sequence[Item]) -> Iterator[Item]:
        for done, item in enumerate(items):
            self.told(stage, "facts", done, len(items))
            yield item


def _digest(value: Mapping[str, Any] | Sequence[Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
