"""Writing safetensors files, a tensor at a time, split into shards where they grow large."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokkit.errors import ConfigError
from tokkit.files import write_json
from tokkit.model.weights import INDEX_FILE, WEIGHTS_FILE

Shapes = Mapping[str, tuple[int, ...]]
ITEM_BYTES = 4  # all are written as F32
_ALIGNMENT = 64  # bytes, of a line of cache: what is mapped is then read as fast as what is copied


def write_weights(
    folder: Path, shapes: Shapes, tensor_of: Callable[[str], Tensor], *, max_shard_bytes: int
) -> None:
    """Write float32 tensors of these names and shapes into `folder`, which is there already.

    One model.safetensors, or shards of at most `max_shard_bytes` of tensors (a larger tensor has
    one of its own) and their index. `tensor_of` is asked once a name, in order, and one answer is
    held at a time. Raises ConfigError for a limit below 1; errors of writing pass as OSError.
    """
    if max_shard_bytes < 1:
        raise ConfigError(f"max_shard_bytes must be 1 or more, got {max_shard_bytes}")
    shards = _shards(shapes, max_shard_bytes)
    if len(shards) == 1:
        _write_file(folder / WEIGHTS_FILE, {name: shapes[name] for name in shards[0]}, tensor_of)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file_name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_file(folder / file_name, {name: shapes[name] for name in names}, tensor_of)
        weight_map |= dict.fromkeys(names, file_name)
    total = sum(_size(shape) for shape in shapes.values())
    write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(shapes: Shapes, limit: int) -> list[list[str]]:
    """The names in order, a new shard begun where the next tensor would go over the limit."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, shape in shapes.items():
        if shards[-1] and held + _size(shape) > limit:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += _size(shape)
    return shards


def _size(shape: Sequence[int]) -> int:
    count = ITEM_BYTES
    for axis in shape:
        count *= axis
    return count


def _write_file(path: Path, shapes: Shapes, tensor_of: Callable[[str], Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for it
    reached = 0
    for name, shape in shapes.items():
        span = [reached, reached := reached + _size(shape)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": span}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)  # so that every number lies on a word boundary
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            tensor = tensor_of(name).detach().to("cpu", torch.float32).contiguous()
            assert tuple(tensor.shape) == tuple(shape), (name, tensor.shape, shape)
            file.write(tensor.numpy().astype("<f4", copy=False).data)
