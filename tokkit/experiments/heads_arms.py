"""The models of the heads experiment: heads free, forced to be slices, sparse, and grouped.

All are transformers of one config but for what their names say; parameters of one name and shape
start from the same values, seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tokkit.errors import ConfigError
from tokkit.experiments.heads_reading import MAPS
from tokkit.experiments.text_arms import Arm, WindowText, measure_held_out

if TYPE_CHECKING:
    from torch import Tensor

    from tokkit.model.config import ModelConfig
    from tokkit.model.transformer import Transformer

FREE = "free"
SLICES, SLICES_WIDE, SCATTERED = "slices", "slices-wide", "scattered"
MASKED = {SLICES: "slices", SLICES_WIDE: "slices", SCATTERED: "scattered"}
"""The arms whose heads read few weights, and where these lie."""


@dataclass(frozen=True, slots=True)
class Design:
    """One arm: its config, and in words what it is."""

    config: ModelConfig
    what: str


def designs(base: ModelConfig) -> dict[str, Design]:
    """Every arm by name; `base` has a key-value head for each query head (ConfigError)."""
    check_sliceable(base)
    heads = base.query_heads
    found = {
        FREE: Design(base, "every head reads the whole stream; a key-value head for each"),
        SLICES: Design(base, f"head h reads coordinates {base.head_width} h to "
                             f"{base.head_width} (h + 1) - 1 alone"),
        SLICES_WIDE: Design(
            with_hidden_for(base, len(MAPS) * (base.width - base.head_width) * base.width),
            "as slices; the weights lost are given back to the feed-forward layers",
        ),
        SCATTERED: Design(base, "as few weights as slices, each row's at random places"),
    }  # fmt: skip
    for kept in kept_heads(heads)[1:]:
        of = replace(base, key_value_heads=kept)
        shared = "1 key-value head" if kept == 1 else f"{kept} key-value heads"
        found[grouped_name(kept)] = Design(of, f"{heads} query heads share {shared}")
    lost = 2 * (heads - 1) * base.head_width * base.width
    found[WIDE_SINGLE] = Design(
        replace(with_hidden_for(base, lost), key_value_heads=1),
        "one key-value head; the weights lost are given back to the feed-forward layers",
    )
    return found


WIDE_SINGLE = "kv-1-wide"


def kept_heads(heads: int) -> list[int]:
    """Numbers of key-value heads from all to one, by halves where they divide: 8, 4, 2, 1."""
    found = [heads]
    while found[-1] % 2 == 0:
        found.append(found[-1] // 2)
    return found if found[-1] == 1 else [*found, 1]


def grouped_name(kept: int) -> str:
    """What the arm with as many key-value heads is called."""
    return f"kv-{kept}"


def with_hidden_for(base: ModelConfig, parameters: int) -> ModelConfig:
    """The config with its feed-forward layers wider by about as many parameters a layer."""
    a_unit = (3 if base.gated else 2) * base.width
    return replace(base, hidden_width=base.hidden_width + round(parameters / a_unit))


def check_sliceable(config: ModelConfig) -> None:
    """Raise ConfigError where the stream cannot be cut into a slice a head."""
    whole = config.query_heads * config.head_width == config.width
    if not whole or config.key_value_heads != config.query_heads:
        raise ConfigError(
            "slices need query_heads x head_width = width and as many key-value heads, got "
            f"{config.query_heads} x {config.head_width}, width {config.width} and "
            f"{config.key_value_heads} key-value heads"
        )


# Masks ------------------------------------------------------------------------------------------


def slice_mask(config: ModelConfig) -> Tensor:
    """1 where head h reads its slice of the stream, else 0: (H K, D), block-diagonal."""
    import torch

    check_sliceable(config)
    ones = torch.ones(config.head_width, config.head_width)
    return torch.kron(torch.eye(config.query_heads), ones)


def scattered_mask(config: ModelConfig, seed: int, name: str) -> Tensor:
    """As many ones a row as in `slice_mask`, at random columns, drawn from seed and name."""
    import torch

    from tokkit.model.transformer import seeded_generator

    check_sliceable(config)
    generator = seeded_generator(seed, f"mask of {name}")
    order = torch.rand(config.width, config.width, generator=generator).argsort(dim=1)
    mask = torch.zeros(config.width, config.width)
    return mask.scatter_(1, order[:, : config.head_width], 1.0)


def masks_of(model: Transformer, where: str, seed: int) -> dict[str, Tensor]:
    """The mask of each query, key and value weight, by the parameter's name."""
    named = [
        f"blocks.{layer}.attention.{name}.weight"
        for layer in range(model.config.layers)
        for name in MAPS
    ]
    if where == "slices":
        return {name: slice_mask(model.config) for name in named}
    return {name: scattered_mask(model.config, seed, name) for name in named}


def keep_to(model: Transformer, masks: Mapping[str, Tensor]) -> None:
    """Set weights outside of their masks to 0, and their gradients, so that training leaves them.

    The weights left are made larger, so that what a row gives starts with the spread of a full
    row's: the house's 1 / sqrt(inputs), of the inputs that it has.
    """
    import torch

    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameter = parameters[name]
        with torch.no_grad():
            parameter.mul_(mask * (mask.shape[1] / mask[0].sum()).sqrt())
        parameter.register_hook(_masking(mask))  # type: ignore[no-untyped-call]


def _masking(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * mask


def build(arm: Arm, seed: int) -> Transformer:
    """The arm's model as it starts."""
    from tokkit.model.transformer import Transformer

    model = Transformer(arm.config, seed=seed)
    if arm.name in MASKED:
        keep_to(model, masks_of(model, MASKED[arm.name], seed))
    return model


# Measuring --------------------------------------------------------------------------------------


def measure(model: Transformer, asked: WindowText) -> dict[str, Any]:
    """Nats and bytes of the held-out windows, weights that are 0, and the bytes of a cache.

    "outside_mask" counts the weights of queries, keys and values that are exactly 0.
    """
    parameters = dict(model.named_parameters())
    zero = sum(
        int((parameters[f"blocks.{layer}.attention.{name}.weight"] == 0).sum())
        for layer in range(model.config.layers)
        for name in MAPS
    )
    return {
        **measure_held_out(model, asked),
        "parameters": sum(parameter.numel() for parameter in parameters.values()),
        "zero_weights": zero,
        "cache_tokens": asked.length,
        "cache_bytes": running_cache_bytes(model, asked.text.windows[0, : asked.length].tolist()),
    }


def running_cache_bytes(model: Transformer, ids: list[int]) -> int:
    """Bytes of keys and values that a model holds once it has read a text, in its own tensors."""
    import torch

    from tokkit.model.cache import Cache

    cache = Cache(model.config, 1, len(ids))
    with torch.no_grad():
        model(torch.tensor([ids]), cache=cache)
    held = 0
    for layer in cache.layers:
        for tensor in (layer.keys, layer.values):
            filled = tensor[:, :, : min(layer.length, tensor.shape[2])]
            held += filled.numel() * filled.element_size()
    return held


def removed_weights(config: ModelConfig) -> int:
    """Weights of queries, keys and values that a mask takes out of a model."""
    return config.layers * len(MAPS) * (config.width - config.head_width) * config.width
