"""Looking at what flows through a transformer, without changing anything in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from tokkit.errors import ConfigError, unknown_choice
from tokkit.model.layers import Tap


def activation_names(model: nn.Module) -> tuple[str, ...]:
    """The names that `trace` knows for this model, in the order of the way of the data.

    "embedding", "blocks.0.attention.query" (B, H, T, K), ".key" and ".value" (B, G, T, K),
    ".pattern" (B, H, T, T), ".heads" (B, H, T, K), "blocks.0.attention" (what it adds to the
    residual stream), "blocks.0.feedforward.gate" (of gated kinds) and ".up", both before the
    nonlinearity, and ".hidden", what they make (B, T, M; of a mixture ".router" (B T, E), the
    experts' shares, and ".shared.gate", ... of the expert that all tokens share),
    "blocks.0.feedforward",
    "blocks.0.residual" (B, T, D), "final" (what is unembedded).
    """
    return tuple(taps(model))


@contextmanager
def trace(model: nn.Module, names: Iterable[str] | None = None) -> Iterator[dict[str, Tensor]]:
    """Record activations of every forward pass inside the `with` block.

    Yields a dictionary, name to tensor (detached; the last pass wins). `names` None records all.
    Weights, gradients and outputs stay as they are; with a ".pattern" watched, attention is
    computed step by step, which may differ from the fused kernel in the last bits.
    Raises ConfigError for an unknown name.

    with trace(model, ["blocks.0.attention.pattern"]) as activations:
        model(ids)
    """
    known = taps(model)
    wanted = list(known) if names is None else list(names)
    for name in wanted:
        if name not in known:
            raise ConfigError(unknown_choice("activation", name, known))
    activations: dict[str, Tensor] = {}

    def recorder(name: str) -> object:
        def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            activations[name] = output.detach()

        return record

    handles = [known[name].register_forward_hook(recorder(name)) for name in wanted]  # type: ignore[arg-type]
    try:
        yield activations
    finally:
        for handle in handles:
            handle.remove()


def taps(model: nn.Module) -> dict[str, Tap]:
    """The places behind the names; raises ConfigError for a model that has none."""
    found = {
        name.replace("tap_", ""): module
        for name, module in model.named_modules()
        if isinstance(module, Tap)
    }
    if not found:
        raise ConfigError("this model has no named activations: give a tokkit Transformer")
    return found
