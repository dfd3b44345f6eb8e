"""The ladder: from the transformer of 2017 to that of today, one step at a time and each alone.

Every rung (`ladder_rungs`) is tuned over the same learning rates, trained from several seeds at
its best one, driven up in rate until it no longer trains, and timed (`ladder_costs`).
`ladder_findings` turns this into numbers and `ladder_verdict` these into a verdict.

Held-out windows alternate: the even ones choose the rates, the odd ones are what is reported.
A run folder is that of `text_arms`, with measured/costs.json and result.json.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tokkit.errors import ConfigError, unknown_choice
from tokkit.experiments.ladder_rungs import BASE, Rung, base_config, rungs
from tokkit.experiments.position_text import FOLDER, RECORD, Text, load_text
from tokkit.experiments.running import Progress
from tokkit.experiments.text_arms import (
    Arm,
    TextSettings,
    prepare_arms_text,
    read_measured,
    run_arms,
    steps_in,
    unigram_bits,
)
from tokkit.files import ensure_folder, read_json
from tokkit.model.config import ModelConfig
from tokkit.results import Result, collect_provenance, write_result
from tokkit.training.run_folder import claim

TUNING_SEED, NULL_SEED = 1000, 2000
"""First seeds of the tuning, and of the base's second set of models: never those reported."""
NULL = "null-2017"
LEAST_SAVED = 0.10  # of the unigram's bits per byte, by a training that trains
VALIDATION, REPORTED = slice(0, None, 2), slice(1, None, 2)
"""Which held-out windows choose the rates, and which are reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderConfig:
    """Everything that a run of the experiment depends on; checked when made (ConfigError)."""

    profile: str = "quick"
    seeds: int = 1
    tuning_seeds: int = 1
    width: int = 64
    layers: int = 4
    heads: int = 4
    text: str = "world and english"
    megabytes: float = 2.0
    vocab_size: int = 512
    length: int = 128  # tokens of a row, and the context of every model
    rows: int = 4  # rows a step
    steps: int = 540
    warmup_steps: int = 54
    windows: int = 128  # held out, of 4 x length tokens
    rates: tuple[float, ...] = (1.6e-3, 4e-3, 1e-2, 2.5e-2, 6.25e-2)
    higher_rates: tuple[float, ...] = (0.15, 0.4, 1.0)
    timing_rounds: int = 24
    timing_steps: int = 4  # of each rung in a round

    def __post_init__(self) -> None:
        least = {"seeds": 1, "tuning_seeds": 1, "windows": 4, "timing_rounds": 2, "timing_steps": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if max(self.seeds, self.tuning_seeds) >= TUNING_SEED:
            raise ConfigError(
                f"seeds and tuning_seeds must be below {TUNING_SEED}, got {self.seeds} and "
                f"{self.tuning_seeds}"
            )
        every = (*self.rates, *self.higher_rates)
        if not self.rates or any(not low < high for low, high in itertools.pairwise(every)):
            raise ConfigError(
                "rates, and higher_rates behind them, must be 1 or more and grow, got "
                f"{self.rates} and {self.higher_rates}"
            )
        self.text_settings()  # checks what stands in both
        self.base()

    def text_settings(self) -> TextSettings:
        """What all trainings share."""
        names = ("text", "megabytes", "vocab_size", "length", "rows", "steps", "warmup_steps")
        return TextSettings(**{n: getattr(self, n) for n in names}, windows=self.windows)

    def base(self) -> ModelConfig:
        """The transformer of 2017 in this size."""
        return base_config(
            vocab_size=self.vocab_size,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            length=self.length,
        )

    def rungs(self) -> tuple[Rung, ...]:
        """Every model of the ladder."""
        return rungs(self.base())


# Eight seeds: with fewer, no exact test over seeds can be significant once six steps are
# corrected for.
PROFILES = {
    "quick": LadderConfig(
        steps=300,
        warmup_steps=50,
        rates=(4e-3, 1e-2, 2.5e-2),
        higher_rates=(6.25e-2, 0.4),
        timing_rounds=8,
    ),
    "full": LadderConfig(profile="full", seeds=8, tuning_seeds=2),
}


def profile(name: str, *, seeds: int | None = None) -> LadderConfig:
    """The settings of a profile, with another number of seeds if given."""
    if name not in PROFILES:
        raise ConfigError(unknown_choice("profile", name, PROFILES))
    chosen = PROFILES[name]
    return chosen if seeds is None else replace(chosen, seeds=seeds)


# Choosing ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rate of the least loss, and whether it stands at an end of the grid."""

    rate: float
    at_edge: bool


def best_rate(losses: Mapping[float, float | None]) -> Chosen:
    """The rate whose loss is least; None is a training that diverged.

    Where all diverged it is the lowest rate, at the edge: nothing else is known.

    >>> best_rate({1e-3: 2.5, 2e-3: 2.1, 4e-3: None})
    Chosen(rate=0.002, at_edge=False)
    """
    rates = sorted(losses)
    trained = [(loss, rate) for rate in rates if (loss := losses[rate]) is not None]
    rate = min(trained)[1] if trained else rates[0]
    return Chosen(rate, at_edge=rate in (rates[0], rates[-1]))


def largest_that_trains(trains: Mapping[float, bool]) -> float | None:
    """The largest rate below the first that fails; None where the lowest fails.

    >>> largest_that_trains({1e-3: True, 2e-3: True, 4e-3: False, 8e-3: True})
    0.002
    """
    found = None
    for rate in sorted(trains):
        if not trains[rate]:
            break
        found = rate
    return found


def tuning_arm(rung: Rung, rate: float, config: LadderConfig) -> Arm:
    """The arm of one rung at one rate: for the choice of a rate, and for stability."""
    seeds = tuple(range(TUNING_SEED, TUNING_SEED + config.tuning_seeds))
    return Arm(f"tune-{rung.name}-{rate:g}", rung.config, rate, seeds)


def final_arm(rung: Rung, rate: float, config: LadderConfig) -> Arm:
    """The arm of one rung that is reported."""
    return Arm(rung.name, rung.config, rate, tuple(range(config.seeds)))


def null_arm(base: Rung, rate: float, config: LadderConfig) -> Arm:
    """The base once more, from other seeds: what is no difference."""
    return Arm(NULL, base.config, rate, tuple(range(NULL_SEED, NULL_SEED + config.seeds)))


def validation_bits(place: Path, arm: Arm) -> float | None:
    """Bits per byte of an arm on the windows that choose, over its seeds; None if any diverged."""
    records = [read_measured(place, arm.name, seed) for seed in arm.seeds]
    if any(record["diverged"] for record in records):
        return None
    found = float(np.mean([bits_of(r["nats"], r["bytes"], VALIDATION) for r in records]))
    return found if math.isfinite(found) else None


def bits_of(nats: Sequence[float], size: Sequence[int], which: slice) -> float:
    """All bits over all bytes of some of the windows."""
    return float(np.sum(nats[which]) / math.log(2) / np.sum(size[which]))


def unigram(text: Text, which: slice) -> float:
    """Bits per byte of the unigram baseline on some of the windows."""
    nats, _ = unigram_bits(text)
    size = text.token_bytes[text.windows[:, 1:]].sum(1)
    return bits_of(nats, size.tolist(), which)


def chosen_rates(place: Path, config: LadderConfig) -> dict[str, Chosen]:
    """The rate of each rung, from the measured tuning."""
    return {
        rung.name: best_rate(
            {r: validation_bits(place, tuning_arm(rung, r, config)) for r in config.rates}
        )
        for rung in config.rungs()
    }


def highest_that_trains(text: Text) -> float:
    """Bits per byte of the windows that choose, below which a training counts as one that trains.

    Not the unigram's own: a model that has collapsed to token frequencies ends within a hundredth
    of it, on either side.
    """
    return (1 - LEAST_SAVED) * unigram(text, VALIDATION)


def trains(place: Path, rung: Rung, rate: float, config: LadderConfig, highest: float) -> bool:
    """Whether a rung trains at a rate: its final loss is finite and below `highest`."""
    bits = validation_bits(place, tuning_arm(rung, rate, config))
    return bits is not None and bits < highest


# Running ----------------------------------------------------------------------------------------


def run_ladder(
    config: LadderConfig,
    folder: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run the experiment in `folder`, or what is left of it, and write result.json.

    `jobs` processes train side by side, each on one thread; None takes all cores.
    `progress(steps_done, steps_total, message)` is called about once a second; a rung that stops
    training earlier than the rates end leaves out the rest of its steps. A folder with another
    run's settings is refused (ConfigError).
    """
    from tokkit.experiments.ladder_costs import measure_costs
    from tokkit.experiments.ladder_findings import find
    from tokkit.training.lock import locked

    place = ensure_folder(folder)
    seconds: dict[str, float] = {}
    with locked(place):
        claim(place, _settings(config))
        prepare_arms_text(place, config.text_settings())
        for name, stage in _stages(place, config, jobs, progress).items():
            started = time.monotonic()
            stage()
            seconds[name] = time.monotonic() - started
        started = time.monotonic()
        measure_costs(place, config)
        seconds["time"] = time.monotonic() - started
        result = _result(place, config, seconds, find(place, config))
        write_result(result, place)
    return result


def _result(
    place: Path, config: LadderConfig, seconds: Mapping[str, float], found: Mapping[str, Any]
) -> Result:
    text = read_json(place / FOLDER / RECORD, what="text record")
    return Result(
        kind="experiment.ladder",
        title="What does each step of the modern stack bring?",
        settings=_settings(config),
        provenance=collect_provenance(
            seeds=range(config.seeds),
            inputs={"text": text["documents_sha256"]},
            wall_seconds=dict(seconds),
        ),
        **found,
    )


def _settings(config: LadderConfig) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    # The rungs too: where the code's have changed, models trained before are others.
    shapes = json.dumps([rung.config.to_dict() for rung in config.rungs()], sort_keys=True)
    digest = hashlib.sha256(shapes.encode()).hexdigest()
    return settings | {"seeds": list(range(config.seeds)), "rungs_sha256": digest}


def _stages(
    place: Path, config: LadderConfig, jobs: int | None, progress: Progress | None
) -> dict[str, Any]:
    """The trainings, in their order, each a call without arguments."""
    every, settings = config.rungs(), config.text_settings()
    base = next(rung for rung in every if rung.name == BASE)
    tuning = [tuning_arm(rung, rate, config) for rung in every for rate in config.rates]

    def reported(rates: Mapping[str, float]) -> list[Arm]:
        arms = [final_arm(rung, rates[rung.name], config) for rung in every]
        return [*arms, null_arm(base, rates[BASE], config)]

    def climbed(rate: float) -> list[Arm]:
        return [tuning_arm(rung, rate, config) for rung in every]

    tuned = steps_in(tuning, settings)
    final = steps_in(reported({rung.name: 1.0 for rung in every}), settings)
    each = steps_in(climbed(1.0), settings)  # the most that a round of the climb can be
    total = tuned + final + each * len(config.higher_rates)

    def train(arms: Sequence[Arm], before: int) -> None:
        def told(done: int, _: int, message: str) -> None:
            if progress is not None:
                progress(before + done, total, message)

        run_arms(place, arms, settings, jobs=jobs, progress=told if progress else None)

    def report() -> None:
        rates = {name: chosen.rate for name, chosen in chosen_rates(place, config).items()}
        train(reported(rates), tuned)

    def climb() -> None:
        _climb(place, config, lambda arms, round_: train(arms, tuned + final + round_ * each))
        if progress is not None:
            progress(total, total, "")

    return {"tune": lambda: train(tuning, 0), "train": report, "climb": climb}


def _climb(place: Path, config: LadderConfig, train: Any) -> None:
    """Train at ever higher rates what still trains, until nothing does or the rates end."""
    highest = highest_that_trains(load_text(place))
    climbing = [
        rung
        for rung in config.rungs()
        if all(trains(place, rung, rate, config, highest) for rate in config.rates)
    ]
    for round_, rate in enumerate(config.higher_rates):
        train([tuning_arm(rung, rate, config) for rung in climbing], round_)
        climbing = [r for r in climbing if trains(place, r, rate, config, highest)]


def trains_by_rate(
    place: Path, rung: Rung, config: LadderConfig, highest: float
) -> dict[float, bool]:
    """Whether a rung trains, at each rate that it was trained at: up to the first that fails."""
    found: dict[float, bool] = {}
    for rate in (*config.rates, *config.higher_rates):
        beyond = rate in config.higher_rates
        if beyond and not all(found.values()):
            break
        found[rate] = trains(place, rung, rate, config, highest)
    return found
