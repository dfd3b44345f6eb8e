"""One token more of a single text in a small model, on the CPU, by compiled kernels.

In such a model even the calls into torch outweigh the arithmetic. `Stepper` does the same for all
other batches, and is the oracle with `Transformer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.model.cache import Cache
from tokkit.model.feedforward import FeedForward
from tokkit.model.layers import Linear, Norm
from tokkit.model.positions import sinusoidal_table
from tokkit.model.stepping import can_step
from tokkit.model.transformer import Block, Transformer

LARGEST_MODEL = 1 << 25  # parameters: beyond, a step waits for memory, and torch has more threads
_KINDS = {"swiglu": 0, "geglu": 1, "gelu": 1, "relu": 2}

Floats = NDArray[np.float32]
_Linear = tuple[Floats, Floats]
_Norm = tuple[Floats, float]


def can_step_rows(model: Transformer, rows: int) -> bool:
    """Whether `RowStepper` knows the model's settings, and it is small enough to gain by it."""
    embedding = model.embedding
    return (
        rows == 1
        and embedding.device.type == "cpu"
        and embedding.dtype == torch.float32
        and model.config.norm == "rmsnorm"
        and can_step(model)
        and sum(parameter.numel() for parameter in model.parameters()) <= LARGEST_MODEL
    )


@dataclass(slots=True)
class _Layer:
    """A block's parameters, and its keys and values, (G, slots, K), as arrays."""

    norms: dict[str, _Norm]
    maps: dict[str, _Linear]
    angles: tuple[Floats, Floats] | None  # (capacity, R/2)
    keys: Floats
    values: Floats


class RowStepper:
    """Reads one more token of the one row of a cache, whose tensors it writes from then on."""

    def __init__(self, model: Transformer, cache: Cache) -> None:
        from tokkit.model import stepping_kernels

        self._kernels: Any = stepping_kernels
        self._model, config = model, model.config
        self._config = config
        self._column, self._capacity = cache.length, cache.capacity
        blocks = [block for block in model.blocks if isinstance(block, Block)]
        self._layers = [_layer(b, cache, n) for n, b in enumerate(blocks)]
        self._embedding = _array(model.embedding)
        self._unembedding = _array(model.unembedding_matrix), np.empty(0, np.float32)
        self._final = None if model.final_norm is None else _norm(model.final_norm)
        table: Tensor | None = model.position_embedding
        if config.positions == "sinusoidal":
            table = sinusoidal_table(self._capacity, config.width)
        self._table = None if table is None else _array(table)
        width, heads = config.width, config.head_width
        self._x, self._normed, self._added = (np.empty((1, width), np.float32) for _ in range(3))
        self._query, self._mixed = (
            np.empty((config.query_heads, heads), np.float32) for _ in range(2)
        )
        self._key, self._value = (
            np.empty((config.key_value_heads, heads), np.float32) for _ in range(2)
        )
        self._gate, self._hidden = (np.empty(config.hidden_width, np.float32) for _ in range(2))
        self._scores = np.empty(self._capacity, np.float32)

    def select(self, rows: Tensor) -> None:
        """Keep the one row."""

    def __call__(self, ids: Tensor) -> Tensor:
        """The logits (1, V) after one more token, (1,) int64."""
        x = self._x
        x[0] = self._embedding[int(ids[0])]
        if self._config.embedding_scale != 1:
            x *= np.float32(self._config.embedding_scale)
        if self._table is not None:
            x[0] += self._table[self._column]
        for layer in self._layers:
            self._attend(layer)
            self._feed_forward(layer)
        self._column += 1
        if self._final is not None:
            self._kernels.rms_norm(x, *self._final, self._normed)
            x = self._normed
        logits = torch.empty(1, self._config.vocab_size)
        self._kernels.multiply(self._unembedding[0], x[0], self._unembedding[1], logits.numpy()[0])
        if cap := self._config.logit_softcap:
            logits = cap * (logits / cap).tanh()
        return logits

    def _multiply(self, layer: _Layer, name: str, x: Floats, out: Floats) -> None:
        weight, bias = layer.maps[name]
        self._kernels.multiply(weight, x, bias, out)

    def _attend(self, layer: _Layer) -> None:
        """Add one layer's attention to the stream."""
        kernels, norms = self._kernels, layer.norms
        kernels.rms_norm(self._x, *norms["attention_norm"], self._normed)
        normed = self._normed[0]
        self._multiply(layer, "query", normed, self._query.reshape(-1))
        self._multiply(layer, "key", normed, self._key.reshape(-1))
        self._multiply(layer, "value", normed, self._value.reshape(-1))
        if "query_norm" in norms:
            kernels.rms_norm(self._query, *norms["query_norm"], self._query)
            kernels.rms_norm(self._key, *norms["key_norm"], self._key)
        if layer.angles is not None:
            cosines, sines = layer.angles[0][self._column], layer.angles[1][self._column]
            kernels.turn(self._query, cosines, sines)
            kernels.turn(self._key, cosines, sines)
        slots = layer.keys.shape[1]
        slot, held = self._column % slots, min(self._column + 1, slots)
        layer.keys[:, slot] = self._key
        layer.values[:, slot] = self._value
        kernels.attend(
            self._query, layer.keys, layer.values, held, self._config.score_scale,
            self._scores, self._mixed,
        )  # fmt: skip
        self._multiply(layer, "output", self._mixed.reshape(-1), self._added[0])
        if "attention_post_norm" in norms:
            kernels.rms_norm(self._added, *norms["attention_post_norm"], self._added)
        self._x += self._added

    def _feed_forward(self, layer: _Layer) -> None:
        """Add one layer's feed-forward to the stream."""
        kernels, norms = self._kernels, layer.norms
        kernels.rms_norm(self._x, *norms["feedforward_norm"], self._normed)
        kind = _KINDS[self._config.feedforward]
        self._multiply(layer, "up", self._normed[0], self._hidden)
        if "gate" in layer.maps:
            self._multiply(layer, "gate", self._normed[0], self._gate)
            kernels.activate(self._gate, kind)
            self._hidden *= self._gate
        else:
            kernels.activate(self._hidden, kind)
        self._multiply(layer, "down", self._hidden, self._added[0])
        if "feedforward_post_norm" in norms:
            kernels.rms_norm(self._added, *norms["feedforward_post_norm"], self._added)
        self._x += self._added


def _layer(block: Block, cache: Cache, number: int) -> _Layer:
    attention, feedforward, kept = block.attention, block.feedforward, cache.layers[number]
    assert isinstance(feedforward, FeedForward), "mixtures go the way of Transformer"
    norms = {
        "attention_norm": block.attention_norm,
        "attention_post_norm": block.attention_post_norm,
        "feedforward_norm": block.feedforward_norm,
        "feedforward_post_norm": block.feedforward_post_norm,
        "query_norm": attention.query_norm,
        "key_norm": attention.key_norm,
    }
    maps = {
        "query": attention.query,
        "key": attention.key,
        "value": attention.value,
        "output": attention.output,
        "gate": feedforward.gate,
        "up": feedforward.up,
        "down": feedforward.down,
    }
    angles = None
    if attention.tables is not None:
        cosines, sines = attention.tables.upto(cache.capacity, torch.device("cpu"))
        angles = _array(cosines), _array(sines)
    return _Layer(
        norms={name: _norm(norm) for name, norm in norms.items() if norm is not None},
        maps={name: _map(linear) for name, linear in maps.items() if linear is not None},
        angles=angles,
        keys=_array(kept.keys[0]),
        values=_array(kept.values[0]),
    )


def _array(tensor: Tensor) -> Floats:
    """The same memory as an array; a copy only where rows are not contiguous."""
    array: Floats = tensor.detach().contiguous().numpy()
    return array


def _norm(norm: Norm) -> _Norm:
    weight = 1 + norm.weight if norm.offset else norm.weight
    return _array(weight), norm.epsilon


def _map(linear: Linear) -> _Linear:
    bias = np.empty(0, np.float32) if linear.bias is None else _array(linear.bias)
    return _array(linear.weight), bias
