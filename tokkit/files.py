"""Files that appear under their final name only when they are whole.

Everything is written beside its destination under a temporary name, flushed to the disk, and
renamed. A process that is killed, or a disk that is full, leaves the old content in place; a
killed one can leave a temporary file or folder too, whose name begins with ".tokkit-".
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import math
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokkit.errors import ArtifactError, OutputError

_CHUNK_BYTES = 1 << 20
_MAX_JSON_BYTES = 1 << 28
_TEMPORARY_PREFIX = ".tokkit-"
_NO_FLUSH_HERE = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def _as_output_error(path: Path, workplace: Path | None = None) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into one OutputError.

    An error that names a file outside `workplace`, where the writing is done, is about something
    that was read, and passes as it is; so does a reader of our output that has gone.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if workplace is not None and not _is_about(error, workplace):
            raise
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path}: {reason.lower()}; choose another place with --out"
        ) from error


def _is_about(error: OSError, workplace: Path) -> bool:
    if not isinstance(error.filename, str | bytes):
        # A failed write to an open file has no name but a number; a bad gzip header has neither.
        return error.errno is not None
    named = Path(os.path.abspath(os.fsdecode(error.filename)))
    return named.is_relative_to(os.path.abspath(workplace))


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it and rename it to `path`.

    Parent folders are made; a symbolic link is followed. On any exception the temporary file is
    removed and `path` is left as it was. Raises OutputError when the place cannot be written.
    """
    if Path(path).is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
    if Path(path).exists() and not Path(path).is_file():
        # Renaming onto /dev/null would put a plain file in its place.
        raise OutputError(f"cannot write {path}: it is a device or pipe; give the name of a file")
    target = Path(os.path.realpath(path))
    temporary = _temporary_name(target)
    with _as_output_error(Path(path)):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    try:
        with _as_output_error(Path(path), workplace=temporary):
            yield temporary
            _flush(temporary)
        with _as_output_error(Path(path)):
            os.replace(temporary, target)
            _flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success rename it to `path`, whole.

    A folder already standing there is replaced, in one step on Linux; elsewhere the two renames
    leave an instant without either. It is not replaced where it holds something that the new one
    does not: that may be anything. Raises OutputError then, and when the place cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise OutputError(f"cannot write {path}: it is a file; give the name of a folder")
    temporary = _temporary_name(target)
    with _as_output_error(Path(path)):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    try:
        with _as_output_error(Path(path), workplace=temporary):
            yield temporary
            for entry in temporary.rglob("*"):
                if not entry.is_symlink():
                    _flush(entry)
            _flush(temporary)
        with _as_output_error(Path(path)):
            _swap_in(temporary, target)
            _flush(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_name(target: Path) -> Path:
    """A fresh name beside `target`: made by plain open or mkdir, it gets the usual permissions."""
    return target.parent / f"{_TEMPORARY_PREFIX}{uuid.uuid4().hex}"


def _swap_in(temporary: Path, target: Path) -> None:
    if not target.exists():
        os.replace(temporary, target)
        return
    kept = {entry.name for entry in temporary.iterdir()}
    for entry in sorted(target.iterdir()):
        if entry.name not in kept and not entry.name.startswith(_TEMPORARY_PREFIX):
            raise OutputError(
                f"cannot replace {target}: it holds {entry.name!r}, which would be lost; "
                "choose an empty folder or move it away"
            )
    if _exchange(temporary, target):
        return
    aside = _temporary_name(target)
    os.replace(target, aside)
    try:
        os.replace(temporary, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, where the system can: Linux's renameat2."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _flush(path: Path) -> None:
    """Force the content of a file, or the names in a folder, onto the disk."""
    on_windows = os.name == "nt"
    if on_windows and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems have no flush for folders; for a file it must succeed.
        if path.is_file() or error.errno not in _NO_FLUSH_HERE:
            raise
    finally:
        os.close(handle)


def ensure_folder(path: str | os.PathLike[str]) -> Path:
    """Make the folder `path`, parents included, and prove that it can be written to.

    Raises OutputError when it cannot: better before an hour of work than after.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise OutputError(f"cannot write {target}: it is a file; give the name of a folder")
    with _as_output_error(target):
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    return target


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically, newlines as given."""
    _write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write strict JSON, two-space indent, atomically.

    Half a surrogate pair, as in a file name that is not UTF-8, is written as a JSON escape.
    Raises ArtifactError when `value` holds a NaN or an infinity.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except ValueError as error:
        raise ArtifactError(
            f"{path} cannot hold a NaN, an infinity or a loop ({error}); "
            "write null for what could not be computed"
        ) from error
    _write_bytes(path, (text + "\n").encode("utf-8", "backslashreplace"))


def _write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def read_json(path: str | os.PathLike[str], *, what: str = "file") -> Any:
    """Read strict UTF-8 JSON; raise ArtifactError naming `what` and the place of the fault."""
    source = Path(path)
    try:
        size = plain_size(source)
        if size > _MAX_JSON_BYTES:
            raise ArtifactError(
                f"{what} {source} may have {_MAX_JSON_BYTES} bytes at most, but has {size}: "
                "check that it is the right file"
            )
        text = source.read_bytes().decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
    except FileNotFoundError:
        raise ArtifactError(f"{what} {source} does not exist: check the path") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ArtifactError(f"cannot read {what} {source}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what} {source} is not valid JSON: {error}; make it again") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return value


def plain_size(path: str | os.PathLike[str]) -> int:
    """Bytes of a file before it is read whole; OSError for a pipe or device, which has no end."""
    found = os.stat(path)
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
        raise OSError(errno.EINVAL, "it is a device or pipe, not a file", str(path))
    return found.st_size


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()
