"""Parts of a pass: the residual stream up to a layer, and what becomes of it from there on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from tokkit.errors import ConfigError
from tokkit.model.feedforward import FeedForward
from tokkit.model.layout import Layout
from tokkit.model.transformer import Transformer


def stream_before(model: Transformer, ids: Tensor, layer: int) -> Tensor:
    """The residual stream (B, T, D) that enters `layer`, of ids (B, T)."""
    layout = Layout(model.config, ids.shape[1], ids.device)
    stream: Tensor = model.tap_embedding(model.embed(ids, layout))
    for block in model.blocks[:layer]:
        stream = block(stream, None, layout)
    return stream


def hidden_after(model: Transformer, stream: Tensor, layer: int) -> Tensor:
    """What is unembedded, (B, T, D), of a residual stream that enters `layer`."""
    layout = Layout(model.config, stream.shape[1], stream.device)
    for block in model.blocks[layer:]:
        stream = block(stream, None, layout)
    return normed(model, stream)


def normed(model: Transformer, stream: Tensor) -> Tensor:
    """The stream after the last layer as it is unembedded, (..., D)."""
    final: Tensor = stream if model.final_norm is None else model.final_norm(stream)
    return final


def feedforward_of(model: Transformer, layer: int) -> FeedForward:
    """The dense feed-forward of a layer; ConfigError where there is no such layer, or a mixture."""
    layers = model.config.layers
    if not 0 <= layer < layers:
        raise ConfigError(f"the layer must lie in 0..{layers - 1}, got {layer}: choose one of them")
    found = model.blocks[layer].feedforward
    if not isinstance(found, FeedForward):
        dense = editable_layers(model)
        way = f"choose a dense layer, as {dense[0]}" if dense else "this model has no dense layer"
        raise ConfigError(
            f"layer {layer} is a mixture of experts, and a fact is written into one matrix: {way}"
        )
    return found


def editable_layers(model: Transformer) -> tuple[int, ...]:
    """The layers that a fact can be written into: their feed-forward is dense, one matrix.

    Without the last one: no later token looks at what it adds at the subject.
    """
    blocks = enumerate(model.blocks[:-1])
    return tuple(at for at, block in blocks if isinstance(block.feedforward, FeedForward))


def check_layer(model: Transformer, layer: int) -> None:
    """Raise ConfigError where a fact cannot be written into this layer."""
    feedforward_of(model, layer)
    if layer == model.config.layers - 1:
        raise ConfigError(
            f"layer {layer} is the last, no later token looks at what it adds at the subject: "
            "choose one before it"
        )


@contextmanager
def frozen(model: Transformer) -> Iterator[None]:
    """No gradient reaches the weights inside the block; afterwards they are as they were."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def right_padded(texts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Texts as one (B, T) int64; the causal mask hides what is put after the shorter ones."""
    longest = max(len(ids) for ids in texts)
    rows = [[*ids, *[0] * (longest - len(ids))] for ids in texts]
    return torch.tensor(rows, device=device)
