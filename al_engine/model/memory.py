"""The memory of a force call is kept for the next one."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of the parameters in glibc's malloc.h."""


@cache
def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of giving it back to the system; elsewhere do nothing.

    A force call allocates and frees hundreds of large arrays. Given back each time, their pages must be
    mapped and zeroed anew, which took a fourth of the time of small batches and half of that of large ones.
    """
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 2**31 - 1)
        libc.mallopt(_TRIM_THRESHOLD, -1)
