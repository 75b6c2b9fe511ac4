"""How a run ends before its time: with one line that says what failed, or cancelled by a person."""

import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import CancelledRun
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Failed

from al_engine.errors import AlEngineError

POLL_EVERY_S = 2.0
PATIENCE_S = 15.0
"""How long a run may take to end before it is told again."""


class CancelledError(KeyboardInterrupt):
    """A person cancelled the run; it ends as by Ctrl-C, and goes on when it is started again."""


def ending(work: Callable[[], State[Any]]) -> State[Any]:
    """Return the state that `work` ends in; a broken promise and a cancellation are states, too."""
    try:
        with cancellable():
            return work()
    except AlEngineError as error:
        return Failed(message=" ".join(str(error).split()), data=error)
    except (CancelledError, CancelledRun):
        return Cancelled(message="Cancelled; everything done so far is kept. Run it again to go on.")


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise CancelledError in here when this flow run is cancelled, though nobody tells its process.

    A worker tells the runs that it started. The others ask, in a thread; the main thread hears it by a
    signal, which wakes it also where it waits for a label.
    """
    can_hear = threading.current_thread() is threading.main_thread()
    if not can_hear or deployment.get_id() is not None:
        yield
        return
    over, sending = threading.Event(), threading.Lock()

    def hear(*_: object) -> None:
        if not over.is_set():
            raise CancelledError

    def watch(run: UUID) -> None:
        while not over.wait(POLL_EVERY_S):
            if not _is_cancelled(run):
                continue
            with sending:
                if not over.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            over.wait(PATIENCE_S)

    before = signal.signal(signal.SIGUSR1, hear)
    context = contextvars.copy_context()
    run = UUID(flow_run.get_id())
    threading.Thread(target=context.run, args=(watch, run), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with sending:
            signal.signal(signal.SIGUSR1, before)


def _is_cancelled(run: UUID) -> bool:
    """Whether a person has cancelled this run; not, where the server is away."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
    except Exception:  # the run goes on without its server
        return False
    return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)
