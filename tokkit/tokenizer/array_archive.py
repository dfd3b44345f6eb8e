"""Read arrays from an .npz file of unknown origin: sizes are checked before memory is taken.

`np.load` believes a header of any shape and unpacks any amount; here an array may be no larger than
the bytes that the file really has for it.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 22
_PLAIN_DTYPES = (np.uint8, np.int32, np.int64, np.uint64)
_HAS_A_PASSWORD = 1


def read_arrays(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of these names in an .npz file that `np.savez` wrote, of the plain integer types.

    Raises ValueError, KeyError or zipfile.BadZipFile for a file that is no such archive, lacks an
    array, or is compressed, cut or altered, and OSError where it cannot be read.
    """
    file_bytes = os.stat(path).st_size
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read(archive, f"{name}.npy", file_bytes) for name in names}
    except (RuntimeError, EOFError, OverflowError, struct.error) as error:
        # What zipfile says of later versions, of other kinds of packing and of absurd fields.
        raise ValueError(str(error)) from error


def _read(archive: zipfile.ZipFile, member: str, file_bytes: int) -> NDArray[np.integer[Any]]:
    info = archive.getinfo(member)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _HAS_A_PASSWORD:
        raise ValueError(f"its {member} is packed")
    if info.file_size > file_bytes:
        raise ValueError(f"its {member} is longer than the file")
    with archive.open(info) as file:
        shape, dtype = _header(file, member)
        if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise ValueError(f"its {member} has a shape {shape} that does not fit its bytes")
        array: NDArray[np.integer[Any]] = np.empty(shape, dtype)
        view = array.reshape(-1).view(np.uint8).data
        for start in range(0, len(view), _BLOCK_BYTES):
            block = view[start : start + _BLOCK_BYTES]
            if file.readinto(block) != len(block):  # type: ignore[attr-defined]
                raise ValueError(f"its {member} is cut")
        # Reading on to the end is what compares the checksum.
        file.read(1)
    return array


def _header(file: IO[bytes], member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}[version]
        shape, is_fortran, dtype = read(file)
    except Exception as error:
        # NumPy evaluates the header as a Python literal, which fails in many ways.
        raise ValueError(f"its {member} has no header of an array") from error
    if is_fortran or dtype not in _PLAIN_DTYPES or min(shape, default=0) < 0:
        raise ValueError(f"its {member} is no plain array of whole numbers")
    return shape, dtype
