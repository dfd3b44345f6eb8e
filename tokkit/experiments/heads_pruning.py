"""Tables of what taking heads out costs, and of how alike heads are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ArtifactError
from tokkit.experiments.heads_arms import FREE
from tokkit.experiments.heads_redundancy import MEAN, ZERO
from tokkit.files import read_json
from tokkit.results import Column, Table
from tokkit.stats import Interval, hierarchical_bootstrap

if TYPE_CHECKING:
    from tokkit.experiments.heads import HeadsConfig

Floats = NDArray[np.float64]
Row = tuple[Any, ...]
Record = Mapping[str, Any]

_SEED = 1
_BPB = "bits per byte"
_BOUNDS = (Column("low", "95% low", _BPB), Column("high", "95% high", _BPB))
GREEDY, RANDOM = "greedy", "random"
SAME, OTHER = "same layer", "other layer"


def pruning_tables(place: Path, config: HeadsConfig) -> dict[str, Table]:
    """Tables "alone", "pruning", "agreement" and "agreement_means"."""
    from tokkit.experiments.heads import learned_seeds

    records = {seed: _read(place, seed) for seed in learned_seeds(place, config, FREE)}
    generator = np.random.default_rng(_SEED)
    return {
        "alone": _alone_table(records, generator),
        "pruning": _pruning_table(records, generator),
        "agreement": _agreement_table(records, config.heads),
        "agreement_means": _means_table(records, config.heads, generator),
    }


def spared(pruning: Table, least: float) -> dict[str, int]:
    """How many heads an order takes out before the upper bound of the rise passes `least`."""
    found = {}
    for order in (GREEDY, RANDOM):
        rows = [row for row in pruning.records() if row["order"] == order]
        free = [row["removed"] for row in rows if row["high"] <= least]
        found[order] = max((n for n in free if set(range(n)) <= set(free)), default=0)
    return found


def _read(place: Path, seed: int) -> Record:
    from tokkit.experiments.heads import redundancy_path

    path = redundancy_path(place, seed)
    record = read_json(path, what="measurements")
    if not isinstance(record, dict) or "greedy" not in record:
        raise ArtifactError(f"{path} is no record of pruning: delete it, and run again")
    return record


def _bits(record: Record, nats: Any) -> Floats:
    """Nats (..., windows) as bits over the windows' mean bytes."""
    size = np.array(record["bytes"], dtype=np.float64).mean()
    return np.asarray(np.array(nats, dtype=np.float64) / math.log(2) / size)


def _three(found: Interval) -> tuple[float, float, float]:
    return tuple(float(f"{v:.5g}") for v in (found.estimate, found.low, found.high))  # type: ignore[return-value]


def _alone_table(records: Mapping[int, Record], generator: np.random.Generator) -> Table:
    rows: list[Row] = []
    for seed, record in records.items():
        whole = _bits(record, record["nats"])
        for kind in (ZERO, MEAN):
            for head, nats in record["alone"][kind].items():
                rise = hierarchical_bootstrap((_bits(record, nats) - whole)[None], generator)
                rows.append((seed, *map(int, head.split(".")), kind, *_three(rise)))
    columns = (
        Column("seed", "Seed"), Column("layer", "Layer"), Column("head", "Head"),
        Column("replaced_by", "Replaced by"), Column("rise", "Rise", _BPB), *_BOUNDS,
    )  # fmt: skip
    return Table("Each head taken out alone; intervals over windows", columns, tuple(rows))


def _pruning_table(records: Mapping[int, Record], generator: np.random.Generator) -> Table:
    rows: list[Row] = []
    if records:
        curves = {
            order: np.array([
                _bits(r, r[order]) - _bits(r, r["nats"]) for r in records.values()
            ])  # seeds, heads + 1, windows
            for order in (GREEDY, RANDOM)
        }  # fmt: skip
        curves["random minus greedy"] = curves[RANDOM] - curves[GREEDY]
        for order, found in curves.items():
            for removed in range(found.shape[1]):
                rise = hierarchical_bootstrap(found[:, removed], generator)
                rows.append((order, removed, found.shape[1] - 1, *_three(rise), len(records)))
    columns = (
        Column("order", "Order"), Column("removed", "Heads taken out"), Column("heads", "Of"),
        Column("rise", "Rise", _BPB), *_BOUNDS, Column("seeds", "Seeds"),
    )  # fmt: skip
    title = (
        "Heads replaced by their means one after another; chosen on one half of the windows, "
        "measured on the other"
    )
    return Table(title, columns, tuple(rows))


def _agreement_table(records: Mapping[int, Record], heads: int) -> Table:
    rows = [
        (seed, a // heads, a % heads, b // heads, b % heads,
         *(round(record[name][a][b], 4) for name in ("cka", "cka_null", "cka_untrained")))
        for seed, record in records.items()
        for a, b in _pairs(len(record["cka"]))
    ]  # fmt: skip
    columns = (
        Column("seed", "Seed"), Column("first_layer", "Layer"), Column("first_head", "Head"),
        Column("second_layer", "Other layer"), Column("second_head", "Other head"),
        Column("cka", "CKA"), Column("null_high", "97.5% of shuffled tokens"),
        Column("untrained", "Before training"),
    )  # fmt: skip
    title = "How alike two heads' outputs are: debiased linear CKA of a model's own heads"
    return Table(title, columns, tuple(rows))


def _pairs(count: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(count) for b in range(a + 1, count)]


def _means_table(
    records: Mapping[int, Record], heads: int, generator: np.random.Generator
) -> Table:
    rows: list[Row] = []
    for where in (SAME, OTHER):
        by_seed = [_agreeing(record, heads, where) for record in records.values()]
        if not by_seed or not len(by_seed[0]):
            continue
        means = np.array([pairs.mean(0) for pairs in by_seed])  # seeds, 4
        bounds: tuple[float | None, ...] = (None, None)
        if len(means) > 1:
            found = hierarchical_bootstrap(means[:, :1], generator)
            bounds = _three(found)[1:]
        cka, null, untrained, above = (float(f"{v:.4g}") for v in means.mean(0))
        rows.append((where, len(by_seed[0]), cka, *bounds, null, untrained, above, len(means)))
    columns = (
        Column("where", "Pairs of"), Column("pairs", "Pairs a model"), Column("cka", "Mean CKA"),
        Column("low", "95% low"), Column("high", "95% high"),
        Column("null_high", "97.5% of shuffled tokens"), Column("untrained", "Before training"),
        Column("above_null", "Pairs above the null", "proportion"), Column("seeds", "Seeds"),
    )  # fmt: skip
    return Table("Agreement between heads, over pairs; intervals over seeds", columns, tuple(rows))


def _agreeing(record: Record, heads: int, where: str) -> Floats:
    """CKA, its null, the untrained one, and 1 above the null, of each pair: (pairs, 4)."""
    matrices = [np.array(record[name]) for name in ("cka", "cka_null", "cka_untrained")]
    chosen: Sequence[tuple[int, int]] = [
        (a, b) for a, b in _pairs(len(matrices[0])) if (a // heads == b // heads) == (where == SAME)
    ]
    return np.array([
        (*(matrix[a, b] for matrix in matrices), float(matrices[0][a, b] > matrices[1][a, b]))
        for a, b in chosen
    ])  # fmt: skip
