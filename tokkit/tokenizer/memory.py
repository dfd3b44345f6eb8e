"""Stop with advice before memory runs out."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from tokkit.errors import InputError

_LARGE_BYTES = 1 << 28
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """The memory left to this process, by its machine and its container; None where unknown."""
    found = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(found) if found else None


def require_memory(wanted_bytes: int, *, what: str) -> None:
    """Raise InputError when an array of so many bytes would not fit; small ones are not checked."""
    if wanted_bytes < _LARGE_BYTES:
        return
    available = available_bytes()
    if available is not None and wanted_bytes > available:
        raise InputError(
            f"{what} need {wanted_bytes / 2**30:.1f} GiB more memory, but {available / 2**30:.1f} "
            f"GiB are left; count parts of the text apart and add up their tables without the rare "
            f"pretokens (--min-count), or choose a pre-tokenizer that cuts more"
        )


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, where the C library would keep it (glibc).

    Threads that work on many arrays leave each its own store of freed memory behind: some 160 MB
    after a gigabyte of text, which what follows could not use.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _of_container() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        return None if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return None
