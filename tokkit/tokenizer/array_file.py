"""A one-dimensional .npy file that is written block by block, its length told at the end."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES = 128


class ArrayFile:
    """Writes arrays one after another as one, which `np.load(..., mmap_mode="r")` reads.

    NumPy's format, version 1.0 (NEP 1), with a header of fixed size. Used in a `with` block;
    `finish` makes it valid and puts it on the disk.
    """

    def __init__(self, path: Path, dtype: np.dtype[np.generic] | str) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.length = 0
        self._file = path.open("wb")
        self._file.write(bytes(_HEADER_BYTES))

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, values: NDArray[np.generic]) -> None:
        """Write further values, which the type must hold."""
        self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def finish(self) -> None:
        """Write the header with the length, and flush all to the disk."""
        descr, shape = repr(self.dtype.str), f"({self.length},)"
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode("ascii")
        magic = b"\x93NUMPY\x01\x00"
        size = _HEADER_BYTES - len(magic) - 2
        header = magic + size.to_bytes(2, "little") + text.ljust(size - 1) + b"\n"
        assert len(header) == _HEADER_BYTES
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())
