"""Training that repeats bit for bit and goes on where it was stopped.

A batch depends on its step number alone, so the state of a run is its parameters, the moments of
the optimizer (AdamW, Loshchilov and Hutter 2019) and the step: one safetensors file, replaced
whole. A run that is killed and started again ends with the same bits as one never interrupted,
on the same machine and with as many threads: another number adds up in another order.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from tokkit.errors import ArtifactError, ConfigError, TokkitError
from tokkit.files import atomic_file, ensure_folder, write_text
from tokkit.model.checkpoint import write_tensors
from tokkit.model.transformer import Transformer

STATE_FILE = "training-state.safetensors"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to train; checked when made (ConfigError)."""

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_fraction: float = 0.1  # of the learning rate, reached by a cosine at the last step
    weight_decay: float = 0.01  # of matrices that multiply, not of tables or norms
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0
    log_every: int = 50  # steps between lines of metrics
    evaluate_every: int = 0  # steps between evaluations; 0: at the end only
    save_seconds: float = 20.0  # between states for going on; the last step is always saved

    def __post_init__(self) -> None:
        for name in ("steps", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup_steps", "evaluate_every", "save_seconds"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ConfigError(f"weight_decay must be 0 or above, finite, got {self.weight_decay}")
        for name in ("learning_rate", "clip_norm"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ConfigError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        if not 0 <= self.final_fraction <= 1:
            raise ConfigError(f"final_fraction must lie in 0..1, got {self.final_fraction}")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, then a cosine."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - 1 - self.warmup_steps)
        cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * cosine)


@dataclass(frozen=True, slots=True)
class Batch:
    """ids (B, T) int64; rows, positions and targets (N,) int64: what is to be predicted where."""

    ids: Tensor
    rows: Tensor
    positions: Tensor
    targets: Tensor


Evaluate = Callable[[Transformer], Mapping[str, float]]


def train(
    model: Transformer,
    batch_at: Callable[[int], Batch],
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    *,
    evaluate: Evaluate | None = None,
    identity: str = "",
) -> None:
    """Train `model` in place; go on from the state in `folder` if there is one.

    `batch_at(step)` gives the batch of a step and must depend on nothing else. Mean cross-entropy
    in nats, the learning rate and what `evaluate` returns are appended to metrics.jsonl.
    `identity` names all else that the run depends on (data, seed): a state of another identity
    or config is refused (ArtifactError). A loss or gradient that is not finite stops the run
    (TokkitError) before it spoils a parameter. Interrupted at any moment, a run loses at most the
    last `config.save_seconds` of work.
    """
    place = ensure_folder(folder)
    fingerprint = _fingerprint(model, config, identity)
    optimizer = _optimizer(model, config)
    start = _restore(place / STATE_FILE, model, optimizer, fingerprint)
    _keep_metrics(place / METRICS_FILE, until=start)
    saved_at = time.monotonic()
    with (place / METRICS_FILE).open("a", encoding="utf-8") as metrics:
        for step in range(start, config.steps):
            loss = _take_step(model, optimizer, batch_at(step), config, step)
            line = _metrics_of(model, config, step, loss, evaluate)
            if line:
                metrics.write(json.dumps(line, allow_nan=False) + "\n")
                metrics.flush()
            last = step + 1 == config.steps
            if last or time.monotonic() - saved_at >= config.save_seconds:
                # First the metrics: a state on the disk says that its lines are there too.
                os.fsync(metrics.fileno())
                _save(place / STATE_FILE, model, optimizer, step + 1, fingerprint)
                saved_at = time.monotonic()


def _take_step(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainingConfig,
    step: int,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = config.rate_at(step)
    logits = model(batch.ids, at=(batch.rows, batch.positions))
    loss = functional.cross_entropy(logits, batch.targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm))
    value = float(loss.detach())
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise TokkitError(
            f"the loss is {value} and the norm of its gradient {norm} at step {step + 1}: training "
            f"diverged; use a lower learning rate than {config.learning_rate:g}"
        )
    optimizer.step()
    return value


def _metrics_of(
    model: Transformer,
    config: TrainingConfig,
    step: int,
    loss: float,
    evaluate: Evaluate | None,
) -> dict[str, Any] | None:
    done = step + 1
    last = done == config.steps
    evaluating = evaluate is not None and (
        last or (config.evaluate_every and done % config.evaluate_every == 0)
    )
    if not (last or evaluating or done % config.log_every == 0):
        return None
    line: dict[str, Any] = {"step": done, "loss": loss, "learning_rate": config.rate_at(step)}
    if evaluating and evaluate is not None:
        line["evaluation"] = dict(evaluate(model))
    return line


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, in order; a last line cut short by a kill is left out."""
    path = Path(folder) / METRICS_FILE
    if not path.exists():
        return []
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines):
            raise ValueError("a line has no step")
        return lines
    except ValueError as error:
        raise ArtifactError(
            f"{path} does not hold one JSON record a line ({error}): delete {path.parent} "
            "to start over"
        ) from error


def _keep_metrics(path: Path, *, until: int) -> None:
    """Drop the lines after step `until`: they will be written again."""
    kept = [line for line in read_metrics(path.parent) if line["step"] <= until]
    write_text(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))


def _optimizer(model: Transformer, config: TrainingConfig) -> torch.optim.AdamW:
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (matrices if name.endswith(".weight") and parameter.ndim == 2 else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


def _fingerprint(model: Transformer, config: TrainingConfig, identity: str) -> str:
    settings = asdict(config) | {"save_seconds": None}
    text = json.dumps([model.config.to_dict(), settings, identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _save(
    path: Path, model: Transformer, optimizer: torch.optim.Optimizer, step: int, fingerprint: str
) -> None:
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    metadata = {"step": str(step), "fingerprint": fingerprint}
    with atomic_file(path) as temporary:
        write_tensors(temporary, tensors, metadata)


@torch.no_grad()
def _restore(
    path: Path, model: Transformer, optimizer: torch.optim.Optimizer, fingerprint: str
) -> int:
    """Fill model and optimizer from a saved state; return the steps done (0 without one)."""
    if not path.exists():
        return 0
    again = f"delete {path.parent} to start over"
    try:
        with safe_open(path, framework="pt") as state:
            metadata = state.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                raise ArtifactError(f"{path} is the state of a run with other settings: {again}")
            for name, parameter in model.named_parameters():
                parameter.copy_(state.get_tensor(f"model.{name}"))
                optimizer.state[parameter] = {
                    key: state.get_tensor(f"optimizer.{key}.{name}")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
            return int(metadata["step"])
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise ArtifactError(f"{path} is not a whole training state ({error}): {again}") from error
