"""Models from GGUF files, dequantised to float32 while they are read.

Each parameter is filled in place, a stretch of its rows after the other, so that a model takes
little more than its own weights; the file is read, not mapped, and its bytes do not stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.errors import ArtifactError
from tokkit.model.checkpoint import empty_model, load_weights
from tokkit.model.config import ModelConfig
from tokkit.model.gguf.file import GgufFile, GgufTensor, read_gguf
from tokkit.model.gguf.names import ROPE_FACTORS, Source, left_over, source_of
from tokkit.model.gguf.settings import architecture_of, config_from_gguf
from tokkit.model.strict_json import shown
from tokkit.model.transformer import Transformer

_CHUNK_NUMBERS = 1 << 17  # dequantised at a time: half a megabyte, which caches hold
_SHOWN_FAULTS = 8


def load_gguf(source: str | os.PathLike[str] | GgufFile) -> Transformer:
    """The model of a GGUF file, float32 and in evaluation mode.

    Raises ArtifactError for a file that `read_gguf` refuses, an architecture or setting that
    tokkit lacks, and tensors that are missing, left over or of the wrong shape, which are listed.
    """
    file = source if isinstance(source, GgufFile) else read_gguf(source)
    try:
        with open(file.path, "rb", buffering=0) as content:
            config = _config(file, content)
            sources = _sources(file, config)
            return load_weights(config, lambda name: _parameter(file, content, sources[name]))
    except OSError as error:
        raise ArtifactError(f"cannot read model {file.path}: {error}; check the file") from error


def config_of_gguf(file: GgufFile) -> ModelConfig:
    """The settings of a file's model; ArtifactError for what tokkit cannot express."""
    with open(file.path, "rb", buffering=0) as content:
        return _config(file, content)


def read_tensor(file: GgufFile, name: str) -> NDArray[np.float32]:
    """One tensor, dequantised to float32."""
    if name not in file.tensors:
        raise ArtifactError(f"{file.path} holds no tensor {shown(name)}: check the name")
    tensor = file.tensors[name]
    with open(file.path, "rb", buffering=0) as content:
        return _dequantised(file.path, content, tensor, 0, tensor.count).reshape(tensor.shape)


def _config(file: GgufFile, content: FileIO) -> ModelConfig:
    factors = file.tensors.get(ROPE_FACTORS)
    numbers = None
    if factors is not None:
        numbers = _dequantised(file.path, content, factors, 0, factors.count)
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    try:
        return config_from_gguf(file.metadata, shapes, numbers)
    except ArtifactError as error:
        raise ArtifactError(f"cannot use {file.path}: {error}") from error


def _sources(file: GgufFile, config: ModelConfig) -> Mapping[str, tuple[Source, tuple[int, ...]]]:
    """Where each parameter lies and what shape it has, once all tensors are accounted for."""
    if config.layers > len(file.tensors):
        raise ArtifactError(
            f"{file.path} holds {len(file.tensors)} tensors, too few for {config.layers} layers: "
            "get the model again"
        )
    architecture = architecture_of(file.metadata)
    wanted = {
        name: tuple(tensor.shape) for name, tensor in empty_model(config).state_dict().items()
    }
    sources = {name: source_of(config, architecture, name) for name in wanted}
    faults, used = [], set()
    for name, source in sources.items():
        used.add(source.name)
        found = file.tensors.get(source.name)
        shape = source.shape_in_file(wanted[name])
        # One row may be stored as a vector: the gate of Qwen's shared expert is.
        if found is None:
            faults.append(f"{source.name} is missing")
        elif found.shape != shape and (1, *found.shape) != shape:
            faults.append(f"{source.name} is {found.shape}, not {shape}")
    faults += [f"{shown(name)} is left over" for name in left_over(file.tensors, used)]
    if faults:
        listed = "; ".join(list(dict.fromkeys(faults))[:_SHOWN_FAULTS])
        more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        raise ArtifactError(
            f"the tensors of {file.path} do not fit its metadata: {listed}{more}; get the model "
            "again"
        )
    return {name: (source, wanted[name]) for name, source in sources.items()}


def _parameter(file: GgufFile, content: FileIO, place: tuple[Source, tuple[int, ...]]) -> Tensor:
    source, shape = place
    tensor = file.tensors[source.name]
    count = tensor.count // source.parts
    values = _dequantised(file.path, content, tensor, source.part * count, count)
    if source.heads:
        values = _pairs_apart(values.reshape(shape), source.heads)
    return torch.from_numpy(values.reshape(shape))


def _pairs_apart(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows (first, second, first, second, ...) of each head as all first, then all second ones."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2))


def _dequantised(
    path: Path, content: FileIO, tensor: GgufTensor, first: int, count: int
) -> NDArray[np.float32]:
    """`count` numbers of a tensor from number `first` on, both whole blocks: (count,) float32."""
    kind = tensor.type
    values = np.empty(count, np.float32)
    content.seek(tensor.offset + first // kind.block_size * kind.block_bytes)
    if kind.name == "F32":
        _fill(path, content, values)
        return values
    blocks = values.reshape(-1, kind.block_size)
    step = max(1, _CHUNK_NUMBERS // kind.block_size)
    buffer = np.empty(min(step, len(blocks)), kind.structure)
    for begin in range(0, len(blocks), step):
        chunk = buffer[: len(blocks) - begin]
        _fill(path, content, chunk)
        with np.errstate(all="ignore"):  # an infinite scale is the file's own
            kind.decode(chunk, blocks[begin : begin + step])
    return values


def _fill(path: Path, content: FileIO, buffer: NDArray[Any]) -> None:
    """Read as many bytes as the buffer has; one call of the system may give fewer."""
    view = buffer.view(np.uint8).reshape(-1).data
    done = 0
    while done < len(view):
        got = content.readinto(view[done:])
        if not got:
            raise ArtifactError(f"{path} was cut while it was read: get it again")
        done += got
