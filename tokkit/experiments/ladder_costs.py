"""What a rung costs: time of a step, and memory.

Steps are timed on one thread, a few of every rung in turn, round after round: what else the
machine does falls on all alike, and a rung's time is told as a ratio to the base's of the same
round. Memory is counted from shapes and from what the forward pass keeps, not read off the
process, whose allocator gives nothing back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tokkit.experiments.ladder_rungs import Rung, active_parameters, total_parameters
from tokkit.experiments.position_text import load_text, text_batch
from tokkit.files import read_json, write_json

if TYPE_CHECKING:
    from tokkit.experiments.ladder import LadderConfig
    from tokkit.training.objective import Batch

COSTS = "costs.json"
_TIMING_SEED = 3000
_BYTES = 4  # of a float32
_MOMENTS = 2  # of AdamW, for each parameter


def measure_costs(place: Path, config: LadderConfig) -> None:
    """Write measured/costs.json, unless it is there.

    By rung: seconds of a step (the median of a few) in each round, and bytes of parameters,
    optimizer, kept activations and cache.
    """
    import torch

    from tokkit.model.allocation import keep_freed_memory

    path = place / "measured" / COSTS
    if path.exists():
        return
    keep_freed_memory()  # as training does
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        write_json(path, _measure(place, config))
    finally:
        torch.set_num_threads(threads)


def read_costs(place: Path) -> dict[str, dict[str, Any]]:
    """What `measure_costs` wrote."""
    found: dict[str, dict[str, Any]] = read_json(place / "measured" / COSTS, what="costs")
    return found


def _measure(place: Path, config: LadderConfig) -> dict[str, dict[str, Any]]:
    text = load_text(place)
    batch = text_batch(text, rows=config.rows, trained=config.length, seed=_TIMING_SEED, step=0)
    every = config.rungs()
    found = {rung.name: _memory(rung, batch, config) | {"seconds": []} for rung in every}
    steppers = {rung.name: _stepper(rung, batch) for rung in every}
    for step in steppers.values():  # the first steps also fill caches and make the moments
        step()
        step()
    for _ in range(config.timing_rounds):
        for name, step in steppers.items():
            taken = [_seconds(step) for _ in range(config.timing_steps)]
            found[name]["seconds"].append(round(median(taken), 6))
    return found


def _seconds(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _stepper(rung: Rung, batch: Batch) -> Callable[[], None]:
    """A whole step of training, as in `training.loop`, at a rate that changes next to nothing."""
    from torch import nn

    from tokkit.model.transformer import Transformer
    from tokkit.training.config import TrainingConfig
    from tokkit.training.loop import new_optimizer
    from tokkit.training.objective import Objective

    config = TrainingConfig(steps=1, learning_rate=1e-9)
    model = Transformer(rung.config, seed=_TIMING_SEED).train()
    objective, optimizer = Objective(model, config.precision), new_optimizer(model, config)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        _, aim = objective(batch)
        aim.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()

    return step


def _memory(rung: Rung, batch: Batch, config: LadderConfig) -> dict[str, Any]:
    from tokkit.model.cache import Cache

    parameters = total_parameters(rung.config)
    return {
        "parameters": parameters,
        "active_parameters": active_parameters(rung.config),
        "parameter_bytes": _BYTES * parameters,
        "optimizer_bytes": _BYTES * _MOMENTS * parameters,
        "activation_bytes": kept_bytes(rung, batch),
        "cache_bytes_per_token": Cache(rung.config, 1, config.length).bytes / config.length,
    }


def kept_bytes(rung: Rung, batch: Batch) -> int:
    """Bytes that the forward pass of a training step keeps for its backward pass.

    Each piece of memory counts once, however many views of it are kept; parameters do not count.
    """
    import torch

    from tokkit.model.transformer import Transformer
    from tokkit.training.objective import Objective

    model = Transformer(rung.config, seed=_TIMING_SEED).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _, aim = Objective(model, "float32")(batch)
    del aim  # until here nothing kept was given back, so no address came twice
    return sum(kept.values())
