"""A person's yes to the labels of a generation, where the campaign asks for one (`selection.approve`)."""

from __future__ import annotations

from sqlalchemy import select, update

from al_engine.lifecycle import GenerationState
from db import generations
from db.columns import utc_now
from db.schema import GenerationRow
from db.store import Store


def approve(store: Store, campaign: str, number: int) -> bool:
    """Let the frames of a selected generation be labeled; False where it has that, or is in another state."""
    with store.database.write() as connection:
        generation_id, state = generations.lock(connection, campaign, number)
        new = (GenerationRow.id == generation_id, GenerationRow.approved_at.is_(None))
        if state is not GenerationState.SELECTED:
            return False
        change = update(GenerationRow).where(*new).values(approved_at=utc_now())
        return bool(connection.execute(change).rowcount)


def is_approved(store: Store, campaign: str, number: int) -> bool:
    """Whether a person approved it."""
    with store.database.read() as connection:
        this = GenerationRow.id == generations.key(connection, campaign, number)
        return connection.execute(select(GenerationRow.approved_at).where(this)).scalar() is not None
