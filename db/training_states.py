"""The states of trainings that are under way: one an open generation, gone with its end."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from al_engine.lifecycle import GenerationState
from db import generations
from db.schema import TrainingStateRow
from db.store import Store


def keep(store: Store, campaign: str, number: int, state: bytes) -> bool:
    """Keep the state of a training in place of an earlier one; False where the generation is not OPEN."""
    with store.database.write() as connection:
        generation_id, now = generations.lock(connection, campaign, number)
        if now is not GenerationState.OPEN:
            return False  # another driver was faster
        this = TrainingStateRow.generation_id == generation_id
        if not connection.execute(update(TrainingStateRow).where(this).values(state=state)).rowcount:
            connection.execute(insert(TrainingStateRow), {"generation_id": generation_id, "state": state})
    return True


def kept(store: Store, campaign: str, number: int) -> bytes | None:
    """Return what the training of a generation kept last."""
    with store.database.read() as connection:
        this = TrainingStateRow.generation_id == generations.key(connection, campaign, number)
        return connection.execute(select(TrainingStateRow.state).where(this)).scalar()
