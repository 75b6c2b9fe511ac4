"""The lease of a campaign: one driver at a time, by the database's clock; the one before cannot write late.

Each holder has a number of its own, the token. A write of a driver compares it in the same transaction
(`check`), and a lease is taken over in a transaction that waits for such writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, func, literal_column, select, update

from al_engine.errors import StateError
from db import campaigns
from db.engine import Database
from db.rows import insert_new
from db.schema import LeaseRow
from db.store import Store


@dataclass(frozen=True)
class Lease:
    """What a driver holds.

    Attributes:
        campaign: Its name, and `campaign_id` its key.
        token: The number of this holder.
        seconds: For how long it holds without a renewal.
        after: The holder before, where that one did not give it back; else empty.
    """

    campaign: str
    campaign_id: int
    token: int
    seconds: float
    after: str


def take(
    store: Store, campaign: str, holder: str, seconds: float, is_dead: Callable[[str], bool]
) -> Lease | str:
    """Take the lease if nobody holds it, it has run out, or its holder is dead; else return who holds it."""
    with store.database.write() as connection:
        campaign_id = campaigns.key(connection, campaign)
        new = {"campaign_id": campaign_id, "token": 0, "holder": "", "expires_at": 0.0}
        insert_new(connection, LeaseRow, [new])
        this, now = LeaseRow.campaign_id == campaign_id, _now(connection)
        query = select(LeaseRow.token, LeaseRow.holder, LeaseRow.expires_at > now).where(this)
        token, held_by, is_held = connection.execute(query.with_for_update()).one()
        if is_held and not is_dead(held_by):
            return str(held_by)
        values = {"token": token + 1, "holder": holder, "expires_at": now + seconds}
        connection.execute(update(LeaseRow).where(this).values(values))
        return Lease(campaign, campaign_id, token + 1, seconds, held_by)


def held(database: Database, campaign: str, seconds: float) -> Lease | None:
    """Return the lease as it is, for a process that writes for this driver; None where nobody took one.

    Raises:
        StateError: The database is guarded, and another driver has the lease.
    """
    with database.write() as connection:
        campaign_id = campaigns.key(connection, campaign)
        token = connection.execute(select(LeaseRow.token).where(LeaseRow.campaign_id == campaign_id)).scalar()
    return None if token is None else Lease(campaign, campaign_id, token, seconds, "")


def renew(database: Database, lease: Lease) -> bool:
    """Hold a lease for its time from now on; False where another driver has it."""
    with database.write() as connection:
        return _set(connection, lease, expires_at=_now(connection) + lease.seconds)


def give_back(database: Database, lease: Lease) -> None:
    """Let the next driver begin at once."""
    with database.write() as connection:
        _set(connection, lease, holder="", expires_at=0.0)


def check(connection: Connection, lease: Lease) -> None:
    """Raise StateError unless the lease is held, and keep it from being taken until the transaction ends."""
    if connection.dialect.name == "postgresql":  # a driver that is stopped within a write loses the lock
        limit = f"{1000 * lease.seconds:.0f}"
        connection.execute(select(func.set_config("idle_in_transaction_session_timeout", limit, True)))
    token = select(LeaseRow.token).where(LeaseRow.campaign_id == lease.campaign_id)
    if connection.execute(token.with_for_update(read=True)).scalar() != lease.token:
        raise StateError(
            f"campaign {lease.campaign!r}: this driver was away for more than {lease.seconds:g} s and "
            "another one took its place; this one wrote nothing since then"
        )


def _set(connection: Connection, lease: Lease, **values: Any) -> bool:
    held = (LeaseRow.campaign_id == lease.campaign_id, LeaseRow.token == lease.token)
    return bool(connection.execute(update(LeaseRow).where(*held).values(values)).rowcount)


def _now(connection: Connection) -> ColumnElement[float]:
    """Seconds since 1970 by the database's clock, which is the machine's on SQLite."""
    seconds = "(julianday('now') - 2440587.5) * 86400.0"
    if connection.dialect.name == "postgresql":
        seconds = "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
    return literal_column(seconds, Double())
