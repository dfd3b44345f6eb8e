"""Compiled kernels: one decorator, and whether a kernel has still to be compiled.

numba compiles a kernel at its first call and keeps the machine code on the disk, beside the source
or, where that cannot be written, in the user's cache. Only modules named *_kernels.py import this
one: numba costs half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba

_SOURCES = ("*_kernels.py", "*_rules.py", "unicode_classes.*")


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for arrays, without the interpreter's lock; the machine code is kept."""
    return _compiled(function, fastmath=False)


def summing_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel whose sums may be reordered, to run in the processor's wide registers.

    Infinities and NaN keep their meaning.
    """
    return _compiled(function, fastmath={"reassoc", "nsz", "contract"})


def _compiled(function: Callable[..., Any], *, fastmath: bool | set[str]) -> Callable[..., Any]:
    options = {"cache": True, "nogil": True, "fastmath": fastmath}
    compiled: Callable[..., Any] = numba.njit(**options)(function)
    stored: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(stored, "_source_stamp"):
        # numba looks at a kernel's own file only, and would keep the code of kernels and constants
        # that it takes from other files as they were when it was compiled.
        stored._source_stamp = (stored._source_stamp, _sources_stamp())
    return compiled


@lru_cache(maxsize=1)
def _sources_stamp() -> tuple[tuple[str, int, int], ...]:
    """The name, size and time of change of every file that kernels are made of."""
    root = Path(__file__).parent
    found = sorted(path for pattern in _SOURCES for path in root.rglob(pattern))
    stats = [(str(path.relative_to(root)), path.stat()) for path in found]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def is_cold(*kernels: Callable[..., Any]) -> bool:
    """Whether any of these kernels has no machine code yet, in this process or on the disk."""
    return any(
        not function.signatures and not _stored(function)  # type: ignore[attr-defined]
        for function in kernels
    )


def _stored(function: Callable[..., Any]) -> bool:
    cache = getattr(function, "_cache", None)
    folder = getattr(cache, "cache_path", None)
    name = f"*.{getattr(function, '__name__', '')}-*.nbi"
    return folder is not None and any(Path(folder).glob(name))
