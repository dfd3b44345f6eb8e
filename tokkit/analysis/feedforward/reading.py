"""One pass over text: what excites each unit, and where each token is routed.

Memory holds one batch of activations at a time, and of each unit a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.feedforward.running_top import RunningTop
from tokkit.analysis.windows import Windows
from tokkit.errors import ArtifactError
from tokkit.model.feedforward import FeedForward, Mixture, activate
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

Told = Callable[[str, str, int, int], None]
TOP = 8  # exciting places kept of each unit
SKIPPED = 4  # tokens at the start of a window, which see too little, and first of all the sink
_BATCH_NUMBERS = 1 << 24  # activations held at once, 64 MB


@dataclass(frozen=True, slots=True)
class LayerReading:
    """What a layer's M units did over the text.

    places      (M, k) row * T + position of the tokens with the largest |hidden|, strongest first
    hidden      (M, k) signed activations there; gate and up the two parts there, gate after its
                nonlinearity (None where there is none: up is then what the nonlinearity takes)
    mean_abs    (M,) mean |hidden|; rms, gate_rms, up_rms likewise root mean squares
    """

    layer: int
    places: NDArray[np.int64]
    hidden: NDArray[np.float32]
    gate: NDArray[np.float32] | None
    up: NDArray[np.float32]
    mean_abs: NDArray[np.float64]
    rms: NDArray[np.float64]
    gate_rms: NDArray[np.float64] | None
    up_rms: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reading:
    """`routed` maps a layer of experts to the experts of each token, (tokens, k), best first.

    `shares` (E,) of each such layer is the mean share that the router gives, `sharpness` the mean
    entropy of one token's shares in nats. `counted` (tokens,) are the places of `routed`.
    """

    layers: tuple[LayerReading, ...]
    routed: dict[int, NDArray[np.int64]]
    shares: dict[int, NDArray[np.float64]]
    sharpness: dict[int, float]
    counted: NDArray[np.int64]


def dense_layers(model: Transformer) -> tuple[int, ...]:
    """The layers with units of their own: all but mixtures."""
    return tuple(n for n, b in enumerate(model.blocks) if isinstance(b.feedforward, FeedForward))


def mixture_layers(model: Transformer) -> tuple[int, ...]:
    """The layers that are mixtures of experts."""
    return tuple(n for n, b in enumerate(model.blocks) if isinstance(b.feedforward, Mixture))


class _Sums:
    """Sums over places that means and root mean squares come from."""

    def __init__(self) -> None:
        self.top = RunningTop(TOP)
        self.of: dict[str, Tensor] = {}
        self.count = 0

    def update(self, parts: dict[str, Tensor], places: Tensor) -> None:
        hidden = parts["hidden"]
        self.top.update(hidden, places, {n: v for n, v in parts.items() if n != "hidden"})
        self.count += len(hidden)
        new = {name: value.double().square().sum(0) for name, value in parts.items()}
        new["abs"] = hidden.double().abs().sum(0)
        self.of = {name: value + self.of.get(name, 0) for name, value in new.items()}

    def finished(self, layer: int) -> LayerReading:
        rms = {name: (total / self.count).sqrt().numpy() for name, total in self.of.items()}
        kept = {name: value.float().numpy() for name, value in self.top.kept.items()}
        return LayerReading(
            layer, self.top.places.numpy(), kept["hidden"], kept.get("gate"), kept["up"],
            (self.of["abs"] / self.count).numpy(), rms["hidden"], rms.get("gate"), rms["up"],
        )  # fmt: skip


@torch.no_grad()
def read(model: Transformer, windows: Windows, told: Told) -> Reading:
    """Run the windows through the model once.

    Raises ArtifactError where what is unembedded, or the unembedding, is not finite.
    """
    _check_finite("the unembedding", model.unembedding_matrix)
    dense, mixtures = dense_layers(model), mixture_layers(model)
    sums = {layer: _Sums() for layer in dense}
    routed: dict[int, list[Tensor]] = {layer: [] for layer in mixtures}
    shares: dict[int, list[Tensor]] = {layer: [] for layer in mixtures}
    ids, given = torch.from_numpy(windows.with_start()), len(windows.start_ids)
    skipped = min(SKIPPED, windows.length - 1)
    counted = np.arange(windows.ids.size).reshape(windows.ids.shape)[:, skipped:]
    rows = batch_rows(model, ids.shape[1])
    for first in range(0, len(ids), rows):
        batch = ids[first : first + rows]
        places = torch.from_numpy(counted[first : first + rows].reshape(-1).copy())
        with trace(model, _names(model)) as seen:
            final = model.hidden(batch)
        _check_finite("what is unembedded", final)
        for layer in dense:
            sums[layer].update(_parts(model, layer, seen, given + skipped), places)
        for layer in mixtures:
            of = seen[f"blocks.{layer}.feedforward.router"].view(*batch.shape, -1)
            of = of[:, given + skipped :].flatten(0, 1)
            shares[layer].append(of)
            routed[layer].append(of.topk(model.config.experts_per_token, dim=-1).indices)
        told("reading", "windows", first + len(batch), len(ids))
    whole = {layer: torch.cat(parts).double() for layer, parts in shares.items()}
    return Reading(
        tuple(sums[layer].finished(layer) for layer in dense),
        {layer: torch.cat(parts).numpy() for layer, parts in routed.items()},
        {layer: of.mean(0).numpy() for layer, of in whole.items()},
        {layer: float(torch.special.entr(of).sum(-1).mean()) for layer, of in whole.items()},
        counted.reshape(-1),
    )


def _check_finite(what: str, values: Tensor) -> None:
    if not values.isfinite().all():
        raise ArtifactError(f"{what} must be finite, got NaN or infinity: the weights are damaged")


def batch_rows(model: Transformer, length: int) -> int:
    """How many rows of `length` tokens go through at once."""
    config = model.config
    units = 3 * config.layers * max(config.hidden_width, config.experts)
    return max(1, _BATCH_NUMBERS // (units * length))


def _names(model: Transformer) -> list[str]:
    parts = ("gate", "up", "hidden") if model.config.gated else ("up", "hidden")
    names = [f"blocks.{n}.feedforward.{part}" for n in dense_layers(model) for part in parts]
    return names + [f"blocks.{n}.feedforward.router" for n in mixture_layers(model)]


def _parts(
    model: Transformer, layer: int, seen: dict[str, Tensor], skipped: int
) -> dict[str, Tensor]:
    """The parts of a layer's hidden at the places that count: each (n, M)."""
    found = {
        part: seen[name][:, skipped:].flatten(0, 1)
        for part in ("hidden", "up", "gate")
        if (name := f"blocks.{layer}.feedforward.{part}") in seen
    }
    if "gate" in found:
        found["gate"] = activate(found["gate"], model.config.feedforward)
    return found
