"""From what the models of the ladder were measured at to its numbers.

Seeds and windows are crossed: every seed of every rung is asked the same windows and has seen the
same batches as that seed of the others, so that differences are paired by both. A seed that
diverged has no number; its count is told, and pairs leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.experiments.ladder import (
    LEAST_SAVED,
    NULL,
    REPORTED,
    VALIDATION,
    chosen_rates,
    final_arm,
    highest_that_trains,
    largest_that_trains,
    null_arm,
    trains_by_rate,
    tuning_arm,
    unigram,
    validation_bits,
)
from tokkit.experiments.ladder_costs import read_costs
from tokkit.experiments.ladder_rungs import BASE, DENSE, MIXTURE, STEPS, Rung
from tokkit.experiments.ladder_verdict import Found, ladder_claims
from tokkit.experiments.position_text import load_text
from tokkit.experiments.text_arms import Arm, read_measured, window_bits
from tokkit.results import Column, Table
from tokkit.stats import Interval, factorial_permutation, hierarchical_bootstrap, holm

if TYPE_CHECKING:
    from tokkit.experiments.ladder import LadderConfig

Floats = NDArray[np.float64]
Row = tuple[Any, ...]

_SEED, _SIGNS_SEED = 0, 4
_BPB = "bits per byte"


class Measured:
    """Bits per byte of all final models on the reported windows, as arrays with seeds in front."""

    def __init__(self, place: Path, config: LadderConfig) -> None:
        self.place, self.config = place, config
        self.rungs = {rung.name: rung for rung in config.rungs()}
        self.text = load_text(place)
        self.baseline = unigram(self.text, REPORTED)
        self.chosen = chosen_rates(place, config)
        arms = [final_arm(r, self.chosen[r.name].rate, config) for r in self.rungs.values()]
        arms.append(null_arm(self.rungs[BASE], self.chosen[BASE].rate, config))
        self.bits = {arm.name: self._read(arm) for arm in arms}
        self._generator = np.random.default_rng(_SEED)

    def _read(self, arm: Arm) -> Floats:
        """(seeds, reported windows); a seed that diverged is NaN throughout."""
        records = [read_measured(self.place, arm.name, seed) for seed in arm.seeds]
        windows = len(self.text.windows[REPORTED])
        found = np.full((len(records), windows), np.nan)
        size = self.text.token_bytes[self.text.windows[REPORTED][:, 1:]].sum(1).tolist()
        for row, record in enumerate(records):
            if not record["diverged"]:
                only = {"nats": record["nats"][REPORTED], "bytes": size}
                found[row] = window_bits([only])[0]
        return found

    def trains(self, rung: Rung) -> dict[float, bool]:
        """Whether a rung trains, at each rate it was trained at."""
        return trains_by_rate(self.place, rung, self.config, highest_that_trains(self.text))

    def interval(self, values: Floats) -> Interval | None:
        """The mean of (seeds, items), with its interval; None where no seed has a number."""
        if not np.isfinite(values).any():
            return None
        return hierarchical_bootstrap(values, self._generator)


def find(place: Path, config: LadderConfig) -> dict[str, Any]:
    """Everything a Result needs besides its settings and provenance."""
    measured = Measured(place, config)
    costs = read_costs(place)
    tables = {
        "rungs": _rungs_table(measured),
        "chain_steps": _steps_table(measured, chain=True),
        "alone_steps": _steps_table(measured, chain=False),
        "ends": _ends_table(measured),
        "rates": _rates_table(measured),
        "stability": _stability_table(measured),
        "costs": _costs_table(measured, costs),
    }
    found = Found(
        rungs=tables["rungs"],
        chain=tables["chain_steps"],
        alone=tables["alone_steps"],
        ends=tables["ends"],
        seeds=config.seeds,
    )
    return {
        "values": _values(measured),
        "tables": tables,
        "claims": ladder_claims(found),
    }


def _values(measured: Measured) -> dict[str, Any]:
    config = measured.config
    hidden = ("token_bytes",)
    return {
        "steps_of_the_stack": {step.name: f"{step.label} ({step.source})" for step in STEPS},
        "trained_tokens": config.steps * config.rows * config.length,
        "context_tokens": config.length,
        "unigram_bits_per_byte": measured.baseline,
        "trains_below_bits_per_byte": highest_that_trains(measured.text),
        "tuning_seeds": config.tuning_seeds,
        "reported_windows": len(measured.text.windows[REPORTED]),
        "validation_windows": len(measured.text.windows[VALIDATION]),
        "text": {k: v for k, v in measured.text.record.items() if k not in hidden},
    }


# Tables -----------------------------------------------------------------------------------------

_RUNG, _LABEL = Column("rung", "Rung"), Column("label", "Model")
_RATE = Column("rate", "Learning rate")


def _bounds(unit: str) -> tuple[Column, Column]:
    return Column("low", "95% low", unit), Column("high", "95% high", unit)


def _three(found: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found is None else (found.estimate, found.low, found.high)


def _parameters(rung: Rung) -> tuple[int, int, int]:
    from tokkit.experiments.ladder_rungs import active_parameters, total_parameters

    hidden = rung.config.expert_width if rung.config.experts else rung.config.hidden_width
    return total_parameters(rung.config), active_parameters(rung.config), hidden


def _rungs_table(measured: Measured) -> Table:
    base = _parameters(measured.rungs[BASE])[1]
    baseline = measured.baseline
    rows: list[Row] = []
    for name, rung in measured.rungs.items():
        bits, chosen = measured.bits[name], measured.chosen[name]
        found = measured.interval(bits)
        gap = _three(measured.interval(bits - measured.bits[BASE]))
        total, active, hidden = _parameters(rung)
        rows.append((
            name, rung.label, rung.step, rung.minus, rung.chain or not rung.step, rung.alone,
            *_three(found), *gap, None if found is None else 1 - found.estimate / baseline,
            int((bits.mean(axis=1) < (1 - LEAST_SAVED) * baseline).sum()), bits.shape[0],
            bits.shape[1],
            chosen.rate, chosen.at_edge, total, active, active / base, hidden,
        ))  # fmt: skip
    columns = (
        _RUNG, _LABEL, Column("step", "Step"), Column("minus", "Compared with"),
        Column("chain", "On the chain"), Column("alone", "Step alone"),
        Column("bits_per_byte", "Bits per byte", _BPB), *_bounds(_BPB),
        Column("minus_2017", "Minus 2017", _BPB),
        Column("minus_2017_low", "Its 95% low", _BPB),
        Column("minus_2017_high", "Its 95% high", _BPB),
        Column("saved", "Below the unigram", "proportion"),
        Column("trained", "Seeds that trained", "seeds"), Column("seeds", "Seeds", "seeds"),
        Column("n", "Windows", "windows"), _RATE, Column("at_edge", "Rate at an end of the grid"),
        Column("parameters", "Parameters", "parameters"),
        Column("active_parameters", "Active parameters", "parameters"),
        Column("active_of_2017", "Active, of those of 2017", "proportion"),
        Column("hidden_width", "Hidden width", "numbers"),
    )  # fmt: skip
    return Table(
        "Every model at its own best learning rate, on held-out text", columns, tuple(rows)
    )


def _steps_table(measured: Measured, *, chain: bool) -> Table:
    """Each step minus what it is compared with; Holm over the steps of this table."""
    rungs = [r for r in measured.rungs.values() if r.step and (r.chain if chain else r.alone)]
    named = [
        ((rung.step, rung.name, rung.minus), measured.bits[rung.name] - measured.bits[rung.minus])
        for rung in rungs
    ]
    rows = [(*row, _brings(row)) for row in _compared(measured, named)]
    columns = (
        Column("step", "Step"), _RUNG, Column("minus", "Minus"), *_comparison(),
        Column("outcome", "Outcome"),
    )  # fmt: skip
    title = "Steps taken one after another" if chain else "Each step taken alone"
    return Table(f"{title}: bits per byte against the model without it", columns, tuple(rows))


def _brings(row: Row) -> str:
    """What a step does: helps, costs, or neither shown (`ladder_verdict.outcome`)."""
    from tokkit.experiments.ladder_verdict import outcome

    low, high, p_holm = row[4], row[5], row[-1]
    return outcome(low, high, p_holm)


def _ends_table(measured: Measured) -> Table:
    pairs = ((DENSE, BASE), (MIXTURE, BASE), (NULL, BASE))
    named = [((one, other), measured.bits[one] - measured.bits[other]) for one, other in pairs]
    # The rule asks about each apart: the first is the claim, the last a control.
    rows = [row for pair in named for row in _compared(measured, [pair])]
    columns = (Column("model", "Model"), Column("minus", "Minus"), *_comparison())
    return Table(
        "Today's stack against that of 2017, and 2017 against itself", columns, tuple(rows)
    )


def _compared(measured: Measured, named: Sequence[tuple[tuple[str, ...], Floats]]) -> list[Row]:
    """Names, then: difference, bounds, windows, seeds, test, p, and p by Holm over these rows."""
    tests = [_test(values) for _, values in named]
    corrected = holm([None if test is None else test[1] for test in tests])
    rows: list[Row] = []
    for (names, values), test, p_holm in zip(named, tests, corrected, strict=True):
        found = measured.interval(values)
        method, p = test or (None, None)
        pairs = int(np.isfinite(values).all(axis=1).sum())
        rows.append((*names, *_three(found), values.shape[1], pairs, method, p, p_holm))
    return rows


def _test(values: Floats) -> tuple[str, float] | None:
    """The sign-flip test over the seeds that have a number; None of fewer than two."""
    by_seed = values.mean(axis=1)
    by_seed = by_seed[np.isfinite(by_seed)]
    if len(by_seed) < 2:
        return None
    test = factorial_permutation(by_seed, np.random.default_rng(_SIGNS_SEED))
    return f"sign-flip permutation over {test.n} seeds", test.p


def _comparison() -> tuple[Column, ...]:
    return (
        Column("difference", "Difference", _BPB), *_bounds(_BPB), Column("n", "Windows", "windows"),
        Column("pairs", "Pairs of seeds", "seeds"), Column("test", "Test"), Column("p", "p"),
        Column("p_holm", "p, Holm"),
    )  # fmt: skip


def _rates_table(measured: Measured) -> Table:
    """Loss against learning rate, of the tuning and of the climb."""
    config = measured.config
    rows: list[Row] = []
    for rung in measured.rungs.values():
        for rate, fine in measured.trains(rung).items():
            bits = validation_bits(measured.place, tuning_arm(rung, rate, config))
            chosen = rate == measured.chosen[rung.name].rate
            rows.append((rung.name, rate, bits, bits is None, fine, rate in config.rates, chosen))
    columns = (
        _RUNG, _RATE, Column("bits_per_byte", "Bits per byte", _BPB),
        Column("diverged", "Diverged"), Column("trains", "Trains"),
        Column("tuned_over", "Among those chosen from"), Column("chosen", "Chosen"),
    )  # fmt: skip
    title = "Loss against learning rate, on the windows that choose"
    return Table(title, columns, tuple(rows))


def _stability_table(measured: Measured) -> Table:
    rows: list[Row] = []
    for rung in measured.rungs.values():
        tried = measured.trains(rung)
        fails = [rate for rate, fine in tried.items() if not fine]
        largest, chosen = largest_that_trains(tried), measured.chosen[rung.name].rate
        rows.append((rung.name, rung.label, largest, min(fails, default=None), chosen,
                     None if largest is None else largest / chosen))  # fmt: skip
    columns = (
        _RUNG, _LABEL, Column("largest", "Largest rate that trains"),
        Column("fails", "Smallest that does not"), Column("chosen", "Best rate"),
        Column("room", "Largest over best"),
    )  # fmt: skip
    title = "Stability: the largest learning rate that trains"
    return Table(title, columns, tuple(rows))


def _costs_table(measured: Measured, costs: dict[str, dict[str, Any]]) -> Table:
    base = np.array(costs[BASE]["seconds"])
    rows: list[Row] = []
    for name, rung in measured.rungs.items():
        cost = costs[name]
        seconds = np.array(cost["seconds"])
        speed = measured.interval((base / seconds)[None])
        rows.append((
            name, rung.label, float(1 / np.median(seconds)), *_three(speed), len(seconds),
            cost["parameter_bytes"], cost["optimizer_bytes"], cost["activation_bytes"],
            cost["cache_bytes_per_token"],
        ))  # fmt: skip
    columns = (
        _RUNG, _LABEL, Column("steps_per_second", "Steps a second", "steps a second"),
        Column("speed", "Speed, as against 2017", "times"), *_bounds("times"),
        Column("rounds", "Rounds", "rounds"),
        Column("parameter_bytes", "Parameters", "bytes"),
        Column("optimizer_bytes", "Optimizer", "bytes"),
        Column("activation_bytes", "Kept for the backward pass", "bytes"),
        Column("cache_bytes_per_token", "Cache a token", "bytes"),
    )  # fmt: skip
    return Table("What a training step and a cached token cost", columns, tuple(rows))
