"""Several models of one config trained as one batched computation, each as if it were alone.

Seeds of a small model differ in their parameters only, and a step of it is mostly the time to
start its many small operations; a stack starts each once for all (`worth_stacking` says when that
pays). Clipping, moments and losses are each model's own, so that no model feels the others; sums
are added up in another order than alone, by which results differ in their last bits.

As in `loop`, a run that is stopped and started again ends with the bits of one that never was.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tokkit.errors import ConfigError, InputError, OutputError
from tokkit.files import ensure_folder, write_text
from tokkit.model.config import ModelConfig
from tokkit.model.stacked import StackedTransformer, release
from tokkit.model.transformer import Transformer
from tokkit.training.config import TrainingConfig
from tokkit.training.loop import METRICS_FILE, DivergedError, new_optimizer, read_metrics
from tokkit.training.objective import IGNORED, Batch
from tokkit.training.state import STATE_FILE, Watch, restore_state, save_state

EvaluateModel = Callable[[int, Transformer], Mapping[str, float]]

LARGEST_STREAM = 1 << 16
"""Numbers in one model's residual stream, batch x time x width, up to which stacking pays."""

LARGEST_LOGITS = 1 << 19
"""Logits that one model works out in a step, up to which stacking was seen to pay."""


def worth_stacking(
    config: ModelConfig, batch: int, time: int, *, models: int, places: int | None = None
) -> bool:
    """Whether `models` of a config train faster stacked than one by one, on one thread of a CPU.

    `places` are those with logits, None for all. Measured by
    tests/benchmarks/test_stacked_training.py: at the bound a stack of 4 is 1.2 times as fast, at
    twice it 1.1 times, at four times it no faster: there a step is arithmetic, and a stack only
    needs more room in the caches.
    """
    stream = batch * time * config.width
    logits = (batch * time if places is None else places) * config.vocab_size
    small = stream <= LARGEST_STREAM and logits <= LARGEST_LOGITS
    return models > 1 and not config.experts and small


def train_stacked(
    models: Sequence[Transformer],
    batches_at: Callable[[int], Sequence[Batch]],
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    *,
    evaluate: EvaluateModel | None = None,
    identity: str = "",
) -> None:
    """Train `models`, alike in all but their parameters and token features, in place.

    `batches_at(step)` gives each model's batch, in the models' order and of as many rows and
    targets for each; shorter texts are filled up at the right, where nothing looks. It must depend
    on nothing but the step. Lines of metrics.jsonl hold `losses` and, of `evaluate(place, model)`,
    `evaluations`, one a model. The state in `folder` is gone on from as in `loop.train`, and
    refused as there. A model whose loss or gradient is not finite stops all of them before it
    spoils a parameter (DivergedError, which tells its place).
    """
    _check_settings(config)
    place = ensure_folder(folder)
    stack = StackedTransformer(models)
    try:
        _train(stack, models, batches_at, config, place, evaluate, identity)
    finally:
        release(models)


def _train(
    stack: StackedTransformer,
    models: Sequence[Transformer],
    batches_at: Callable[[int], Sequence[Batch]],
    config: TrainingConfig,
    place: Path,
    evaluate: EvaluateModel | None,
    identity: str,
) -> None:
    optimizer = new_optimizer(stack, config, axes=3)
    fingerprint = _fingerprint(stack, config, identity)
    start, _ = restore_state(place / STATE_FILE, stack, optimizer, fingerprint)
    kept = [line for line in read_metrics(place) if line["step"] <= start]
    write_text(place / METRICS_FILE, "".join(map(_line_text, kept)))
    saved_at = time.monotonic()
    for step in range(start, config.steps):
        losses = _take_step(stack, optimizer, batches_at(step), config, step)
        line = _metrics_of(models, config, step, losses, evaluate)
        if line:
            _append(place / METRICS_FILE, line)
        if step + 1 == config.steps or time.monotonic() - saved_at >= config.save_seconds:
            save_state(
                place / STATE_FILE,
                stack,
                optimizer,
                step=step + 1,
                fingerprint=fingerprint,
                watch=Watch(),
            )
            saved_at = time.monotonic()


def stacked_loss(stack: StackedTransformer, batches: Sequence[Batch]) -> Tensor:
    """Each model's mean cross-entropy over the targets of its batch, in nats: (S,).

    The batches have as many rows each, and all or none have places, as many each (InputError).
    """
    _check_batches(batches, stack.count)
    longest = max(batch.ids.shape[1] for batch in batches)
    ids = torch.cat([_filled(batch.ids, longest) for batch in batches])
    if batches[0].rows is not None:
        rows = torch.stack([batch.rows for batch in batches if batch.rows is not None])
        first = torch.arange(stack.count, device=rows.device)[:, None] * len(batches[0].ids)
        positions = torch.cat([b.positions for b in batches if b.positions is not None])
        targets = torch.cat([batch.targets for batch in batches])
        logits = stack(ids, at=((rows + first).flatten(), positions))
    else:
        targets = torch.cat([_filled(batch.targets, longest, IGNORED) for batch in batches])
        documents = None
        if batches[0].documents is not None:
            packed = [batch.documents for batch in batches if batch.documents is not None]
            last = max(int(numbers.max()) for numbers in packed)
            documents = torch.cat([_filled(numbers, longest, last) for numbers in packed])
        logits = stack(ids, documents=documents).flatten(0, 1)
    nats = functional.cross_entropy(
        logits, targets.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(stack.count, -1)
    counts = (targets.view(stack.count, -1) != IGNORED).sum(1)
    return nats.sum(1) / counts.clamp(min=1)


def _filled(values: Tensor, width: int, filling: int = 0) -> Tensor:
    """(B, T) filled up at the right to (B, width)."""
    missing = width - values.shape[1]
    return functional.pad(values, (0, missing), value=filling) if missing else values


def _check_batches(batches: Sequence[Batch], models: int) -> None:
    if len(batches) != models:
        raise InputError(f"{models} models need {models} batches a step, got {len(batches)}")
    kinds = set()
    for batch in batches:
        places = None if batch.rows is None else len(batch.rows)
        kinds.add((len(batch.ids), places, batch.documents is None))
        if batch.rows is not None and len(batch.rows):
            low, high = (int(bound) for bound in torch.aminmax(batch.rows))
            if low < 0 or high >= len(batch.ids):  # it would be a row of another model
                raise InputError(f"rows must lie in 0..{len(batch.ids) - 1}, got {low}..{high}")
    if len(kinds) > 1:
        told = ", ".join(
            f"{rows} rows and {places} places" for rows, places, _ in sorted(kinds, key=str)
        )
        raise InputError(
            f"the batches of a stack must have one shape, got {told}: train them apart"
        )


def _take_step(
    stack: StackedTransformer,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    config: TrainingConfig,
    step: int,
) -> list[float]:
    for group in optimizer.param_groups:
        group["lr"] = config.rate_at(step)
    optimizer.zero_grad(set_to_none=True)
    device = stack.embedding.device
    losses = stacked_loss(stack, [batch.to(device) for batch in batches])
    losses.sum().backward()  # type: ignore[no-untyped-call]
    norms = _clip(stack, config.clip_norm)
    values: list[float] = losses.tolist()
    for model, (loss, norm) in enumerate(zip(values, norms, strict=True)):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"the loss of model {model} of {stack.count} is {loss} and the norm of its "
                f"gradient {norm} at step {step + 1}: training diverged; use a lower learning "
                f"rate than {config.learning_rate:g}"
            )
    optimizer.step()
    return values


@torch.no_grad()
def _clip(stack: StackedTransformer, limit: float) -> list[float]:
    """Scale each model's gradient to a norm of at most `limit`; the norms before."""
    gradients = [p.grad for p in stack.parameters() if p.grad is not None]
    by_tensor = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]
    norms = torch.linalg.vector_norm(torch.stack(by_tensor), dim=0)
    # The small number is that of torch.nn.utils.clip_grad_norm_, which clips a model alone.
    scales = (limit / (norms + 1e-6)).clamp(max=1.0)
    if bool((scales < 1).any()):
        for gradient in gradients:
            gradient.mul_(scales.view(-1, *[1] * (gradient.ndim - 1)))
    return [float(norm) for norm in norms.tolist()]


def _check_settings(config: TrainingConfig) -> None:
    if config.precision != "float32":
        raise ConfigError(f"a stack trains in float32, got precision {config.precision!r}")
    if config.patience_steps:
        raise ConfigError(
            f"patience_steps is of a model trained alone, got {config.patience_steps}: set it to 0"
        )


def _fingerprint(stack: StackedTransformer, config: TrainingConfig, identity: str) -> str:
    settings = asdict(config) | {"save_seconds": None}
    record = ["stack", stack.count, stack.config.to_dict(), settings, identity]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _metrics_of(
    models: Sequence[Transformer],
    config: TrainingConfig,
    step: int,
    losses: list[float],
    evaluate: EvaluateModel | None,
) -> dict[str, Any] | None:
    done = step + 1
    last = done == config.steps
    due = last or (config.evaluate_every > 0 and done % config.evaluate_every == 0)
    evaluating = evaluate is not None and due
    if not (last or evaluating or done % config.log_every == 0):
        return None
    line: dict[str, Any] = {
        "step": done,
        "losses": losses,
        "learning_rate": config.rate_at(step),
    }
    if evaluating and evaluate is not None:
        line["evaluations"] = [dict(evaluate(place, m)) for place, m in enumerate(models)]
    return line


def _line_text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line and see it on the disk: a state that says it is there may follow at once."""
    try:
        with path.open("a", encoding="utf-8") as metrics:
            metrics.write(_line_text(line))
            metrics.flush()
            os.fsync(metrics.fileno())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"cannot write {path}: {reason}; make room, then give the same command to go on"
        ) from error
