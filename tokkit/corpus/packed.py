"""Unpack .gz, .bz2, .xz and .zst as a stream: many members, bounded memory, no silent end.

The readers of the standard library take what follows the first bzip2 or xz stream for padding when
it does not parse, and zstandard's takes a cut frame for a whole one. Here a stream either is whole
to its last byte or is told.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

from tokkit.errors import InputError

_KINDS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstandard"}
_OUTPUT_BYTES = 1 << 18
_INPUT_BYTES = 1 << 16
# zstandard unpacks all it is given: a byte can stand for 32 KB.
_ZSTD_INPUT_BYTES = 1 << 12
_XZ_MEMORY_BYTES = 1 << 30


class _Zlib:
    """zlib's decompressor with the interface of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, size: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, size)


class _Zstandard:
    """zstandard's decompressor with the interface of the other two."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard

        self._inner = zstandard.ZstdDecompressor().decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, _size: int) -> bytes:
        import zstandard

        try:
            return bytes(self._inner.decompress(data))
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": _Zlib,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES),
    ".zst": _Zstandard,
}


class Unpacked(io.RawIOBase):
    """The unpacked bytes of a packed file; InputError when its stream is cut short or damaged."""

    def __init__(self, file: IO[bytes], packing: str, name: str) -> None:
        super().__init__()
        self._file = file
        self._packing = packing
        self._name = name
        self._input_bytes = _ZSTD_INPUT_BYTES if packing == ".zst" else _INPUT_BYTES
        self._stream: Any = None
        self._may_pad = False
        self._packed = b""
        self._text = memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as is at hand; 0 only at the end of the last whole stream."""
        while not self._text:
            if not self._advance():
                return 0
        size = min(len(buffer), len(self._text))
        buffer[:size] = self._text[:size]
        self._text = self._text[size:]
        return size

    def _advance(self) -> bool:
        """Unpack a little more; False at the end of the file."""
        if self._stream is None and not self._start():
            return False
        if self._stream.needs_input and not self._packed:
            self._packed = self._file.read(self._input_bytes)
            if not self._packed:
                raise InputError(
                    f"{self._name} is cut short: its {_KINDS[self._packing]} stream has no end; "
                    f"copy it again"
                )
        self._unpack()
        return True

    def _start(self) -> bool:
        """Begin the next stream; False when none follows."""
        while True:
            self._packed = self._packed or self._file.read(self._input_bytes)
            if not self._packed:
                return False
            if self._may_pad:
                # Zeros may stand between streams and after the last, as on a tape.
                self._packed = self._packed.lstrip(b"\0")
            if self._packed:
                self._stream = _DECOMPRESSORS[self._packing]()
                return True

    def _unpack(self) -> None:
        given = self._packed if self._stream.needs_input else b""
        self._packed = self._packed[len(given) :]
        try:
            self._text = memoryview(self._stream.decompress(given, _OUTPUT_BYTES))
        except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InputError(
                f"{self._name} is not a whole {_KINDS[self._packing]} file ({error}); copy it again"
            ) from error
        if self._stream.eof:
            self._packed = self._stream.unused_data + self._packed
            self._stream = None
            self._may_pad = self._packing in (".gz", ".xz")
