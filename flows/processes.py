"""Names of processes, and whether one is gone."""

import os
import socket


def this_process() -> str:
    """Return the name of this process: host and number."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_dead(process: str) -> bool:
    """Whether a process of this machine is gone; of one on another machine nobody knows.

    An earlier process with our number is: whoever asks has not begun.
    """
    host, _, pid = process.rpartition(":")
    if host != socket.gethostname() or process == this_process():
        return process == this_process()
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
