"""The keys and values of the tokens so far, kept so that a step need not work them out again."""

from __future__ import annotations

import torch
from torch import Tensor

from tokkit.errors import InputError
from tokkit.model.config import ModelConfig


class LayerCache:
    """The keys and values of one layer, (B, G, slots, K), and the column that each slot holds.

    A sliding layer has as many slots as its window and uses them in turn.
    """

    def __init__(
        self, config: ModelConfig, layer: int, shape: tuple[int, int], dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:  # fmt: skip
        batch, capacity = shape
        self.slides = config.is_sliding(layer)
        slots = min(config.window, capacity) if self.slides else capacity
        full = (batch, config.key_value_heads, slots, config.head_width)
        self.keys = torch.empty(full, dtype=dtype, device=device)
        self.values = torch.empty(full, dtype=dtype, device=device)
        self.columns = torch.full((slots,), -1, dtype=torch.long, device=device)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Add the keys and values, (B, G, T, K), of the next T columns.

        Returns all keys, values and their column numbers that the new columns may look at: for a
        sliding layer what the window held before, and the new ones.
        """
        start, end = self.length, self.length + keys.shape[2]
        slots = len(self.columns)
        self.length = end
        if end <= slots:
            self._write(slice(start, end), slice(None), keys, values, start)
            return self.keys[:, :, :end], self.values[:, :, :end], self.columns[:end]
        if end - start == 1:
            slot = start % slots
            self._write(slice(slot, slot + 1), slice(None), keys, values, start)
            return self.keys, self.values, self.columns
        held = self.columns[: min(start, slots)]
        arrived = torch.arange(start, end, device=held.device)
        seen = (
            torch.cat((self.keys[:, :, : len(held)], keys.to(self.keys.dtype)), dim=2),
            torch.cat((self.values[:, :, : len(held)], values.to(self.values.dtype)), dim=2),
            torch.cat((held, arrived)),
        )
        last = arrived[-slots:]
        where = last % slots
        fresh = slice(len(arrived) - len(last), None)
        self.keys[:, :, where] = keys[:, :, fresh].to(self.keys.dtype)
        self.values[:, :, where] = values[:, :, fresh].to(self.values.dtype)
        self.columns[where] = last
        return seen

    def _write(self, slots: slice, of_new: slice, keys: Tensor, values: Tensor, first: int) -> None:
        self.keys[:, :, slots] = keys[:, :, of_new]
        self.values[:, :, slots] = values[:, :, of_new]
        count = slots.stop - slots.start
        self.columns[slots] = torch.arange(first, first + count, device=self.columns.device)


class Cache:
    """The keys and values of every layer for a batch of texts that grow together."""

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Allocate room for `capacity` columns of `batch` texts (sliding layers: the window's).

        Raises InputError when the capacity is not within the model's context.
        """
        if not 1 <= capacity <= config.context:
            raise InputError(
                f"a cache must hold 1 to {config.context} tokens, the model's context, got "
                f"{capacity}: shorten the text"
            )
        self.capacity = capacity
        self.padding: Tensor | None = None  # (B,) columns at the left that are no text
        shape = (batch, capacity)
        self.layers = [
            LayerCache(config, layer, shape, dtype, device) for layer in range(config.layers)
        ]

    @property
    def length(self) -> int:
        """How many columns it holds, or has held in a sliding layer."""
        return self.layers[-1].length

    @property
    def batch(self) -> int:
        """How many texts it holds."""
        return len(self.layers[0].keys)

    @property
    def bytes(self) -> int:
        """Bytes allocated for keys and values."""
        return sum(t.numel() * t.element_size() for x in self.layers for t in (x.keys, x.values))

    def select(self, rows: Tensor) -> None:
        """Keep these rows, (n,) int64, in this order."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        if self.padding is not None:
            self.padding = self.padding[rows]
