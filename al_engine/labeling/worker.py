"""The other side of `isolation`: what runs in the processes that may die."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from al_engine.labeling.base import Computed, Failed, from_json, one_line, to_json
from al_engine.records import FailureReason

TICK_S = 0.2
GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
OUTPUT_BYTES = 2000
"""Of what a calculator prints, so much of the end is kept for the message of a failure."""


@dataclass(frozen=True)
class Job:
    """What the lanes apply to each item, its limits (s, bytes), and what to import before."""

    function: Callable[[Any], Computed | Failed]
    time_limit: float
    preload: tuple[str, ...]
    memory_limit: int | None = None


def main(fds: list[int]) -> None:
    """Import what the job needs, fork a lane for each connection and wait for them."""
    connections = [Connection(fd) for fd in fds]
    job: Job = connections[0].recv()
    for module in job.preload:
        importlib.import_module(module)
    me = os.getpid()
    for mine in connections:
        if os.fork() == 0:
            _die_with(me)
            for other in connections:
                if other is not mine:
                    other.close()
            _lane(mine, job)
    for connection in connections:
        connection.close()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _lane(driver: Connection[Any, Any], job: Job) -> NoReturn:
    """Serve items until the driver closes its end or dies."""
    _ask_linux(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        driver.send_bytes(b"ready")
        while True:
            driver.send_bytes(to_json(*_run_one(driver, driver.recv(), job)))
    except (EOFError, ConnectionError):
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _run_one(driver: Connection[Any, Any], item: object, job: Job) -> tuple[Computed | Failed, float]:
    """Apply the function; what crashes or hangs is tried once more, as the reason may be the machine."""
    outcome, seconds = _attempt(driver, item, job)
    if not _may_be_the_machine(outcome):
        return outcome, seconds
    second, more = _attempt(driver, item, job)
    if isinstance(second, Failed) and _may_be_the_machine(second):
        second = replace(second, attempts=2)
    return second, seconds + more


def _may_be_the_machine(outcome: Computed | Failed) -> bool:
    reasons = (FailureReason.TIMEOUT, FailureReason.CRASH)
    return isinstance(outcome, Failed) and outcome.reason in reasons


def _attempt(driver: Connection[Any, Any], item: object, job: Job) -> tuple[Computed | Failed, float]:
    """Apply the function in a process of its own; kill it at its time limit, or when the driver is gone."""
    scratch = tempfile.mkdtemp(prefix="al-engine-label-")
    began = time.monotonic()
    child = _Child(job, item, scratch)
    try:
        while not child.done and (left := job.time_limit - (time.monotonic() - began)) > 0:
            child.read(min(left, TICK_S), driver)
        timed_out = not child.done
    finally:
        child.end()
        shutil.rmtree(scratch, ignore_errors=True)
    seconds = time.monotonic() - began
    said = f"; it printed: {one_line(child.output.decode(errors='replace'))}" if child.output else ""
    if timed_out:
        message = f"no result within {job.time_limit:g} s{said}"
        return Failed(FailureReason.TIMEOUT, message), seconds
    if child.exit_code != 0 or not child.payload:
        code = child.exit_code or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
        return Failed(FailureReason.CRASH, f"the process was {how}{said}"), seconds
    try:
        return from_json(child.payload)[0], seconds
    except (ValueError, TypeError) as error:
        message = f"the process wrote no result ({one_line(error)}){said}"
        return Failed(FailureReason.CRASH, message), seconds


class _Child:
    """A forked process in its own process group, with a pipe for its result and one for its output."""

    def __init__(self, job: Job, item: object, scratch: str) -> None:
        self.payload = b""
        self.output = b""
        self.exit_code: int | None = None
        self._result, result = os.pipe()
        self._output, output = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _compute(job, item, parent, (result, output), scratch)
        with contextlib.suppress(OSError):  # the child does the same; who comes first does not matter
            os.setpgid(self._pid, self._pid)
        os.close(result)
        os.close(output)
        os.set_blocking(self._result, False)
        os.set_blocking(self._output, False)
        self._open = {self._result, self._output}

    @property
    def done(self) -> bool:
        """Whether it has ended, or has closed its result."""
        return self._result not in self._open or self._ended()

    def read(self, timeout: float, driver: Connection[Any, Any] | None = None) -> bool:
        """Take in what comes within `timeout` seconds; return whether anything came.

        Raises:
            EOFError: The driver has closed its end.
        """
        ready = wait([*self._open, *([] if driver is None else [driver])], timeout)
        for end in ready:
            if not isinstance(end, int):
                raise EOFError
            chunk = os.read(end, 1 << 16)
            if not chunk:
                self._open.remove(end)
            elif end == self._result:
                self.payload += chunk
            else:
                self.output = (self.output + chunk)[-OUTPUT_BYTES:]
        return bool(ready)

    def end(self) -> None:
        """Kill the process group and whatever else the calculator started, and take in the rest."""
        if self._result in self._open and not self._ended():
            self._signal(signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while not self._ended() and time.monotonic() < until:
            time.sleep(0.0005)
        self._signal(signal.SIGKILL)
        if self.exit_code is None:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        _kill_orphans()
        until = time.monotonic() + GRACE_S
        while self._open and self.read(0.0) and time.monotonic() < until:
            pass
        os.close(self._result)
        os.close(self._output)

    def _ended(self) -> bool:
        """Whether the process has ended; keeps its exit code."""
        if self.exit_code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code is not None

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the group, if it is still there."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)


def _kill_orphans() -> None:
    """Kill what left the process group: on Linux, orphans are children of the lane."""
    until = time.monotonic() + GRACE_S
    with contextlib.suppress(ChildProcessError, FileNotFoundError):  # none; a kernel that does not tell
        while time.monotonic() < until:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                time.sleep(0.001)


def _compute(job: Job, item: object, parent: int, ends: tuple[int, int], scratch: str) -> NoReturn:
    """In the forked process: apply the function, write the result, and leave."""
    os.setpgid(0, 0)
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if job.memory_limit is not None:
        with contextlib.suppress(ValueError, OSError):  # the system allows less
            resource.setrlimit(resource.RLIMIT_DATA, (job.memory_limit, job.memory_limit))
    result, output = ends
    os.dup2(output, 1)
    os.dup2(output, 2)
    tempfile.tempdir = os.environ["TMPDIR"] = scratch
    try:
        try:
            payload = to_json(job.function(item), 0.0)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
            said += " (limit: labeling.memory_limit_gb)" if isinstance(error, MemoryError) else ""
            failed = Failed(FailureReason.EXCEPTION, one_line(said))
            payload = to_json(failed, 0.0)
        with os.fdopen(result, "wb") as stream:
            stream.write(payload)
        os._exit(0)
    finally:
        os._exit(1)


def _die_with(parent: int) -> None:
    """Let Linux kill this process when its parent dies; the parent does so itself if it can."""
    _ask_linux(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _ask_linux(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
