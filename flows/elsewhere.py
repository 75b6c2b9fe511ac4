"""Labels from jobs elsewhere: chunks are handed out in rounds until the database has every result."""

import logging
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from al_engine.config import Dask, Slurm
from al_engine.errors import AlEngineError
from db.leases import held
from flows.assembly import Assembly, check_shared, database_address, shareable
from flows.chunk import Chunk
from flows.dask import dask_jobs
from flows.lease import LEASE_S
from flows.slurm import slurm_jobs

log = logging.getLogger("al_engine.campaign")
LOOK_EVERY_S = 1.0
ROUNDS_WITHOUT_A_LABEL = 3
"""So many in a row, and the jobs are at fault."""


class Round(Protocol):
    """Jobs that were handed out together, one a chunk."""

    def outcomes(self) -> list[str | None]:
        """Return for each job None while it may still work, else why no other should, or "" if one may."""

    def cancel(self) -> None:
        """End them as soon as can be."""


Submit = Callable[[Sequence[Chunk]], Round]


def _open(run: Assembly) -> AbstractContextManager[Submit]:
    config = run.config.labeling
    match config.where:
        case Slurm() as where:
            return slurm_jobs(where, run.campaign.name, config.n_workers or 1)
        case Dask() as where:
            return dask_jobs(where)
        case None:
            raise ValueError("labeling.where is None: this machine labels without jobs")


def label_elsewhere(
    run: Assembly, generation: int, frame_ids: Sequence[str], database_url: str | None
) -> Generator[int, None, None]:
    """Have frames labeled by jobs; yield how many have a result, again and again, the last time all.

    A job that ends with frames left, however it ended, is followed by another one in the next round.

    Raises:
        AlEngineError: A job says why it makes no sense to go on, or nothing came of several rounds.
    """
    config, store, name = run.config.labeling, run.store, run.campaign.name
    check_shared(run.config, store)
    url, lease = shareable(database_address(database_url)), held(store.database, name, LEASE_S)
    limit = 60.0 * config.where.time_min if isinstance(config.where, Slurm) else math.inf
    missing, n_idle = list(frame_ids), 0
    with _open(run) as submit:
        while missing:
            parts = (missing[i : i + config.chunk_size] for i in range(0, len(missing), config.chunk_size))
            jobs = submit([Chunk(url, name, generation, lease, part, limit) for part in parts])
            n_before, is_working = len(missing), True
            try:
                while is_working:
                    time.sleep(LOOK_EVERY_S)
                    outcomes = jobs.outcomes()
                    is_working = None in outcomes
                    waiting = set(store.unlabeled_ids(name, generation))
                    missing = [frame_id for frame_id in missing if frame_id in waiting]
                    yield len(frame_ids) - len(missing)
                    if reason := next(filter(None, outcomes), None):
                        raise AlEngineError(reason)
            except BaseException:
                jobs.cancel()
                raise
            n_idle = n_idle + 1 if len(missing) == n_before else 0
            if n_idle == ROUNDS_WITHOUT_A_LABEL:
                raise AlEngineError(f"{n_idle} rounds of jobs brought no label (labeling.where); see the log")
            if missing:
                log.info("%d frames are handed out again: their jobs ended before them", len(missing))
