"""A function applied to items, each in a forked process that may hang or die without harm.

The driver starts one small Python process, which imports the calculator and forks a *lane* for each
worker; a lane forks a process for each item, watches it and answers with one message (`worker`). So the
driver starts no thread, no `__main__` is run again, a dead process costs one item, and all of them end
when the driver does, however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from al_engine.errors import CalculatorUnavailableError
from al_engine.labeling.base import Computed, Failed, from_json, one_line
from al_engine.labeling.worker import Job
from al_engine.records import FailureReason

Item = TypeVar("Item")

START_LIMIT_S = 300.0
"""For the import of the calculator."""
_START = "import sys; sys.path[:] = {path!r}; from al_engine.labeling.worker import main; main({fds!r})"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def run_isolated(
    function: Callable[[Item], Computed | Failed],
    items: Iterable[Item],
    *,
    n_workers: int,
    time_limit: float,
    preload: tuple[str, ...] = (),
    memory_limit: int | None = None,
) -> Iterator[tuple[Item, Computed | Failed, float]]:
    """Yield (item, result or failure, seconds) for each item as it ends, in any order.

    Args:
        function: What to apply; it is pickled once on its way there, so it must be importable.
        items: Taken one by one, never more than `n_workers` ahead of the results.
        n_workers: Processes at a time.
        time_limit: For each item, s.
        preload: Modules that are imported before any fork.
        memory_limit: For each process, bytes of data.

    Raises:
        CalculatorUnavailableError: A process dies while it imports the function or the modules.
    """
    crew = _Crew(Job(function, time_limit, preload, memory_limit))
    busy: dict[Connection[Any, Any], Item] = {}
    try:
        for item in items:
            busy[crew.send(item, n_workers)] = item
            while busy and len(busy) == n_workers:
                yield from _collect(crew, busy)
        while busy:
            yield from _collect(crew, busy)
    finally:
        crew.close()


def _collect(
    crew: _Crew, busy: dict[Connection[Any, Any], Item]
) -> Iterator[tuple[Item, Computed | Failed, float]]:
    """Wait for at least one lane and yield what the ready ones say."""
    for lane in wait(list(busy)):
        assert isinstance(lane, Connection)  # noqa: S101
        item = busy.pop(lane)
        try:
            outcome, seconds = from_json(lane.recv_bytes())
        except (EOFError, ConnectionError):
            lane.close()
            yield item, Failed(FailureReason.CRASH, "the process that watched the label was killed"), 0.0
            continue
        crew.idle.append(lane)
        yield item, outcome, seconds


class _Crew:
    """The processes of one run: a parent and its lanes, and again where lanes were killed."""

    def __init__(self, job: Job) -> None:
        self.idle: list[Connection[Any, Any]] = []
        self._job = job
        self._parents: list[subprocess.Popen[bytes]] = []
        self._lanes: list[Connection[Any, Any]] = []

    def send(self, item: object, n_workers: int) -> Connection[Any, Any]:
        """Give the item to an idle lane, new ones are started where there is none; return the lane."""
        while True:
            if not self.idle:
                n_alive = sum(not lane.closed for lane in self._lanes)
                self._start(n_workers - n_alive)
            lane = self.idle.pop()
            try:
                lane.send(item)
            except ConnectionError:
                lane.close()
            else:
                return lane

    def close(self) -> None:
        """End every process."""
        for lane in self._lanes:
            lane.close()
        for parent in self._parents:
            try:
                parent.wait(10.0)
            except subprocess.TimeoutExpired:
                os.killpg(parent.pid, signal.SIGKILL)
                parent.wait()

    def _start(self, n_lanes: int) -> None:
        """Start a parent with lanes and wait until they are ready."""
        ours, theirs = zip(*(Pipe() for _ in range(n_lanes)), strict=True)
        fds = [end.fileno() for end in theirs]
        path = [entry or os.getcwd() for entry in sys.path]
        with tempfile.TemporaryFile() as output:
            parent = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _START.format(path=path, fds=fds)],
                env=os.environ | _ONE_THREAD, pass_fds=fds, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            self._parents.append(parent)
            self._lanes.extend(ours)
            for end in theirs:
                end.close()
            try:
                ours[0].send(self._job)
                for lane in ours:
                    if not lane.poll(START_LIMIT_S):
                        raise EOFError("it took too long")
                    lane.recv_bytes()
            except (EOFError, ConnectionError) as error:
                output.seek(0)
                said = one_line(output.read().decode(errors="replace")) or one_line(error)
                raise CalculatorUnavailableError(
                    f"the process that loads the calculator died: {said}"
                ) from None
        self.idle.extend(ours)
