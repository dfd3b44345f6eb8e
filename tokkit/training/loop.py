"""Training that repeats bit for bit and goes on where it was stopped.

A batch depends on its step number alone, so the state of a run is its parameters, the moments of
the optimizer (AdamW, Loshchilov and Hutter 2019) and the step: one safetensors file, replaced
whole. A run that is killed and started again ends with the same bits as one never interrupted,
on the same machine and with as many threads: another number adds up in another order.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from tokkit.errors import ArtifactError, OutputError, TokkitError
from tokkit.files import ensure_folder, write_text
from tokkit.model.allocation import keep_freed_memory
from tokkit.model.transformer import Transformer
from tokkit.training.config import TrainingConfig
from tokkit.training.objective import Batch, Objective
from tokkit.training.processes import ALONE, Processes, failures_told
from tokkit.training.state import STATE_FILE, Watch, restore_state, save_state

__all__ = [
    "METRICS_FILE",
    "STATE_FILE",
    "Batch",
    "DivergedError",
    "Evaluate",
    "Line",
    "TrainingConfig",
    "read_metrics",
    "train",
]

METRICS_FILE = "metrics.jsonl"
# Buffers are tables that never change; torch is renaming the setting.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers"
    in inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters
    else "broadcast_buffers"
)

Evaluate = Callable[[Transformer], Mapping[str, float]]
Line = dict[str, Any]


class DivergedError(TokkitError):
    """The loss is not finite, or has been far above its level for too long."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same from step to step."""

    model: Transformer
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    config: TrainingConfig
    processes: Processes
    state: Path
    fingerprint: str

    def save(self, done: int, watch: Watch) -> None:
        save_state(
            self.state,
            self.model,
            self.optimizer,
            step=done,
            fingerprint=self.fingerprint,
            watch=watch,
        )

    def kept(self, step: int) -> str:
        """What is left of the run when it fails, in words."""
        return f"the state of step {step} is kept" if step else "no state was saved yet"


def train(
    model: Transformer,
    batch_at: Callable[[int], Batch | Sequence[Batch]],
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    *,
    evaluate: Evaluate | None = None,
    identity: str = "",
    processes: Processes = ALONE,
    compiled: bool = False,
    stop: Callable[[], bool] | None = None,
    on_step: Callable[[int, float], None] | None = None,
    on_line: Callable[[Line], None] | None = None,
) -> None:
    """Train `model` in place; go on from the state in `folder` if there is one.

    `batch_at(step)` gives the batch of a step, or its parts, whose gradients are added up, and
    must depend on nothing else; with several `processes`, this one's parts. Mean cross-entropy in
    nats, the learning rate and what `evaluate` returns (called by every process) are appended to
    metrics.jsonl. `identity` names all else that the run depends on (data, seed): a state of
    another identity or config is refused (ArtifactError).

    A loss or gradient that is not finite stops the run before it spoils a parameter, and so does
    a loss above `Watch.limit` for `config.patience_steps` steps in a row (DivergedError); while it
    is above, no state is saved. Interrupted at any moment, a run loses at most the last
    `config.save_seconds` of work, and nothing where `stop`, asked after each step, says so: then
    the state is saved and KeyboardInterrupt raised. A disk that cannot be written, a full one
    among them, is an OutputError; the last state stays.

    `on_step(step, loss)` is called after each step and `on_line` with each line of metrics, before
    a state is saved that counts it as done; both in the first process only.
    """
    place = ensure_folder(folder)
    keep_freed_memory()
    optimizer = new_optimizer(model, config)
    fingerprint = _fingerprint(model, config, identity)
    start, watch = restore_state(place / STATE_FILE, model, optimizer, fingerprint)
    processes.wait()  # or the first could save a state before another has read the old one
    objective = _objective(model, config, processes, compiled=compiled)
    run = _Run(model, objective, optimizer, config, processes, place / STATE_FILE, fingerprint)
    saved, saved_at = start, time.monotonic()
    with _metrics_file(place / METRICS_FILE, start, processes) as metrics:
        for step in range(start, config.steps):
            with failures_told(processes, run.kept(saved)):
                loss, stopping = _take_step(run, batch_at(step), step, stop, saved)
                watch = _watched(run, watch, loss, step, saved)
                line = _metrics_of(run, step, loss, evaluate, saved)
            if not processes.first:
                _leave_if(stopping)
                continue
            if on_step is not None:
                on_step(step + 1, loss)
            if line:
                _append(metrics, line, place / METRICS_FILE)
                if on_line is not None:
                    on_line(line)
            due = stopping or time.monotonic() - saved_at >= config.save_seconds
            if step + 1 == config.steps or (due and not watch.high_steps):
                # First the metrics: a state on the disk says that its lines are there too.
                _flush(metrics, place / METRICS_FILE)
                run.save(step + 1, watch)
                saved, saved_at = step + 1, time.monotonic()
            _leave_if(stopping)


def _leave_if(stopping: bool) -> None:
    if stopping:
        raise KeyboardInterrupt


def _objective(
    model: Transformer, config: TrainingConfig, processes: Processes, *, compiled: bool
) -> nn.Module:
    objective: nn.Module = Objective(model, config.precision)
    if compiled:
        objective.compile()
    if processes.count > 1:
        kept: dict[str, Any] = {_SYNC_BUFFERS: False}
        objective = nn.parallel.DistributedDataParallel(objective, **kept)
    return objective


def _take_step(
    run: _Run,
    batch: Batch | Sequence[Batch],
    step: int,
    stop: Callable[[], bool] | None,
    saved: int,
) -> tuple[float, bool]:
    """Change the parameters once; return the loss of the step, and whether to stop after it."""
    parts = [batch] if isinstance(batch, Batch) else batch
    for group in run.optimizer.param_groups:
        group["lr"] = run.config.rate_at(step)
    run.optimizer.zero_grad(set_to_none=True)
    device = run.model.embedding.device
    told = torch.zeros(2, dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    for place, part in enumerate(parts):
        with _gradients_shared(run.objective, last=place + 1 == len(parts)):
            loss, aim = run.objective(part.to(device))
            # Processes are averaged, but each has its share of the mean already.
            (aim * (part.share * run.processes.count)).backward()
        told[0] += loss.detach().to(told.device).double() * part.share
    told[1] = float(stop is not None and stop())
    parameters = run.model.parameters()
    norm = float(nn.utils.clip_grad_norm_(parameters, run.config.clip_norm))
    value, stopping = run.processes.total(told).tolist()
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise DivergedError(
            f"the loss is {value} and the norm of its gradient {norm} at step {step + 1}: training "
            f"diverged, and {run.kept(saved)}; use a lower learning rate than "
            f"{run.config.learning_rate:g}"
        )
    run.optimizer.step()
    return value, stopping > 0


def _gradients_shared(
    objective: nn.Module, *, last: bool
) -> contextlib.AbstractContextManager[None]:
    """Processes exchange gradients once a step, after its last part."""
    if last or not isinstance(objective, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    shared: contextlib.AbstractContextManager[None] = objective.no_sync()
    return shared


def _watched(run: _Run, watch: Watch, loss: float, step: int, saved: int) -> Watch:
    after = watch.after(loss)
    patience = run.config.patience_steps
    if not patience:
        return Watch()
    if after.high_steps >= patience:
        raise DivergedError(
            f"the loss has been above {watch.limit:.3f} for {patience} steps at step {step + 1} "
            f"(it is {loss:.3f}; its level was {watch.level:.3f}): training diverged, and "
            f"{run.kept(saved)}; use a lower learning rate than {run.config.learning_rate:g}"
        )
    return after


def _metrics_of(
    run: _Run, step: int, loss: float, evaluate: Evaluate | None, saved: int
) -> Line | None:
    config, done = run.config, step + 1
    last = done == config.steps
    evaluating = evaluate is not None and (
        last or (config.evaluate_every and done % config.evaluate_every == 0)
    )
    if not (last or evaluating or done % config.log_every == 0):
        return None
    line: Line = {"step": done, "loss": loss, "learning_rate": config.rate_at(step)}
    if evaluating and evaluate is not None:
        line["evaluation"] = dict(evaluate(run.model))
        for name, value in line["evaluation"].items():
            if not math.isfinite(value):
                raise DivergedError(
                    f"the evaluation after step {done} gave {name} = {value}: training diverged, "
                    f"and {run.kept(saved)}; use a lower learning rate than "
                    f"{config.learning_rate:g}"
                )
    return line


# Metrics -----------------------------------------------------------------------------------------


def read_metrics(folder: str | os.PathLike[str]) -> list[Line]:
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


@contextlib.contextmanager
def _metrics_file(path: Path, until: int, processes: Processes) -> Iterator[TextIO]:
    """The file to append to; what stands in it after step `until` will be written again."""
    if not processes.first:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            yield nowhere
        return
    kept = [line for line in read_metrics(path.parent) if line["step"] <= until]
    write_text(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
    file = path.open("a", encoding="utf-8")
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # told when it was written, or flushed
            file.close()


def _append(metrics: TextIO, line: Line, path: Path) -> None:
    with _disk_told(path):
        metrics.write(json.dumps(line, allow_nan=False) + "\n")
        metrics.flush()


def _flush(metrics: TextIO, path: Path) -> None:
    with _disk_told(path):
        os.fsync(metrics.fileno())


@contextlib.contextmanager
def _disk_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"cannot write {path}: {reason}; make room, then give the same command to go on"
        ) from error


# Optimizer ---------------------------------------------------------------------------------------


def new_optimizer(model: nn.Module, config: TrainingConfig, *, axes: int = 2) -> torch.optim.AdamW:
    """AdamW; the weights of at least `axes` axes decay: matrices, or stacks of them."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        decays = name.endswith(".weight") and parameter.ndim >= axes
        (matrices if decays else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    fused = matrices[0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=fused)


def _fingerprint(model: Transformer, config: TrainingConfig, identity: str) -> str:
    settings = asdict(config) | {"save_seconds": None}
    text = json.dumps([model.config.to_dict(), settings, identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
