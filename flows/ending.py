"""How a run ends before its time: with one line that says what failed, or cancelled by a person."""

import contextvars
import logging
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import CancelledRun, TerminationSignal
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Failed

from al_engine.errors import AlEngineError

POLL_EVERY_S = 2.0
PATIENCE_S = 8.0
"""How long a run may take to end before it is told again."""
_KEPT = "Cancelled; what was done is kept. Run it again to go on."


class CancelledError(KeyboardInterrupt):
    """A person cancelled the run; it ends as by Ctrl-C, and goes on when it is started again."""


def ending(work: Callable[[], State[Any]]) -> State[Any]:
    """Return the state that `work` ends in; a broken promise and a cancellation are states, too."""
    logging.getLogger("al_engine").setLevel(logging.INFO)  # what the science says is the log of the run
    try:
        with cancellable():
            return work()
    except AlEngineError as error:
        return Failed(message=" ".join(str(error).split()), data=error)
    except (CancelledError, CancelledRun):
        return Cancelled(message=_KEPT)
    except TerminationSignal:  # a worker cancels in this way; others just end the process
        if _is_cancelled(UUID(flow_run.get_id())):
            return Cancelled(message=_KEPT)
        raise


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise CancelledError in here when this flow run is cancelled, though nobody tells its process.

    A worker tells the runs that it started. The others ask, in a thread; the main thread hears it by a
    signal, which wakes it also where it waits for a label. What a signal raises is lost where Python happens
    to collect garbage: a signal that did not end the run, of a person or of the thread, is sent again.
    """
    main = threading.current_thread()
    if main is not threading.main_thread() or deployment.get_id() is not None:
        yield
        return
    over, sending, run = threading.Event(), threading.Lock(), UUID(flow_run.get_id())
    heard, sent = socket.socketpair()

    def hear(*_: object) -> None:
        if not over.is_set():
            raise CancelledError

    def watch() -> None:
        while not over.is_set():
            if select.select([heard], [], [], POLL_EVERY_S)[0]:
                number = (heard.recv(1) or b"\0")[0]
                over.wait(PATIENCE_S)
            elif _is_cancelled(run):
                number = signal.SIGUSR1
            else:
                continue
            with sending:
                if not over.is_set() and number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
                    signal.pthread_kill(main.ident or 0, number)

    sent.setblocking(False)
    before = signal.signal(signal.SIGUSR1, hear), signal.set_wakeup_fd(sent.fileno())
    watcher = threading.Thread(target=contextvars.copy_context().run, args=(watch,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        with sending:
            signal.signal(signal.SIGUSR1, before[0])
            signal.set_wakeup_fd(before[1])
        sent.close()  # the thread hears that, too, and ends


def _is_cancelled(run: UUID) -> bool:
    """Whether a person has cancelled this run; not, where the server is away."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
    except Exception:  # the run goes on without its server
        return False
    return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)
