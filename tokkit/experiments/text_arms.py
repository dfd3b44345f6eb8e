"""Models that differ in their settings, trained alike on one text and asked the same windows.

What experiments on quality share: the text is that of `position_text`, every arm sees the same
batches seed by seed, and each trained model is asked windows of documents held out, in contexts as
trained, so that arms can be paired by seed and window.

Below a run's folder stand text/, training/ARM-SEEDS/ (metrics, and the state to go on from),
measured/ARM-SEED.json and, where asked for, models/ARM-SEED/ (checkpoints). A record is written
whole or not at all: what was killed goes on where it was.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokkit.errors import ArtifactError, ConfigError, unknown_choice
from tokkit.experiments.position_text import (
    FOLDER,
    TEXTS,
    Text,
    load_text,
    prepare_text,
    score,
    text_batch,
    text_tokens,
    trained_rows,
)
from tokkit.experiments.running import Progress, watch
from tokkit.files import read_json, sha256, write_json
from tokkit.model.config import ModelConfig
from tokkit.parallel import run_all

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer
    from tokkit.training.config import TrainingConfig
    from tokkit.training.objective import Batch

STACK = 4
"""The most seeds trained as one computation: the gain is had by then, and work divides evenly."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One kind of model, trained at one learning rate from several seeds.

    `alone`: never trained as a stack, for builds whose parts a stack would not see.
    """

    name: str
    config: ModelConfig
    rate: float
    seeds: tuple[int, ...]
    alone: bool = False

    def __post_init__(self) -> None:
        plain = self.name and all(letter.isalnum() or letter in "-._" for letter in self.name)
        if not plain or self.name.startswith("."):
            raise ConfigError(
                f"an arm's name becomes a file's: letters, digits, '-', '.' and '_', not first "
                f"'.', got {self.name!r}"
            )
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ConfigError(f"an arm's rate must be above 0 and finite, got {self.rate}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(
                f"an arm needs 1 or more different seeds of 0 or above, got {self.seeds}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """The text and the training that all arms share; checked when made (ConfigError)."""

    text: str = "world and english"
    megabytes: float = 2.0
    vocab_size: int = 512
    length: int = 128  # tokens of a row, in training and when asked
    rows: int = 8  # windows a step
    steps: int = 1500
    warmup_steps: int = 100
    windows: int = 64  # held out, of 4 x length tokens
    curve_points: int = 12  # losses kept of a training
    keep_models: bool = False  # leave checkpoints

    def __post_init__(self) -> None:
        least = {"length": 2, "rows": 1, "steps": 1, "warmup_steps": 0, "windows": 2}
        for name, bound in (least | {"curve_points": 1}).items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if not (math.isfinite(self.megabytes) and self.megabytes > 0):
            raise ConfigError(f"megabytes must be above 0 and finite, got {self.megabytes}")
        if self.text not in TEXTS:
            raise ConfigError(unknown_choice("text", self.text, TEXTS))


@dataclass(frozen=True, slots=True)
class WindowText:
    """What a trained model is asked about: the text with its held-out windows, and the row length.

    `text.windows` are (W, 4 length + 1) ids: inputs and, one to the right, targets.
    """

    text: Text
    length: int


Build = Callable[[Arm, int], "Transformer"]
Measure = Callable[["Transformer", WindowText], Mapping[str, Any]]


def build_plain(arm: Arm, seed: int) -> Transformer:
    """A transformer of the arm's config, initialised from the seed."""
    from tokkit.model.transformer import Transformer

    return Transformer(arm.config, seed=seed)


def measure_held_out(model: Transformer, asked: WindowText) -> dict[str, Any]:
    """Nats and bytes of the text tokens of each held-out window, in contexts as trained.

    {"nats": (W,), "bytes": (W,), "bits_per_byte": of all windows}: bits over bytes, the tokens'
    own bytes, end tokens left out.
    """
    text = asked.text
    rows = trained_rows(text.windows, asked.length)
    told = text_tokens(text, rows[:, 1:])
    nats = (score(model, rows, asked.length).nats * told).reshape(len(text.windows), -1).sum(1)
    size = text.token_bytes[text.windows[:, 1:]].sum(1)
    return {
        "nats": nats.tolist(),
        "bytes": size.tolist(),
        "bits_per_byte": float(nats.sum() / math.log(2) / size.sum()),
    }


def unigram_bits(text: Text) -> tuple[list[float], float]:
    """Nats of each held-out window under the training text's token frequencies; bits per byte."""
    targets = text.windows[:, 1:]
    nats = (text.unigram[targets] * text_tokens(text, targets)).sum(1)
    return nats.tolist(), float(nats.sum() / math.log(2) / text.token_bytes[targets].sum())


def prepare_arms_text(place: Path, settings: TextSettings) -> None:
    """Collect, cut and encode the text below `place`, unless that is done (ConfigError)."""
    prepare_text(
        place,
        source=settings.text,
        megabytes=settings.megabytes,
        vocab_size=settings.vocab_size,
        trained=settings.length,
        windows=settings.windows,
    )


def run_arms(
    place: Path,
    arms: Sequence[Arm],
    settings: TextSettings,
    *,
    build: Build = build_plain,
    measure: Measure = measure_held_out,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Train every arm from every seed and measure it, or what is left of that.

    `build` and `measure` are functions of a module: they are sent to the processes. `jobs`
    processes train side by side, one thread each; None takes all cores. A training that diverges
    is a measurement, not an error. The caller claims the folder's settings: a record that is
    there counts as done. Raises ConfigError where two arms share a name.
    """
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise ConfigError(f"arms must have names of their own, got {', '.join(sorted(names))}")
    # Read by the libraries when a worker starts: large pages, without which a good part of a
    # training step goes into page faults.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    prepare_arms_text(place, settings)
    work = [job for arm in arms for job in jobs_of(arm, settings)]
    trainings = {place / "training" / training_name(job): settings.steps for job in work}
    calls = [(place, job, settings, build, measure) for job in work]
    with watch(trainings, progress):
        for _ in run_all(run_job, calls, workers=jobs):
            pass


def jobs_of(arm: Arm, settings: TextSettings) -> list[Arm]:
    """The arm cut into what is trained as one computation each: arms of a few of its seeds."""
    from tokkit.training.stacked import worth_stacking

    stacked = not arm.alone and worth_stacking(
        arm.config, settings.rows, settings.length, models=len(arm.seeds)
    )
    each = STACK if stacked else 1
    seeds = arm.seeds
    return [replace(arm, seeds=seeds[at : at + each]) for at in range(0, len(seeds), each)]


def steps_in(arms: Sequence[Arm], settings: TextSettings) -> int:
    """The steps that `run_arms` tells as its total: models of a stack take theirs together."""
    return settings.steps * sum(len(jobs_of(arm, settings)) for arm in arms)


def training_name(job: Arm) -> str:
    """What the training folder of a job is called."""
    return f"{job.name}-{'-'.join(map(str, job.seeds))}"


def measured_path(place: Path, arm: str, seed: int) -> Path:
    """Where what was measured of one model is kept."""
    return place / "measured" / f"{arm}-{seed}.json"


def read_measured(place: Path, arm: str, seed: int) -> dict[str, Any]:
    """One model's record; ArtifactError where it is missing or none.

    "diverged" says whether training stopped at a loss that is not finite; then "reason" says so,
    and what `measure` would have told is missing. "losses" are [step, nats a token] pairs.
    """
    path = measured_path(place, arm, seed)
    record = read_json(path, what="measurements")
    if not isinstance(record, dict) or not isinstance(record.get("diverged"), bool):
        raise ArtifactError(f"{path} is no record of measurements: delete it, and run again")
    return record


# Training ---------------------------------------------------------------------------------------


def run_job(place: Path, job: Arm, settings: TextSettings, build: Build, measure: Measure) -> None:
    """Train the models of one job and measure them; skip what is done already."""
    if all(measured_path(place, job.name, seed).exists() for seed in job.seeds):
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _train_and_measure(place, job, settings, build, measure)
    finally:
        torch.set_num_threads(threads)


def _train_and_measure(
    place: Path, job: Arm, settings: TextSettings, build: Build, measure: Measure
) -> None:
    from tokkit.training.loop import DivergedError

    text = load_text(place)
    folder = place / "training" / training_name(job)
    models = [build(job, seed) for seed in job.seeds]
    started = time.monotonic()
    reason = None
    try:
        _train(place, job, settings, text, models)
    except DivergedError as error:
        if len(models) > 1:  # one of them stopped all: each goes its own way to its end
            for seed in job.seeds:
                run_job(place, replace(job, seeds=(seed,)), settings, build, measure)
            _forget_state(folder)
            return
        reason = str(error)
    # Of the last stretch only, where the run was stopped and went on.
    seconds = (time.monotonic() - started) / len(models)
    for index, (seed, model) in enumerate(zip(job.seeds, models, strict=True)):
        record = {
            "arm": job.name,
            "seed": seed,
            "rate": job.rate,
            "diverged": reason is not None,
            "losses": _losses(folder, index),
            "training_seconds": round(seconds, 2),
        }
        if reason is None:
            record |= _measured(place, job, settings, seed, model, measure, text)
        else:
            record["reason"] = reason
        write_json(measured_path(place, job.name, seed), record)
    _forget_state(folder)


def _train(
    place: Path, job: Arm, settings: TextSettings, text: Text, models: Sequence[Transformer]
) -> None:
    from tokkit.training.loop import train
    from tokkit.training.stacked import train_stacked

    folder = place / "training" / training_name(job)
    digest = sha256(place / FOLDER / "training.npy")
    identity = f"{training_name(job)} {digest}"

    def batch(seed: int, step: int) -> Batch:
        return text_batch(text, rows=settings.rows, trained=settings.length, seed=seed, step=step)

    config = _training_config(job.rate, settings)
    if len(models) == 1:
        (model,), (seed,) = models, job.seeds
        train(model, lambda step: batch(seed, step), config, folder, identity=identity)
        return

    def batches(step: int) -> list[Batch]:
        return [batch(seed, step) for seed in job.seeds]

    train_stacked(models, batches, config, folder, identity=identity)


def _training_config(rate: float, settings: TextSettings) -> TrainingConfig:
    from tokkit.training.config import TrainingConfig

    return TrainingConfig(
        steps=settings.steps,
        learning_rate=rate,
        warmup_steps=min(settings.warmup_steps, settings.steps),
        log_every=max(1, settings.steps // settings.curve_points),
    )


def _losses(folder: Path, index: int) -> list[list[float]]:
    from tokkit.training.loop import read_metrics

    return [
        [line["step"], round(float(line["losses"][index] if "losses" in line else line["loss"]), 5)]
        for line in read_metrics(folder)
    ]


def _measured(
    place: Path,
    job: Arm,
    settings: TextSettings,
    seed: int,
    model: Transformer,
    measure: Measure,
    text: Text,
) -> Mapping[str, Any]:
    from tokkit.model.checkpoint import save_checkpoint

    model.eval()
    if settings.keep_models:
        tokenizer = (place / FOLDER / "tokenizer.json").read_text(encoding="utf-8")
        about = {"arm": job.name, "seed": seed, "rate": job.rate}
        save_checkpoint(place / "models" / f"{job.name}-{seed}", model, tokenizer, about)
    return measure(model, WindowText(text, settings.length))


def _forget_state(folder: Path) -> None:
    for state in folder.glob("*.safetensors"):
        state.unlink()


def window_bits(records: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Bits per byte by seed and window: (seeds, W), whose mean is all bits over all bytes.

    Bits of a window over the windows' mean bytes, as in `position_findings`: subtract two arms'
    arrays and hand the difference to `hierarchical_bootstrap`.
    """
    nats = np.array([record["nats"] for record in records], dtype=np.float64)
    size = np.array(records[0]["bytes"], dtype=np.float64).mean()
    return np.asarray(nats / math.log(2) / size)
