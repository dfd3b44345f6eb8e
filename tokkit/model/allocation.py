"""Keep the memory that a training step frees, for the next one."""

from __future__ import annotations

import contextlib
import ctypes
from functools import lru_cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3), glibc
_KEPT_BYTES = 1 << 30


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Have the C library keep up to a gigabyte of freed memory, from now on, in this process.

    glibc gives freed memory above some megabytes back to the system, which hands it out anew, page
    by page and zeroed: of a step that frees its activations each time, up to a third. A system
    without glibc is left as it is.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
