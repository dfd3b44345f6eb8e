"""From what the models of the heads experiment were measured at to its numbers.

Seeds and held-out windows are crossed: every arm of a seed saw the same batches and is asked the
same windows, so that differences are paired by both. A training that diverged counts as such, and
its seed is left out of what it would be paired in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.experiments.heads_arms import (
    FREE,
    MASKED,
    SCATTERED,
    SLICES,
    SLICES_WIDE,
    WIDE_SINGLE,
    build,
    designs,
    grouped_name,
    kept_heads,
    removed_weights,
)
from tokkit.experiments.heads_pruning import pruning_tables, spared
from tokkit.experiments.heads_tables import Subject, weight_tables
from tokkit.experiments.heads_verdict import LLAMA, NO_COST, Found, heads_claims
from tokkit.experiments.position_text import load_text
from tokkit.experiments.text_arms import read_measured, unigram_bits, window_bits
from tokkit.model import anatomy
from tokkit.model.config import ModelConfig
from tokkit.results import Column, Table
from tokkit.stats import Interval, factorial_permutation, hierarchical_bootstrap, holm

if TYPE_CHECKING:
    from tokkit.experiments.heads import HeadsConfig
    from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
Row = tuple[Any, ...]

_SEED = 0
_LLAMA_TOKENS = 16
_BPB = "bits per byte"
_BOUNDS = (Column("low", "95% low", _BPB), Column("high", "95% high", _BPB))
COSTS = (
    (SLICES, FREE, "slicing, with its fewer weights"),
    (SCATTERED, FREE, "fewer weights alone"),
    (SLICES, SCATTERED, "slicing alone, as few weights"),
    (SLICES_WIDE, FREE, "slicing, as many weights in all"),
)
"""What is subtracted from what, and what the difference is the cost of."""


READ = (FREE, SLICES, SCATTERED)
"""The arms whose weights are read: the wider slices' are as the slices'."""


class Measured:
    """The records of all models, and bits per byte as arrays with the seeds in front."""

    def __init__(self, place: Path, config: HeadsConfig) -> None:
        self.config, self.designs = config, designs(config.base)
        self.records = {
            arm: [read_measured(place, arm, seed) for seed in range(config.seeds)]
            for arm in self.designs
        }
        self._generator = np.random.default_rng(_SEED)

    def bits(self, arm: str) -> Floats:
        """(seeds, windows); a row of NaN for a seed that diverged."""
        records = self.records[arm]
        learned = [record for record in records if not record["diverged"]]
        found = np.full((len(records), self.config.windows), np.nan)
        if learned:
            found[[not record["diverged"] for record in records]] = window_bits(learned)
        return found

    def interval(self, values: Floats) -> Interval | None:
        """The mean of (seeds, windows), with its interval; None where no number is left."""
        if np.isnan(values).all():
            return None
        return hierarchical_bootstrap(values, self._generator)

    def cost(self, first: str, second: str) -> tuple[Interval | None, float | None]:
        """What `first` spends more than `second`, and the sign-flip p over seeds."""
        differences = self.bits(first) - self.bits(second)
        by_seed = differences.mean(1)
        by_seed = by_seed[~np.isnan(by_seed)]
        p = factorial_permutation(by_seed).p if len(by_seed) > 1 else None
        return self.interval(differences), p


def find(place: Path, config: HeadsConfig, models: Mapping[str, Transformer]) -> dict[str, Any]:
    """Everything a Result needs besides its settings and provenance."""
    measured = Measured(place, config)
    _, unigram = unigram_bits(load_text(place))
    tables = {
        **weight_tables(_subjects(place, measured, models)),
        "arms": _arms_table(measured),
        "costs": _costs_table(measured),
        "cache": _cache_table(measured),
        "llama": _llama_table(),
        **pruning_tables(place, config),
    }
    everyone = [record for records in measured.records.values() for record in records]
    found = Found(
        tables=tables,
        unigram=unigram,
        seeds=config.seeds,
        heads=config.heads,
        masks_kept=_masks_kept(measured),
        learned=1 - float(np.mean([record["diverged"] for record in everyone])),
    )
    values = {
        "arms": {name: design.what for name, design in measured.designs.items()},
        "unigram_bits_per_byte": unigram,
        "masks_kept_share": found.masks_kept,
        "heads_spared_at_bits_per_byte": {str(NO_COST): spared(tables["pruning"], NO_COST)},
        "training_seconds": {
            arm: round(float(np.mean([record["training_seconds"] for record in records])), 1)
            for arm, records in measured.records.items()
        },
        "text": {k: v for k, v in load_text(place).record.items() if k != "token_bytes"},
    }
    return {"values": values, "tables": tables, "claims": heads_claims(found)}


def _subjects(
    place: Path, measured: Measured, models: Mapping[str, Transformer]
) -> Iterator[Subject]:
    """Models whose weights are read: the arms of READ, seed by seed, then those given."""
    from tokkit.experiments.heads import arms_of, learned_seeds, trained_model

    for arm in arms_of(measured.config):
        if arm.name in READ:
            for seed in learned_seeds(place, measured.config, arm.name):
                model = trained_model(place, arm.name, seed)
                yield Subject(arm.name, seed, model, build(arm, seed))
    for name, model in models.items():
        yield Subject(name, None, model)


def _masks_kept(measured: Measured) -> float:
    """The share of masked models in which exactly the weights outside of the mask are 0."""
    kept = [
        record["zero_weights"] == removed_weights(measured.designs[arm].config)
        for arm in MASKED
        for record in measured.records[arm]
        if not record["diverged"]
    ]
    return float(np.mean(kept)) if kept else 0.0


# Tables -----------------------------------------------------------------------------------------


def _three(found: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found is None else (found.estimate, found.low, found.high)


def _first_learned(measured: Measured, arm: str) -> Mapping[str, Any]:
    return next((r for r in measured.records[arm] if not r["diverged"]), {})


def _arms_table(measured: Measured) -> Table:
    rows: list[Row] = []
    for arm, design in measured.designs.items():
        config, records = design.config, measured.records[arm]
        removed = removed_weights(config) if arm in MASKED else 0
        size = anatomy.total(config) - removed
        diverged = sum(record["diverged"] for record in records)
        found = measured.interval(measured.bits(arm))
        rows.append((arm, design.what, config.key_value_heads, config.hidden_width, size,
                     *_three(found), len(records) - diverged, diverged))  # fmt: skip
    columns = (
        Column("arm", "Arm"), Column("what", "What it is"),
        Column("key_value_heads", "Key-value heads"),
        Column("hidden_width", "Feed-forward width"),
        Column("weights", "Weights that are trained"),
        Column("bits_per_byte", "Bits per byte", _BPB), *_BOUNDS,
        Column("seeds", "Seeds"), Column("diverged", "Seeds that diverged"),
    )  # fmt: skip
    return Table("The models, trained alike, on held-out text", columns, tuple(rows))


def _costs_table(measured: Measured) -> Table:
    found = [measured.cost(first, second) for first, second, _ in COSTS]
    corrected = holm([p for _, p in found])
    rows = [
        (*pair, *_three(cost), p, p_holm, 0 if cost is None else cost.n_seeds)
        for pair, (cost, p), p_holm in zip(COSTS, found, corrected, strict=True)
    ]
    columns = (
        Column("first", "Arm"), Column("second", "Minus arm"), Column("cost_of", "The cost of"),
        Column("difference", "Difference", _BPB), *_BOUNDS, Column("p", "Sign-flip p over seeds"),
        Column("p_holm", "Holm"), Column("seeds", "Seeds"),
    )  # fmt: skip
    return Table("What slicing costs", columns, tuple(rows))


def _cache_table(measured: Measured) -> Table:
    heads = measured.config.heads
    named = [(FREE if kept == heads else grouped_name(kept)) for kept in kept_heads(heads)]
    arms = [*named, WIDE_SINGLE]
    costs = {arm: measured.cost(arm, FREE) for arm in arms[1:]}
    corrected = dict(zip(costs, holm([p for _, p in costs.values()]), strict=True))
    whole = _first_learned(measured, FREE).get("cache_bytes")
    rows: list[Row] = []
    for arm in arms:
        config, record = measured.designs[arm].config, _first_learned(measured, arm)
        tokens, held = record.get("cache_tokens"), record.get("cache_bytes")
        formula = None if tokens is None else anatomy.cache_bytes(config, tokens, "float32")
        cost, p = costs.get(arm, (None, None))
        rows.append((
            arm, config.key_value_heads, anatomy.total(config), tokens, held, formula,
            held is not None and held == formula,
            None if whole is None or held is None else whole / held,
            *_three(measured.interval(measured.bits(arm))), *_three(cost), p, corrected.get(arm),
        ))  # fmt: skip
    columns = (
        Column("arm", "Arm"), Column("key_value_heads", "Key-value heads"),
        Column("parameters", "Parameters"), Column("tokens", "Tokens read", "tokens"),
        Column("cache_bytes", "Keys and values held", "bytes"),
        Column("formula_bytes", "By formula", "bytes"), Column("agree", "They agree"),
        Column("times_less", "Times less", "times"), Column("bits_per_byte", "Bits per byte", _BPB),
        *_BOUNDS, Column("cost", "More than with all heads", _BPB),
        Column("cost_low", "Its 95% low", _BPB), Column("cost_high", "Its 95% high", _BPB),
        Column("p", "Sign-flip p over seeds"), Column("p_holm", "Holm"),
    )  # fmt: skip
    title = "Key-value heads from all to one: the running cache in float32, and held-out text"
    return Table(title, columns, tuple(rows))


def _llama_table() -> Table:
    """The cache of Llama 2 70B by its shapes, and a real one of these shapes, without weights."""
    from dataclasses import replace

    from tokkit.model.presets import preset

    config = preset(LLAMA).config
    rows: list[Row] = []
    for of in (replace(config, key_value_heads=config.query_heads), config):
        a_token = anatomy.cache_bytes_a_token(of, "bfloat16")
        rows.append((of.query_heads, of.key_value_heads, a_token, _allocated_a_token(of),
                     anatomy.cache_bytes(of, of.context, "bfloat16") / 2**30))  # fmt: skip
    columns = (
        Column("query_heads", "Query heads"), Column("key_value_heads", "Key-value heads"),
        Column("bytes_a_token", "Cache a token, by shapes", "bytes"),
        Column("allocated_bytes_a_token", "A real cache of these shapes", "bytes"),
        Column("full_gib", "A full context", "GiB"),
    )  # fmt: skip
    return Table(f"The cache of {LLAMA} in bfloat16, by its shapes", columns, tuple(rows))


def _allocated_a_token(config: ModelConfig) -> int:
    import torch

    from tokkit.model.cache import Cache

    return Cache(config, 1, _LLAMA_TOKENS, dtype=torch.bfloat16).bytes // _LLAMA_TOKENS
