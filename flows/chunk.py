"""What a worker elsewhere does: label some frames of a campaign, told where and which by names alone."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial

from al_engine.errors import AlEngineError, DatabaseError, InputError
from al_engine.frames import Frame
from al_engine.records import FailureReason, Label, LabelFailure
from db.leases import Lease, check
from db.results import record_all
from flows.assembly import Assembly, assemble, guarded

WRITE_EVERY_S = 5.0
"""Results wait at most so long for others that go in the same transaction."""
PATIENCE_S = 1.0
"""After a crash: what ends a job reaches all its processes, and this one perhaps last."""
MARGIN_S = 30.0
"""Of the time limit: for the start before, and the write at the end."""


@dataclass(frozen=True)
class Chunk:
    """What a worker is told.

    Attributes:
        database_url: Where the campaign is; None: where AL_ENGINE_DATABASE of the worker says (a password).
        campaign: Its name.
        generation: Its number.
        lease: The driver's, which each write is compared with; None where there is no driver.
        frame_ids: What to label; a frame that has its label by then is left alone.
        time_limit_s: After which the worker is ended.
    """

    database_url: str | None
    campaign: str
    generation: int
    lease: Lease | None
    frame_ids: Sequence[str]
    time_limit_s: float = math.inf


class _Ended(BaseException):
    """The queue ends this process."""


def label_chunk(chunk: Chunk) -> str:
    """Label what is missing of a chunk, as far as the time goes; return why no worker should go on, or "".

    Raises:
        DatabaseError: It was away; may be back for the next worker.
    """
    until = time.monotonic() + chunk.time_limit_s - MARGIN_S
    url = chunk.database_url or os.environ.get("AL_ENGINE_DATABASE")
    try:
        if not url:
            raise InputError("AL_ENGINE_DATABASE is not set where labels are computed; it names the database")
        guard = nullcontext() if chunk.lease is None else guarded(partial(check, lease=chunk.lease))
        with guard, assemble(chunk.campaign, url) as run:
            _label(run, chunk, until)
    except DatabaseError:
        raise
    except AlEngineError as error:
        return " ".join(str(error).split())
    return ""


def _label(run: Assembly, chunk: Chunk, until: float) -> None:
    from al_engine.labeling import Labeler
    from al_engine.labeling.breaker import stop_where_all_fail

    config = run.config.labeling
    labeling = config.model_copy(update={"n_workers": config.n_workers or 1})
    labeler = Labeler(run.config.reference, labeling, run.campaign.level_of_theory)
    record = partial(record_all, run.store.database, chunk.campaign, chunk.generation)
    record([])  # nothing is computed for a driver that has been replaced
    missing = set(run.store.unlabeled_ids(chunk.campaign, chunk.generation)).intersection(chunk.frame_ids)
    kept: list[Label | LabelFailure] = []
    longest, written, is_told = 0.0, time.monotonic(), True

    def in_time() -> Iterator[Frame]:
        for frame in run.store.frames(sorted(missing)):
            if longest and time.monotonic() + longest > until:
                return
            yield frame

    with suppress(_Ended), _endable(), closing(labeler.label_all(in_time())) as results:
        for result in stop_where_all_fail(results, config.stop_after_failures):
            kept.append(result)
            longest = max(longest, result.seconds)
            if isinstance(result, LabelFailure) and result.reason is FailureReason.CRASH:
                time.sleep(PATIENCE_S)
            if time.monotonic() > written + WRITE_EVERY_S:
                record(kept)
                kept, written = [], time.monotonic()
        is_told = False
    if is_told:  # what ended this process may have ended the calculations, too
        kept = [result for result in kept if isinstance(result, Label)]
    record(kept)


@contextmanager
def _endable() -> Iterator[None]:
    """Raise `_Ended` in here, once, where a queue sends SIGTERM: at the limit of time or by a person."""
    if threading.current_thread() is not threading.main_thread():  # of Dask, which tells nobody
        yield
        return

    def hear(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Ended

    warning = signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # of submitit, minutes before the limit
    before = signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        told = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_IGN if told else before)
        signal.signal(signal.SIGUSR2, warning)
