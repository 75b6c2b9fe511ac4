"""How many cores this process may use, and how much memory."""

import contextlib
import os
from pathlib import Path


def n_cores() -> int:
    """Return the number of cores; less than the machine has where a queue or container says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the memory; less than the machine has where a container says so."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no cgroups, or no limit ("max")
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found
