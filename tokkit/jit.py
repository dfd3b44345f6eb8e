"""Compiled kernels: one decorator, and whether a kernel has still to be compiled.

numba compiles a kernel at its first call and keeps the machine code on the disk, beside the source
or, where that cannot be written, in the user's cache. Only modules named *_kernels.py import this
one: numba costs half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

kernel: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(cache=True, nogil=True)
"""Compile a function for arrays, without the interpreter's lock; the machine code is kept."""


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
