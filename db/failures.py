"""Calculations that gave no label, of candidates that still have none."""

from __future__ import annotations

from sqlalchemy import select

from al_engine.lifecycle import CandidateState
from al_engine.records import LabelFailure
from db import campaigns
from db.schema import CandidateRow, GenerationRow, LabelFailureRow, LevelRow
from db.store import Store

_COLUMNS = (
    LevelRow.name, LabelFailureRow.reason, LabelFailureRow.message, LabelFailureRow.attempts,
    LabelFailureRow.seconds,
)  # fmt: skip


def failures(store: Store, campaign: str, before: int) -> list[LabelFailure]:
    """Return what failed in the generations before one and has not been labeled since, oldest first."""
    with store.database.read() as connection:
        query = (
            select(CandidateRow.frame_id, *_COLUMNS)
            .join(LabelFailureRow, LabelFailureRow.candidate_id == CandidateRow.id)
            .join(LevelRow, LevelRow.id == LabelFailureRow.level_id)
            .join(GenerationRow, GenerationRow.id == CandidateRow.generation_id)
            .where(
                GenerationRow.campaign_id == campaigns.key(connection, campaign),
                GenerationRow.number < before,
                CandidateRow.state == CandidateState.FAILED,
            )
            .order_by(GenerationRow.number, CandidateRow.frame_id)
        )
        return [LabelFailure(*row) for row in connection.execute(query)]
