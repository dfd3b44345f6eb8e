"""The positions experiment: the ways of adding order, trained alike and asked beyond their length.

Two small models a scheme and seed: one of text (`position_text`), one of questions about lists
(`position_tasks`), and a model of one layer without positions that cannot tell order. This file
prepares, trains and asks; `position_findings` turns what they answer into numbers, and
`position_verdict` these into verdicts.

A run folder holds settings.json, text/, training/PART-SCHEME-SEEDS/ (metrics, and the state to go
on from), models/text-SCHEME-SEED/ (checkpoints), measured/PART-SCHEME-SEED.json and result.json.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokkit.errors import ConfigError, unknown_choice
from tokkit.experiments.position_schemes import BLIND, LENGTHS, SCHEMES, scheme_config
from tokkit.experiments.position_tasks import EXTRA_TOKENS, INDICES, VOCABULARY
from tokkit.experiments.position_text import FOLDER, RECORD, TEXTS, load_text, prepare_text
from tokkit.experiments.running import Progress, watch
from tokkit.files import ensure_folder, read_json, sha256, write_json
from tokkit.parallel import run_all
from tokkit.results import Result, collect_provenance, write_result
from tokkit.training.run_folder import claim

if TYPE_CHECKING:
    from tokkit.model.config import ModelConfig
    from tokkit.model.transformer import Transformer
    from tokkit.training.objective import Batch

TEXT, ORDER = "text", "order"
PARTS = (TEXT, ORDER)
STACK = 4
"""The most seeds trained as one computation: the gain is had by then, and work divides evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsConfig:
    """Everything that a run of the experiment depends on; checked when made (ConfigError)."""

    profile: str = "quick"
    seeds: int = 1
    width: int = 64
    layers: int = 2
    heads: int = 4
    hidden_width: int = 128
    text: str = "world and english"
    megabytes: float = 2.0
    vocab_size: int = 512
    text_length: int = 128  # tokens trained on
    text_rows: int = 8  # windows a step
    text_steps: int = 1500
    text_rate: float = 4e-3
    windows: int = 64  # held out, of 4 x text_length tokens
    order_length: int = 8  # items of the longest list trained on
    order_least: int = 3  # items of the shortest
    order_rows: int = 80  # questions a step, as many of each task
    order_steps: int = 1800
    order_rate: float = 4e-3
    questions: int = 200  # of each task, at each length
    warmup_steps: int = 100
    curve_points: int = 12
    curve_questions: int = 250

    def __post_init__(self) -> None:
        least = dict.fromkeys(("seeds", "text_steps", "order_steps", "curve_points"), 1)
        least |= {"text_length": 8, "order_least": 2, "questions": 2, "windows": 2}
        least |= {"curve_questions": 5}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if self.order_length < max(INDICES, self.order_least):
            raise ConfigError(
                f"order_length must be at least {INDICES}, as many as places are asked for, and "
                f"order_least, got {self.order_length}"
            )
        for name, of in (("text_length", 8), ("order_length", 2), ("order_rows", 5)):
            if getattr(self, name) % of:
                raise ConfigError(f"{name} must be a multiple of {of}, got {getattr(self, name)}")
        if self.text not in TEXTS:
            raise ConfigError(unknown_choice("text", self.text, TEXTS))

    def shape(self, vocab_size: int) -> dict[str, Any]:
        """What all models of a part have in common.

        Rows are multiplied by the root of the width, as where sinusoidal tables are from (Vaswani
        et al. 2017, section 3.4): without it the table's sines are several times what they are
        added to.
        """
        return {
            "vocab_size": vocab_size,
            "width": self.width,
            "layers": self.layers,
            "query_heads": self.heads,
            "hidden_width": self.hidden_width,
            "tied": True,
            "embedding_scale": math.sqrt(self.width),
        }

    @property
    def order_tokens(self) -> int:
        """The longest row of the order part that is trained on, in tokens."""
        return self.order_length + EXTRA_TOKENS


# Eight seeds: with fewer, no exact test over seeds can be significant once four are corrected.
PROFILES = {
    "quick": PositionsConfig(text_steps=1200),
    "full": PositionsConfig(profile="full", seeds=8),
}


def profile(name: str, *, seeds: int | None = None) -> PositionsConfig:
    """The settings of a profile, with another number of seeds if given."""
    if name not in PROFILES:
        raise ConfigError(unknown_choice("profile", name, PROFILES))
    chosen = PROFILES[name]
    return chosen if seeds is None else replace(chosen, seeds=seeds)


@dataclass(frozen=True, slots=True)
class Job:
    """Seeds of one scheme's models of one part, trained as one computation."""

    part: str
    scheme: str
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """What its training folder is called."""
        first, last = self.seeds[0], self.seeds[-1]
        return f"{model_name(self.part, self.scheme, first)}{f'-to-{last}' if last > first else ''}"


def model_name(part: str, scheme: str, seed: int) -> str:
    """What the files of one model are called."""
    return f"{part}-{scheme.replace(', ', '-').replace(' ', '-')}-{seed}"


def run_positions(
    config: PositionsConfig,
    folder: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run the experiment in `folder`, or what is left of it, and write result.json.

    `jobs` processes train side by side, each on one thread; None takes all cores.
    `progress(steps_done, steps_total, message)` is called about once a second. A folder with
    another run's settings is refused (ConfigError).
    """
    from tokkit.experiments.position_findings import find
    from tokkit.training.lock import locked

    started = time.monotonic()
    # Read by the libraries when a worker starts: one thread each, and large pages, without which
    # a good part of a training step goes into page faults.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    place = ensure_folder(folder)
    with locked(place):
        claim(place, _settings(config))
        _prepare(place, config)
        prepared = time.monotonic()
        work = jobs_of(config)
        steps = {place / "training" / job.name: _steps(config, job.part) for job in work}
        with watch(steps, progress):
            for _ in run_all(run_job, [(place, config, job) for job in work], workers=jobs):
                pass
        trained = time.monotonic()
        found = find(place, config)
        seconds = {
            "prepare": prepared - started,
            "train_and_ask": trained - prepared,
            "analyse": time.monotonic() - trained,
        }
        text = read_json(place / FOLDER / RECORD, what="text record")
        inputs = {"text": text["documents_sha256"]}
        result = Result(
            kind="experiment.positions",
            title="How does a transformer know order?",
            settings=_settings(config),
            provenance=collect_provenance(
                seeds=range(config.seeds), inputs=inputs, wall_seconds=seconds
            ),
            **found,
        )
        write_result(result, place)
    return result


def _settings(config: PositionsConfig) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return settings | {"seeds": list(range(config.seeds))}


def _prepare(place: Path, config: PositionsConfig) -> None:
    prepare_text(
        place,
        source=config.text,
        megabytes=config.megabytes,
        vocab_size=config.vocab_size,
        trained=config.text_length,
        windows=config.windows,
    )


def _steps(config: PositionsConfig, part: str) -> int:
    return config.text_steps if part == TEXT else config.order_steps


def jobs_of(config: PositionsConfig) -> list[Job]:
    """All that is to be trained, the dearest first."""
    from tokkit.training.stacked import worth_stacking

    found = []
    for part in PARTS:
        shape, trained = _part_shape(config, part)
        rows = config.text_rows if part == TEXT else config.order_rows
        places = None if part == TEXT else config.order_rows
        for scheme in (*SCHEMES, *((BLIND,) if part == ORDER else ())):
            of = scheme_config(scheme, shape, trained=trained, longest=_longest(config, part))
            stacked = worth_stacking(of, rows, trained, models=config.seeds, places=places)
            each = STACK if stacked else 1
            found += [
                Job(part, scheme, tuple(range(first, min(first + each, config.seeds))))
                for first in range(0, config.seeds, each)
            ]
    return found


def _part_shape(config: PositionsConfig, part: str) -> tuple[dict[str, Any], int]:
    if part == TEXT:
        return config.shape(config.vocab_size), config.text_length
    return config.shape(VOCABULARY), config.order_tokens


def _longest(config: PositionsConfig, part: str) -> int:
    of = config.text_length if part == TEXT else config.order_length
    return int(LENGTHS[-1] * of) + (0 if part == TEXT else EXTRA_TOKENS)


# Training and asking ----------------------------------------------------------------------------


def measured_path(place: Path, part: str, scheme: str, seed: int) -> Path:
    """Where what one model answered is kept."""
    return place / "measured" / f"{model_name(part, scheme, seed)}.json"


def run_job(place: Path, config: PositionsConfig, job: Job) -> None:
    """Train the models of one job and ask them everything; skip what is done already."""
    paths = [measured_path(place, job.part, job.scheme, seed) for seed in job.seeds]
    if all(path.exists() for path in paths):
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.monotonic()
        models = _train(place, config, job)
        # Of the last stretch only, where the run was stopped and went on.
        seconds = (time.monotonic() - started) / len(models)
        for path, seed, model in zip(paths, job.seeds, models, strict=True):
            found = _ask(place, config, job, model, seed)
            write_json(path, {**found, "training_seconds": round(seconds, 2)})
        for state in (place / "training" / job.name).glob("*.safetensors"):
            state.unlink()
    finally:
        torch.set_num_threads(threads)


def _train(place: Path, config: PositionsConfig, job: Job) -> list[Transformer]:
    from tokkit.experiments.position_asking import order_accuracies
    from tokkit.model.transformer import Transformer
    from tokkit.training.config import TrainingConfig
    from tokkit.training.stacked import train_stacked

    of, steps = model_config(config, job.part, job.scheme), _steps(config, job.part)
    models = [Transformer(of, seed=seed) for seed in job.seeds]
    text = load_text(place) if job.part == TEXT else None

    def batches_at(step: int) -> list[Batch]:
        return [_batch(config, text, seed, step) for seed in job.seeds]

    digest = sha256(place / FOLDER / "training.npy") if job.part == TEXT else ""
    evaluate = None
    if job.part == ORDER:
        evaluate = lambda _, model: order_accuracies(model, config)  # noqa: E731
    train_stacked(
        models,
        batches_at,
        TrainingConfig(
            steps=steps,
            learning_rate=config.text_rate if job.part == TEXT else config.order_rate,
            warmup_steps=min(config.warmup_steps, steps),
            log_every=max(1, min(50, steps // config.curve_points)),
            evaluate_every=max(1, steps // config.curve_points),
        ),
        place / "training" / job.name,
        evaluate=evaluate,
        identity=f"{job.name} {digest}",
    )
    return [model.eval() for model in models]


def model_config(config: PositionsConfig, part: str, scheme: str) -> ModelConfig:
    """The config of one scheme's models of one part."""
    shape, trained = _part_shape(config, part)
    return scheme_config(scheme, shape, trained=trained, longest=_longest(config, part))


def _batch(config: PositionsConfig, text: Any, seed: int, step: int) -> Batch:
    from tokkit.experiments.position_asking import order_batch
    from tokkit.experiments.position_text import text_batch

    if text is None:
        return order_batch(config, seed, step)
    return text_batch(text, rows=config.text_rows, trained=config.text_length, seed=seed, step=step)


def _ask(
    place: Path, config: PositionsConfig, job: Job, model: Transformer, seed: int
) -> Mapping[str, Any]:
    from tokkit.experiments.position_asking import ask_order, ask_text
    from tokkit.model.checkpoint import save_checkpoint

    if job.part == ORDER:
        return ask_order(model, config, job.scheme)
    tokenizer = (place / FOLDER / "tokenizer.json").read_text(encoding="utf-8")
    about = {"scheme": job.scheme, "seed": seed, "experiment": "positions"}
    save_checkpoint(place / "models" / model_name(TEXT, job.scheme, seed), model, tokenizer, about)
    return ask_text(model, load_text(place), config, job.scheme)
