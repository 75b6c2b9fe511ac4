"""Reference calculations of a campaign that gave no label."""

from __future__ import annotations

from sqlalchemy import select

from al_engine.lifecycle import CandidateState
from al_engine.records import LabelFailure
from db import campaigns
from db.schema import CandidateRow, GenerationRow, LabelFailureRow, LevelRow
from db.store import Store


def failures(store: Store, campaign: str) -> list[tuple[int, LabelFailure]]:
    """Return the newest failure of each frame that still has no label, with its generation, oldest first."""
    row = LabelFailureRow
    query = (
        select(
            GenerationRow.number, CandidateRow.frame_id, LevelRow.name,
            row.reason, row.message, row.attempts, row.seconds,
        )
        .join(CandidateRow, CandidateRow.id == row.candidate_id)
        .join(GenerationRow, GenerationRow.id == CandidateRow.generation_id)
        .join(LevelRow, LevelRow.id == row.level_id)
        .order_by(GenerationRow.number, row.last_attempt_at, CandidateRow.frame_id)
    )  # fmt: skip
    with store.database.read() as connection:
        this = GenerationRow.campaign_id == campaigns.key(connection, campaign)
        found = connection.execute(query.where(this, CandidateRow.state == CandidateState.FAILED))
        return [
            (number, LabelFailure(frame_id, level, reason, message, attempts, seconds))
            for number, frame_id, level, reason, message, attempts, seconds in found
        ]
