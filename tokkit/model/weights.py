"""Weights in safetensors files: one file or many, memory-mapped, believed only after a check.

A file is eight bytes of length, a JSON header of so many bytes, and the tensors' bytes one after
another (github.com/huggingface/safetensors, "Format"). Everything that the header says is checked
against the file's size before any of it is used, so that a lie costs an error, not memory.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokkit.errors import ArtifactError
from tokkit.model.strict_json import read_strict_json, shown, strict_json

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED_FILES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth")

LARGEST_HEADER = 1 << 25  # bytes: 200,000 tensors have less; as objects it is ten times as much
LARGEST_COUNT = 1 << 20  # tensors in one file, shards of one model
MOST_AXES = 8
LARGEST_AXIS = 1 << 48

_ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor: its type, its shape, and where its bytes lie in which mapped file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int  # from the start of the file
    end: int
    path: Path
    content: mmap.mmap


class Weights:
    """The tensors of one model by name, wherever they lie; made by `open_weights`.

    A file that is cut while it is open takes the process with it, as with any mapped file.
    """

    def __init__(self, place: Path, entries: Mapping[str, _Entry]) -> None:
        self.place = place
        self._entries = dict(entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor's name, in the order of the files."""
        return tuple(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, outermost axis first."""
        return self._entry(name).shape

    def dtype(self, name: str) -> str:
        """The type as it is stored, in the words of the format: F32, BF16, ..."""
        return self._entry(name).dtype

    def is_float(self, name: str) -> bool:
        """Whether `tensor` can read it: F64, F32, F16 or BF16."""
        return self.dtype(name) in _FLOATS

    def stored(self, name: str) -> Tensor:
        """The tensor in its stored type, over the mapped file: nothing is read before it is used.

        Writing to it changes this process's copy of a page, never the file. Raises ArtifactError
        for a type that is not one of the four plain floats.
        """
        entry = self._entry(name)
        if entry.dtype not in _FLOATS:
            raise ArtifactError(
                f"{entry.path}: tensor {shown(name)} is stored as {entry.dtype}, and weights are "
                f"read from {', '.join(_FLOATS)}: give a model that is not quantised"
            )
        kind = _FLOATS[entry.dtype]
        if entry.begin == entry.end:
            return torch.empty(entry.shape, dtype=kind)
        octets = np.frombuffer(entry.content, np.uint8, entry.end - entry.begin, entry.begin)
        if entry.begin % _ITEM_BYTES[entry.dtype]:
            octets = octets.copy()  # numbers across word boundaries have no view
        return torch.from_numpy(octets).view(kind).reshape(entry.shape)

    def tensor(self, name: str) -> Tensor:
        """The tensor as float32: a view over the file where it is stored so, else converted."""
        return self.stored(name).to(torch.float32)

    def release(self, name: str) -> None:
        """Give back the memory of a tensor's pages, once it has been copied or converted.

        They are read anew if it is asked for again; what was written to a view of it is lost.
        Without this, a model that is converted takes its file's size besides its own.
        """
        entry = self._entry(name)
        first = -(-entry.begin // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages only: others share
        length = entry.end // mmap.PAGESIZE * mmap.PAGESIZE - first
        if length > 0 and hasattr(mmap, "MADV_DONTNEED"):
            entry.content.madvise(mmap.MADV_DONTNEED, first, length)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise ArtifactError(f"{self.place} holds no tensor {shown(name)}: check the name")
        return self._entries[name]


def open_weights(source: str | os.PathLike[str]) -> Weights:
    """Map the weights of a .safetensors file, or of a folder with one or with an index of many.

    As transformers does, a folder's model.safetensors goes before its index. Raises ArtifactError,
    naming the file, for anything that is missing, cut, inconsistent or outside of the folder.
    """
    place = Path(source)
    if not os.path.isdir(place):
        return Weights(place, _read_file(place))
    if os.path.isfile(place / WEIGHTS_FILE):
        return Weights(place, _read_file(place / WEIGHTS_FILE))
    if os.path.isfile(place / INDEX_FILE):
        return Weights(place, _read_shards(place))
    pickled = [name for name in PICKLED_FILES if os.path.exists(place / name)]
    if pickled:
        raise ArtifactError(
            f"{place} holds its weights as {pickled[0]}, a pickle, which could run anything when "
            "opened: get the model's safetensors files, or convert it"
        )
    raise ArtifactError(
        f"{place} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}: give the folder of a model"
    )


def _read_shards(place: Path) -> dict[str, _Entry]:
    """The entries of all shards; the index and the shards must name the same tensors."""
    mapped = _shard_of_tensor(place / INDEX_FILE)
    entries: dict[str, _Entry] = {}
    for shard in dict.fromkeys(mapped.values()):
        if not os.path.isfile(place / shard):
            raise ArtifactError(
                f"{place / INDEX_FILE} names the shard {shown(shard)}, which is not in the "
                "folder: copy the whole folder again"
            )
        for name, entry in _read_file(place / shard).items():
            if name in entries:
                raise ArtifactError(
                    f"tensor {shown(name)} is in two shards, {entries[name].path.name} and "
                    f"{shard}, and may be in one: get the model again"
                )
            if mapped.get(name) != shard:
                raise ArtifactError(
                    f"{place / shard} holds {shown(name)}, which {INDEX_FILE} does not say: "
                    "the files are of different models, get them again"
                )
            entries[name] = entry
    missing = [name for name in mapped if name not in entries]
    if missing:
        raise ArtifactError(
            f"{len(missing)} of the tensors that {place / INDEX_FILE} names are in no shard, "
            f"{shown(missing[0])} first: get the model again"
        )
    return entries


def _shard_of_tensor(index: Path) -> dict[str, str]:
    """Tensor name to file name, from an index whose every file is a plain name in its folder."""
    record = read_strict_json(index, "index of weights")
    mapped = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(mapped, dict) or not mapped:
        raise ArtifactError(f"{index} holds no 'weight_map' from tensors to files: get it again")
    for shard in set(map(str, mapped.values())) if _all_words(mapped) else [mapped]:
        inside = isinstance(shard, str) and not set(shard) & set("/\\:\0")
        if not inside or not str(shard).endswith(".safetensors") or str(shard).startswith("."):
            raise ArtifactError(
                f"{index} must name safetensors files of its own folder, got "
                f"{shown(shard)}: get the index again"
            )
    return mapped


def _all_words(mapped: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in mapped.values())


def _read_file(path: Path) -> dict[str, _Entry]:
    """Map one file and return what its header holds, checked."""
    try:
        if not os.path.isfile(path):
            raise ArtifactError(f"weights {path} are not a file: check the path")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, data_begin = _header(path, file.read(8), size, file.read)
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read weights {path}: {error}; check the file") from error
    if len(content) != size:
        raise ArtifactError(f"{path} changed while it was opened: open it again when it is whole")
    return _entries(path, header, data_begin, content)


def _header(path: Path, length: bytes, size: int, read: Any) -> tuple[dict[str, Any], int]:
    """The header's JSON object, and where in the file the tensors' bytes begin."""
    if len(length) < 8:
        raise ArtifactError(
            f"{path} is no safetensors file: it has {size} bytes, and the header's length alone "
            "takes 8; get it again"
        )
    (count,) = struct.unpack("<Q", length)
    if count < 2 or count > min(size - 8, LARGEST_HEADER):
        raise ArtifactError(
            f"{path} is cut, or no safetensors file: its header must have 2 to "
            f"{max(2, min(size - 8, LARGEST_HEADER))} bytes, and says {count}; get it again"
        )
    header = strict_json(read(count), f"the header of {path}")
    if not isinstance(header, dict):
        raise ArtifactError(f"the header of {path} is not a JSON object: get the file again")
    return header, 8 + count


def _entries(
    path: Path, header: dict[str, Any], data_begin: int, content: mmap.mmap
) -> dict[str, _Entry]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not _all_words(metadata):
        raise _lie(path, "__metadata__", "must map words to words", metadata)
    if len(header) > LARGEST_COUNT:
        raise _lie(path, "the header", f"may hold {LARGEST_COUNT} tensors", len(header))
    data_bytes = len(content) - data_begin
    spans = []
    for name, raw in header.items():
        dtype, shape, (begin, end) = _checked(path, name, raw, data_bytes)
        spans.append((begin, end, name, dtype, shape))
    reached = 0
    for begin, end, name, *_ in sorted(spans, key=lambda span: span[:2]):
        if begin != reached:
            word = "overlaps the one before" if begin < reached else "leaves a hole before"
            raise _lie(path, name, f"must begin at byte {reached}: it {word}", begin)
        reached = end
    if reached != data_bytes:
        raise ArtifactError(
            f"{path} holds {data_bytes} bytes of tensors, but its header speaks of {reached}: it "
            "is cut or has been added to; get it again"
        )
    return {
        name: _Entry(dtype, shape, data_begin + begin, data_begin + end, path, content)
        for begin, end, name, dtype, shape in spans
    }


def _checked(
    path: Path, name: str, raw: Any, data_bytes: int
) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """Type, shape and span of one tensor, as the header gives them, if they can be true."""
    if not isinstance(raw, dict) or set(raw) != {"dtype", "shape", "data_offsets"}:
        raise _lie(path, name, "must have dtype, shape and data_offsets", raw)
    dtype, shape, offsets = raw["dtype"], raw["shape"], raw["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise _lie(path, name, f"must be of a type among {', '.join(_ITEM_BYTES)}", dtype)
    if not _are_counts(shape, LARGEST_AXIS) or len(shape) > MOST_AXES:
        raise _lie(path, name, f"must have a shape of at most {MOST_AXES} sizes", shape)
    if not _are_counts(offsets, data_bytes) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _lie(path, name, f"must begin and end within {data_bytes} bytes", offsets)
    wanted = _ITEM_BYTES[dtype]
    for axis in shape:
        wanted *= axis
    if wanted != offsets[1] - offsets[0]:
        raise _lie(path, name, f"of type {dtype} and shape {shown(shape)} takes {shown(wanted)} "
                               "bytes", offsets[1] - offsets[0])  # fmt: skip
    return dtype, tuple(shape), (offsets[0], offsets[1])


def _are_counts(values: Any, largest: int) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest
        for value in values
    )


def _lie(path: Path, name: str, rule: str, value: object) -> ArtifactError:
    return ArtifactError(
        f"{path} is not a sound safetensors file: {shown(name)} {rule}, got {shown(value)}; "
        "get it again"
    )
