"""Open a source for reading its bytes, unpacked; what goes wrong on the way is told by its name."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from typing import IO, Any, cast

from tokkit.corpus import remote
from tokkit.corpus.inputs import STDIN, Source, missing
from tokkit.corpus.packed import Unpacked
from tokkit.errors import InputError, TokkitError

_BUFFER_BYTES = 1 << 18


class _Measured(io.RawIOBase):
    """A file up to the size that it had when it was opened.

    What is appended meanwhile is not read, so that a log that grows as fast as it is read comes to
    an end, and no half of a later write is taken; a file that gets shorter is told.
    """

    def __init__(self, file: IO[bytes], size: int, name: str) -> None:
        super().__init__()
        self._file = file
        self._size = size
        self._left = size
        self._name = name

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the size allows."""
        if not self._left:
            return 0
        count: int = self._file.readinto(memoryview(buffer)[: self._left])  # type: ignore[attr-defined]
        if not count:
            raise InputError(
                f"{self._name} became shorter while it was read: it had {self._size} bytes, now "
                f"{self._size - self._left}; read it again when it is finished"
            )
        self._left -= count
        return count


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[IO[bytes]]:
    """Open `source` for reading bytes, unpacked, with `read` and `readline`.

    Raises InputError, also while it is read, for a file that is missing, not readable, cut short or
    damaged, and for a URL that cannot be fetched.
    """
    with telling(source), _open_packed(source) as file:
        yield _unpacked(file, source)


@contextlib.contextmanager
def telling(source: Source) -> Iterator[None]:
    """Turn what the operating system or a remote one says about `source` into one InputError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TokkitError | MemoryError):
            raise
        # Behind a URL stands a library of its own, which raises what it likes.
        if remote.is_url(source.path):
            raise remote.failure(source.path, error) from error
        if isinstance(error, FileNotFoundError):
            raise InputError(missing(source.path)) from None
        if not isinstance(error, OSError):
            raise
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"cannot read {source.name}: {reason}; check the file and its rights"
        ) from error


def _unpacked(file: IO[bytes], source: Source) -> IO[bytes]:
    if not source.packing:
        return file
    unpacked = Unpacked(file, source.packing, source.name)
    return cast("IO[bytes]", io.BufferedReader(unpacked, _BUFFER_BYTES))


@contextlib.contextmanager
def _open_packed(source: Source) -> Iterator[IO[bytes]]:
    if source.path == STDIN:
        yield cast("IO[bytes]", sys.stdin.buffer)
        return
    if remote.is_url(source.path):
        with remote.open_url(source.path) as file:
            yield cast("IO[bytes]", io.BufferedReader(cast("Any", file), _BUFFER_BYTES))
        return
    with open(source.path, "rb", buffering=0) as raw:
        described = os.fstat(raw.fileno())
        # The files under /proc have a size of 0 and content all the same.
        if stat.S_ISREG(described.st_mode) and described.st_size:
            measured = _Measured(cast("IO[bytes]", raw), described.st_size, source.name)
            yield cast("IO[bytes]", io.BufferedReader(measured, _BUFFER_BYTES))
        else:
            yield cast("IO[bytes]", io.BufferedReader(raw, _BUFFER_BYTES))
