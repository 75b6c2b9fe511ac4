"""Locks between the processes of one user on one machine; the kernel takes them back, however one dies."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from al_engine.errors import InputError

log = logging.getLogger("al_engine.campaign")


def home(part: str) -> Path:
    """Return a folder of this program's own, made if missing, in $AL_ENGINE_HOME or ~/.al_engine."""
    folder = Path(os.environ.get("AL_ENGINE_HOME") or Path.home() / ".al_engine") / part
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"AL_ENGINE_HOME = {str(folder.parent)!r}: it must be a writable folder ({error.strerror})"
        ) from None
    return folder.resolve()


@contextmanager
def locked(path: Path, kind: int, waiting: str = "") -> Iterator[None]:
    """Hold a lock; while another process has it, say what is waited for and wait."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                log.info("%s", waiting)
            fcntl.flock(file, kind)
        yield


@contextmanager
def only_training(device: str) -> Iterator[None]:
    """Hold the device, or the cores that this process may use: one training at a time is the fastest.

    Args:
        device: As resolved: cpu or cuda, the first that CUDA_VISIBLE_DEVICES lets this process see.
    """
    if device == "cpu":
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        part = f"{cores[0]}-{cores[-1]}" if cores else "all"
    else:
        part = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    file = home("locks") / f"{socket.gethostname()}-{device}-{part}".replace("/", "_")
    with locked(file, fcntl.LOCK_EX, f"another campaign trains on this {device}; waiting until it is done"):
        yield
