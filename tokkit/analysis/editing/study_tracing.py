"""Does the layer that carries a fact tell the layer to edit? Tracing beside the sweep.

Hase et al. (2023) found that it does not: where restoring a layer brings an answer back says next
to nothing on where an edit works. Both are had here for the same facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokkit.analysis.editing.known_facts import KnownFact
from tokkit.analysis.editing.metrics import (
    BASES,
    LEVEL,
    MEASURES,
    RESAMPLES,
    Floats,
    mean_over_facts,
)
from tokkit.analysis.editing.odds import Query
from tokkit.analysis.editing.request import located
from tokkit.analysis.editing.study_edits import Bench
from tokkit.analysis.editing.study_records import Record
from tokkit.analysis.editing.tracing import KINDS, trace_fact
from tokkit.results import Column, Table

KIND = "feedforward"
Measures = Mapping[str, float | None]


def can_be_traced(query: Query) -> bool:
    """Tracing looks at the first token of answer and target: they must differ."""
    return query.answer[0] != query.target[0]


def traced(bench: Bench, fact: KnownFact) -> Record:
    """The share of the answer's lost probability that each layer's feed-forward brings back.

    Restored at the subject's last token, in the window of layers around it; a mean over draws.
    """
    query = bench.queries(fact)[0]
    place = located(bench.tokenizer, fact.request, bench.start_ids)
    found = trace_fact(
        bench.model, place, answer=query.answer[0], alternative=query.target[0], seed=bench.seed
    )
    spoilt = float(found.corrupted.mean())
    restored = found.restored[KINDS.index(KIND), :, place.subject_end].mean(-1)
    lost = found.clean - spoilt
    shares = (restored - spoilt) / lost if lost > 0 else restored * 0
    return {"clean": found.clean, "spoilt": spoilt, "shares": shares.tolist()}


def beside_the_sweep(
    records: Sequence[Record], by_layer: Mapping[int, Sequence[Measures]], seed: int
) -> tuple[Table, dict[str, Any]]:
    """Tracing and edit by layer, on the same facts in one order; and how they go together.

    The correlation (Pearson) is over facts and layers, each fact's own mean taken away, with a
    bootstrap interval over facts; None where one of the two does not vary.
    """
    generator = np.random.default_rng([seed, 10])
    rows = []
    for layer, facts in by_layer.items():
        effect = mean_over_facts([record["shares"][layer] for record in records], generator)
        edit = mean_over_facts([_success(fact) for fact in facts], generator)
        rows.append(
            (
                layer,
                effect.value,
                effect.low,
                effect.high,
                edit.value,
                edit.low,
                edit.high,
                effect.n,
            )
        )
    share = "proportion"
    columns = (
        Column("layer", "Layer"),
        Column("restored", "Brought back by its feed-forward", share),
        Column("restored_low", "Low", share), Column("restored_high", "High", share),
        Column("edit", "Mean of the edit's measures by token", share),
        Column("edit_low", "Low", share), Column("edit_high", "High", share),
        Column("facts", "Facts"),
    )  # fmt: skip
    table = Table("What carries the fact, and where the edit works", columns, tuple(rows))
    effects = np.array([[r["shares"][layer] for layer in by_layer] for r in records])
    edits = np.array([[_success(fact) for fact in facts] for facts in by_layer.values()]).T
    value, low, high = _correlation(effects, edits, generator)
    layers = list(by_layer)
    return table, {
        "traced_facts": len(records),
        "traced_peak_layer": max(rows, key=lambda row: (row[1], -row[0]))[0],
        "traced_peak_is_best_edit": float(np.mean(effects.argmax(1) == edits.argmax(1))),
        "traced_peak_is_best_edit_by_chance": 1 / len(layers),
        "traced_correlation": value,
        "traced_correlation_low": low,
        "traced_correlation_high": high,
    }


def _success(fact: Measures) -> float:
    known = [v for m in MEASURES if (v := fact[f"{m}_{BASES[0]}"]) is not None]
    return sum(known) / len(known)


def _correlation(
    effects: Floats, edits: Floats, generator: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    """Of two (facts, layers), within facts, with the bounds of its interval."""
    one, other = (cells - cells.mean(1, keepdims=True) for cells in (effects, edits))
    products = np.stack([(one * other).sum(1), (one * one).sum(1), (other * other).sum(1)])
    drawn = generator.integers(0, len(one), size=(RESAMPLES, len(one)))
    with np.errstate(invalid="ignore", divide="ignore"):
        above, first, second = products.sum(1)
        value = above / np.sqrt(first * second)
        above, first, second = products[:, drawn].sum(2)
        many = above / np.sqrt(first * second)
    many = many[np.isfinite(many)]
    if not np.isfinite(value) or not many.size:
        return None, None, None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(many, [tail, 1 - tail])
    return float(value), float(low), float(high)
