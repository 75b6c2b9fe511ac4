"""How many cores this process may use."""

import os


def n_cores() -> int:
    """Return the number of cores; less than the machine has where a queue or container says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
