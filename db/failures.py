"""Reference calculations of a campaign that gave no label."""

from __future__ import annotations

from sqlalchemy import select

from al_engine.lifecycle import CandidateState
from al_engine.records import LabelFailure
from db import campaigns
from db.schema import CandidateRow, GenerationRow, LabelFailureRow, LevelRow
from db.store import Store


def failures(store: Store, campaign: str, before: int | None = None) -> list[tuple[int, LabelFailure]]:
    """Return the failures of frames that still have no label, with their generations, oldest first.

    Only those of the generations before a number, if one is given.
    """
    row = LabelFailureRow
    query = (
        select(
            GenerationRow.number, CandidateRow.frame_id, LevelRow.name,
            row.reason, row.message, row.attempts, row.seconds,
        )
        .join(CandidateRow, CandidateRow.id == row.candidate_id)
        .join(GenerationRow, GenerationRow.id == CandidateRow.generation_id)
        .join(LevelRow, LevelRow.id == row.level_id)
        .where(CandidateRow.state == CandidateState.FAILED)
        .order_by(GenerationRow.number, row.last_attempt_at, CandidateRow.frame_id)
    )  # fmt: skip
    if before is not None:
        query = query.where(GenerationRow.number < before)
    with store.database.read() as connection:
        this = GenerationRow.campaign_id == campaigns.key(connection, campaign)
        found = connection.execute(query.where(this))
        return [
            (number, LabelFailure(frame_id, level, reason, message, attempts, seconds))
            for number, frame_id, level, reason, message, attempts, seconds in found
        ]
