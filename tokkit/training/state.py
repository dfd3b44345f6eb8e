"""The state of a run on the disk: parameters, moments, step, all under one digest.

One safetensors file, replaced whole. Its metadata hold the SHA-256 of everything in it, so that a
flipped byte is told before it is trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tokkit.errors import ArtifactError
from tokkit.files import atomic_file
from tokkit.model.checkpoint import write_tensors
from tokkit.model.transformer import Transformer

STATE_FILE = "training-state.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Watch:
    """The loss as the divergence guard sees it.

    The run counts as diverged once the loss has been above `limit` for as many steps in a row as
    the settings allow. The level is the lowest value so far of the running loss, which moves a
    twentieth of the way to the loss at each step.
    """

    running: float = 0.0
    level: float = 0.0
    high_steps: int = 0
    begun: bool = False

    @property
    def limit(self) -> float:
        """A quarter above the level, at least half a nat: the noise of small batches is less."""
        return self.level + max(0.5, 0.25 * self.level)

    def after(self, loss: float) -> Watch:
        """The watch once it has seen one more loss."""
        if not self.begun:
            return Watch(loss, loss, 0, begun=True)
        high = self.high_steps + 1 if loss > self.limit else 0
        running = self.running + (loss - self.running) / 20
        return Watch(running, min(self.level, running), high, begun=True)


def save_state(
    path: Path,
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    fingerprint: str,
    watch: Watch,
) -> None:
    """Replace the state at `path`; OutputError, and the old one stays, where that fails."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    seen = [watch.running, watch.level, float(watch.high_steps), float(watch.begun)]
    tensors[_WATCH] = torch.tensor(seen, dtype=torch.float64)
    metadata = {"step": str(step), "fingerprint": fingerprint}
    metadata["sha256"] = _digest(tensors, metadata)
    with atomic_file(path) as temporary:
        write_tensors(temporary, tensors, metadata)


@torch.no_grad()
def restore_state(
    path: Path, model: Transformer, optimizer: torch.optim.Optimizer, fingerprint: str
) -> tuple[int, Watch]:
    """Fill model and optimizer from a saved state; return the steps done (0 without one).

    Raises ArtifactError for a state that is cut, altered, or of a run with other settings.
    """
    if not path.exists():
        return 0, Watch()
    again = f"delete {path.parent} to start over"
    try:
        with safe_open(path, framework="pt") as state:
            metadata = dict(state.metadata() or {})
            if metadata.get("fingerprint") != fingerprint:
                raise ArtifactError(f"{path} is the state of a run with other settings: {again}")
            tensors = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
        if metadata.pop("sha256", None) != _digest(tensors, metadata):
            raise ArtifactError(
                f"{path} is altered: its digest does not fit what it holds; {again}"
            )
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            moments = {key: tensors[f"optimizer.{key}.{name}"] for key in _MOMENTS}
            optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in moments.items()}
        running, level, high, begun = tensors[_WATCH].tolist()
        return int(metadata["step"]), Watch(running, level, int(high), bool(begun))
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise ArtifactError(f"{path} is not a whole training state ({error}): {again}") from error


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
