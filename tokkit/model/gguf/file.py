"""What a GGUF file says of itself: its metadata, and where each tensor lies.

A file is a magic number, counts, key-value pairs, one record a tensor, and the tensors' bytes, each
at a multiple of an alignment (github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3). Whatever
it claims is checked against the bytes that are left before anything is made of it, so that a lie
costs an error, not memory.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tokkit.errors import ArtifactError
from tokkit.model.gguf.types import TYPES, BlockType, type_name
from tokkit.model.strict_json import shown

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ARRAY, STRING, BOOL = 9, 8, 7
LARGEST_HEADER = 1 << 27  # bytes; the largest vocabularies in use take some 20 MB
LARGEST_ARRAY = 1 << 24  # values: as many tokens as a tokenizer may have
MOST_PAIRS = 1 << 16
MOST_TENSORS = 1 << 20
MOST_AXES = 4  # of the format
LONGEST_NAME = 1 << 16  # bytes, of a key by the format
_LEAST_PAIR, _LEAST_TENSOR = 14, 33  # bytes: a key or name of one letter, one value, one axis
_USUAL_ALIGNMENT = 32
_LENGTH = struct.Struct("<Q")
_SCALARS = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", BOOL: "?",
    10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: its shape, outermost axis first, its type, and its place in the file."""

    name: str
    shape: tuple[int, ...]
    type: BlockType
    offset: int  # bytes from the start of the file

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes it takes in the file."""
        return self.count // self.type.block_size * self.type.block_bytes


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A file's metadata (numeric arrays as numpy arrays, texts as lists) and its tensors."""

    path: Path
    version: int
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]


def is_gguf(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a GGUF file does, in either order of bytes."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (MAGIC, MAGIC[::-1])
    except OSError:
        return False


def read_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Read and check the header of a GGUF file of version 2 or 3; no tensor is read.

    Raises ArtifactError, naming the file, the rule and what was found, for anything that is cut,
    inconsistent, out of proportion, or of a type that tokkit does not have.
    """
    place = Path(path)
    try:
        if not place.is_file():
            raise ArtifactError(f"model {place} is not a file: give the path of a .gguf file")
        if place.stat().st_size < 24:
            raise ArtifactError(
                f"{place} is no GGUF file: it has {place.stat().st_size} bytes, and the beginning "
                "alone takes 24; get it again"
            )
        with (
            open(place, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _Reader(place, content).read()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read model {place}: {error}; check the file") from error


class _Reader:
    """Walks through the header once: `at` is the next byte, `end` the first out of reach."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path, self.content, self.at = path, content, 0
        self.size = len(content)
        self.end = min(self.size, LARGEST_HEADER)

    def read(self) -> GgufFile:
        version = self._version()
        tensor_count, pair_count = self._number("<u8"), self._number("<u8")
        self._check_count("tensors", tensor_count, MOST_TENSORS, _LEAST_TENSOR)
        self._check_count("keys", pair_count, MOST_PAIRS, _LEAST_PAIR)
        metadata = self._pairs(pair_count)
        records = [self._record() for _ in range(tensor_count)]
        alignment = self._alignment(metadata)
        data_begin = -(-self.at // alignment) * alignment
        tensors = [self._placed(*record, data_begin, alignment) for record in records]
        return GgufFile(self.path, version, metadata, self._checked(tensors))

    def fault(self, rule: str, value: object) -> ArtifactError:
        got = value if isinstance(value, int) and not value >> 64 else shown(value)
        return ArtifactError(
            f"{self.path} is not a sound GGUF file: {rule}, got {got}; get it again"
        )

    def _version(self) -> int:
        magic = self._take(4, "the magic number")
        version = self._number("<u4")
        if magic == MAGIC[::-1] or (magic == MAGIC and version and version & 0xFFFF == 0):
            raise ArtifactError(
                f"{self.path} is a GGUF file for big-endian machines, and tokkit reads "
                "little-endian ones: get the usual file"
            )
        if magic != MAGIC:
            raise ArtifactError(
                f"{self.path} is no GGUF file: it must begin with {MAGIC!r}, got "
                f"{shown(magic)}; check that it is the right file"
            )
        if version not in VERSIONS:
            raise ArtifactError(
                f"{self.path} is of GGUF version {version}, and tokkit reads versions "
                f"{' and '.join(map(str, VERSIONS))}: convert the model again"
            )
        return version

    def _check_count(self, what: str, count: int, most: int, least_bytes: int) -> None:
        room = min(most, (self.end - self.at) // least_bytes)
        if count > room:
            raise self.fault(f"it may hold {room} {what} in what is left of its bytes", count)

    def _take(self, count: int, what: str) -> bytes:
        """The next `count` bytes, which may be anything up to 2^64 - 1."""
        if count > self.end - self.at:
            left = self.end - self.at
            raise self.fault(f"{what} at byte {self.at} must fit into the {left} bytes left", count)
        begin, self.at = self.at, self.at + count
        return self.content[begin : self.at]

    def _number(self, kind: str) -> int:
        number = np.dtype(kind)
        return int(np.frombuffer(self._take(number.itemsize, "a number"), number)[0])

    def _text(self, what: str, longest: int = LARGEST_HEADER) -> str:
        length = self._number("<u8")
        if length > longest:
            raise self.fault(f"{what} at byte {self.at} may have {longest} bytes", length)
        data = self._take(length, what)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault(f"{what} at byte {self.at - length} must be UTF-8", data) from None

    def _pairs(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._text("a key", LONGEST_NAME)
            if key in found:
                raise self.fault("a key may be given once", key)
            found[key] = self._value(key, self._number("<u4"))
        return found

    def _value(self, key: str, kind: int) -> Any:
        if kind == STRING:
            return self._text(f"the text of {shown(key)}")
        if kind == ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            raise self.fault(f"the type of {shown(key)} must lie in 0..12", kind)
        number = np.dtype(_SCALARS[kind])
        data = self._take(number.itemsize, f"the value of {shown(key)}")
        self._check_bools(key, kind, data)
        return np.frombuffer(data, number)[0].item()

    def _array(self, key: str) -> Any:
        kind, count = self._number("<u4"), self._number("<u8")
        if kind == ARRAY:
            raise self.fault(f"{shown(key)} may be an array of numbers or texts", "arrays in it")
        if kind != STRING and kind not in _SCALARS:
            raise self.fault(f"the type of the values of {shown(key)} must lie in 0..12", kind)
        each = 8 if kind == STRING else np.dtype(_SCALARS[kind]).itemsize
        self._check_count(f"values of {shown(key)}", count, LARGEST_ARRAY, each)
        if kind == STRING:
            return self._texts(key, count)
        data = self._take(count * each, f"the values of {shown(key)}")
        self._check_bools(key, kind, data)
        return np.frombuffer(data, np.dtype(_SCALARS[kind]))

    def _check_bools(self, key: str, kind: int, data: bytes) -> None:
        if kind == BOOL and max(data, default=0) > 1:
            raise self.fault(f"truth values of {shown(key)} must be 0 or 1", max(data))

    def _texts(self, key: str, count: int) -> list[str]:
        """Tens of thousands of tokens and merges: the loop that reading a header spends time in."""
        content, at, end, length_at = self.content, self.at, self.end, _LENGTH.unpack_from
        texts: list[str] = []
        try:
            for _ in range(count):
                begin = at + 8
                at = begin + length_at(content, at)[0]
                if at > end:
                    raise self.fault(
                        f"text {len(texts)} of {shown(key)} must fit into the {end - begin} bytes "
                        "left", at - begin
                    )  # fmt: skip
                texts.append(content[begin:at].decode("utf-8"))
        except struct.error:
            raise self.fault(f"{shown(key)} must have {count} texts", len(texts)) from None
        except UnicodeDecodeError:
            rule = f"text {len(texts)} of {shown(key)} must be UTF-8"
            raise self.fault(rule, content[begin:at]) from None
        self.at = at
        return texts

    def _record(self) -> tuple[str, tuple[int, ...], BlockType, int]:
        """Name, shape, type and offset of one tensor, as they are told."""
        name = self._text("a tensor's name", LONGEST_NAME)
        axes = self._number("<u4")
        if not 1 <= axes <= MOST_AXES:
            raise self.fault(f"tensor {shown(name)} must have 1 to {MOST_AXES} axes", axes)
        shape = tuple(self._number("<u8") for _ in range(axes))[::-1]  # innermost first in the file
        kind, offset = self._number("<u4"), self._number("<u8")
        if kind not in TYPES:
            raise ArtifactError(
                f"{self.path}: tensor {shown(name)} is stored as {type_name(kind)}, and tokkit "
                f"reads {', '.join(known.name for known in TYPES.values())}: get the model in one "
                "of those"
            )
        return name, shape, TYPES[kind], offset

    def _alignment(self, metadata: Mapping[str, Any]) -> int:
        alignment = metadata.get("general.alignment", _USUAL_ALIGNMENT)
        is_power = isinstance(alignment, int) and alignment > 0 and not alignment & (alignment - 1)
        if not is_power or not 8 <= alignment <= 1 << 16:
            raise self.fault("general.alignment must be a power of 2 in 8..65536", alignment)
        return int(alignment)

    def _placed(
        self, name: str, shape: tuple[int, ...], kind: BlockType, offset: int, begin: int, step: int
    ) -> GgufTensor:
        tensor = GgufTensor(name, shape, kind, begin + offset)
        if min(shape) < 1 or tensor.count > self.size * kind.block_size:
            raise self.fault(f"the sizes of tensor {shown(name)} must fit into the file", shape)
        if shape[-1] % kind.block_size:
            rule = f"rows of tensor {shown(name)}, {kind.name}, are multiples of {kind.block_size}"
            raise self.fault(rule, shape[-1])
        if offset % step:
            raise self.fault(f"tensor {shown(name)} must begin at a multiple of {step}", offset)
        if tensor.offset + tensor.bytes > self.size:
            raise self.fault(
                f"tensor {shown(name)} must end within the file's {self.size} bytes (it is cut, or "
                "lies)", tensor.offset + tensor.bytes
            )  # fmt: skip
        return tensor

    def _checked(self, tensors: list[GgufTensor]) -> dict[str, GgufTensor]:
        """The tensors by name; none twice, and none on another's bytes."""
        found: dict[str, GgufTensor] = {}
        for tensor in tensors:
            if tensor.name in found:
                raise self.fault("a tensor's name may be given once", tensor.name)
            found[tensor.name] = tensor
        reached = 0
        for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
            if tensor.offset < reached:
                rule = f"tensor {shown(tensor.name)} overlaps another and must begin at {reached}"
                raise self.fault(rule, tensor.offset)
            reached = tensor.offset + tensor.bytes
        return found
