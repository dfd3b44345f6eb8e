"""Changing what flows through a transformer on its way: ablation, clamping and patching.

Names of activations are those of `tokkit.model.trace`. Gradients flow through a change. Sources:
Vig et al. 2020 (causal mediation); Meng et al. 2022 (restoring what was corrupted); Zhang and
Nanda 2023 (patching in its forms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tokkit.errors import ConfigError, unknown_choice
from tokkit.model.trace import taps

Change = Callable[[Tensor], Tensor]
"""Takes an activation and gives what shall flow on instead, of the same shape."""

Index = tuple[int | slice | Tensor, ...]


@contextmanager
def intervene(model: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """Let each named activation be what its change makes of it, in every pass of the `with` block.

    A trace inside the block records what flows on after the change. With a ".pattern" changed,
    attention is computed step by step, which may differ from the fused kernel in the last bits.
    Raises ConfigError for an unknown name, and where a change gives another shape.

    with intervene(model, {"blocks.0.feedforward": torch.zeros_like}):
        model(ids)
    """
    known = taps(model)
    for name in changes:
        if name not in known:
            raise ConfigError(unknown_choice("activation", name, known))
    handles = [known[name].register_forward_hook(_hook(name, c)) for name, c in changes.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, slots=True)
class Patch:
    """What the activation `name` of one row of a batch becomes at a place.

    `row` is the batch row, `index` indexes the activation's other axes: (position,) of a
    ".residual" (T, D), (head, position) of ".heads" (H, T, K), (slice(None),) of all of it. `value`
    must fit there, as in an assignment.
    """

    row: int
    name: str
    index: Index
    value: Tensor | float


@contextmanager
def patched(model: nn.Module, patches: Sequence[Patch]) -> Iterator[None]:
    """Set activations of single rows, in every pass of the `with` block.

    So a batch of copies of one text, each with a patch of its own, is one pass: that is how
    tracing and patching are run. Later patches of the same place win. Raises ConfigError for an
    unknown name.
    """
    by_name: dict[str, list[Patch]] = {}
    for patch in patches:
        by_name.setdefault(patch.name, []).append(patch)

    def change(of: Sequence[Patch]) -> Change:
        def apply(values: Tensor) -> Tensor:
            values = values.clone()
            for patch in of:
                values[(patch.row, *patch.index)] = patch.value
            return values

        return apply

    with intervene(model, {name: change(of) for name, of in by_name.items()}):
        yield


def _hook(name: str, change: Change) -> Any:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        changed = change(output)
        if changed.shape != output.shape:
            raise ConfigError(
                f"a change of {name} must keep its shape {tuple(output.shape)}, got "
                f"{tuple(changed.shape)}"
            )
        return changed

    return hook
