"""A campaign has one driver at a time: the others wait, and take over when it is gone."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from al_engine.errors import DatabaseError
from db.engine import Database
from db.leases import Lease, check, give_back, renew, take
from flows.assembly import database_address, guarded, open_store
from flows.processes import is_dead, this_process

log = logging.getLogger("al_engine.campaign")
LEASE_S = 60.0
"""How long a driver may be silent before another one takes over."""
RENEWALS = 6
"""How often a lease is renewed in that time."""
ASK_EVERY_S = 1.0


class WaitedInVainError(Exception):
    """Another driver still works on the campaign when this one's time is over."""


@contextmanager
def leading(campaign: str, database_url: str | None, until: float | None = None) -> Iterator[None]:
    """Hold the lease of a campaign; wait for it while another driver works. Writes inside are guarded by it.

    Args:
        campaign: Its name.
        database_url: Where it is stored.
        until: How long to wait, Unix time; None: to the other one's end.

    Raises:
        WaitedInVainError: The time is over.
        StateError: In a write inside, where this process was stopped for so long that another took over.
    """
    lease = _wait(campaign, database_url, until)
    ended = threading.Event()
    heart = threading.Thread(target=_renew, args=(database_url, lease, ended), daemon=True)
    heart.start()
    try:
        with guarded(partial(check, lease=lease)):
            yield
    finally:
        ended.set()
        heart.join()
        with suppress(DatabaseError), open_store(database_url) as store:
            give_back(store.database, lease)


def _wait(campaign: str, database_url: str | None, until: float | None) -> Lease:
    told = ""
    with open_store(database_url) as store:
        while True:
            found = take(store, campaign, this_process(), LEASE_S, is_dead)
            if isinstance(found, Lease):
                if found.after:
                    gone = "%s: process %s worked on this campaign and is gone; this driver goes on"
                    log.info(gone, campaign, found.after)
                elif told:
                    log.info("%s: this driver goes on", campaign)
                return found
            if found != told:
                log.info("%s: process %s works on this campaign; waiting for its end", campaign, found)
            told = found
            if until is not None and time.time() > until:
                raise WaitedInVainError
            time.sleep(ASK_EVERY_S)


def _renew(database_url: str | None, lease: Lease, ended: threading.Event) -> None:
    """Renew a lease over a connection of its own until the end, or until another driver has it."""
    database = Database(database_address(database_url))
    try:
        while not ended.wait(lease.seconds / RENEWALS):
            with suppress(DatabaseError):  # the database may be back in time
                if not renew(database, lease):
                    return
    finally:
        database.close()
