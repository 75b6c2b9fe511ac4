"""Reference calculations of a campaign that gave no label, and what became of a new try."""

from __future__ import annotations

from sqlalchemy import select, update

from al_engine.lifecycle import CandidateState
from al_engine.records import Label, LabelFailure
from db import campaigns, generations
from db.columns import utc_now
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


def record_retry(
    store: Store, campaign: str, number: int, before: LabelFailure, result: Label | LabelFailure
) -> None:
    """Store the result of a new try: the candidate of that generation is LABELED, or failed once more.

    The row of its failure stays; its attempts are those before and the new ones. A result that comes twice
    changes nothing.
    """
    if isinstance(result, Label):
        store.record_result(campaign, number, result)
        return
    attempts = before.attempts + result.attempts
    with store.database.write() as connection:
        generation_id, _ = generations.lock(connection, campaign, number, shared=True)
        this = select(CandidateRow.id).where(
            CandidateRow.generation_id == generation_id, CandidateRow.frame_id == before.frame_id
        )
        connection.execute(
            update(LabelFailureRow)
            .where(LabelFailureRow.candidate_id.in_(this), LabelFailureRow.attempts < attempts)
            .values(
                reason=result.reason,
                message=result.message,
                attempts=attempts,
                seconds=LabelFailureRow.seconds + result.seconds,
                last_attempt_at=utc_now(),
            )
        )
