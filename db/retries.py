"""Failed labels that are tried again: which there are, and what became of a new try."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from al_engine.lifecycle import CandidateState
from al_engine.records import FailureReason, Label, LabelFailure
from db import campaigns, generations
from db.columns import utc_now
from db.schema import CampaignRow, CandidateRow, GenerationRow, LabelFailureRow
from db.store import Store


@dataclass(frozen=True)
class FailedCandidate:
    """A candidate that has no label, after so many tries."""

    campaign: str
    generation: int
    frame_id: str
    attempts: int


def failed(
    store: Store, reason: FailureReason, campaign: str | None = None, generation: int | None = None
) -> list[FailedCandidate]:
    """Return the candidates whose calculation failed for a reason, by campaign, generation and frame id.

    Raises:
        InputError: No such campaign.
    """
    columns = (CampaignRow.name, GenerationRow.number, CandidateRow.frame_id, LabelFailureRow.attempts)
    query = (
        select(*columns)
        .join_from(LabelFailureRow, CandidateRow)
        .join(GenerationRow, GenerationRow.id == CandidateRow.generation_id)
        .join(CampaignRow, CampaignRow.id == GenerationRow.campaign_id)
        .where(CandidateRow.state == CandidateState.FAILED, LabelFailureRow.reason == reason)
        .order_by(*columns)
    )
    if generation is not None:
        query = query.where(GenerationRow.number == generation)
    with store.database.read() as connection:
        if campaign is not None:
            query = query.where(CampaignRow.id == campaigns.key(connection, campaign))
        return [FailedCandidate(*row) for row in connection.execute(query)]


def record(store: Store, candidate: FailedCandidate, result: Label | LabelFailure) -> None:
    """Store the result of a new try: the candidate is LABELED, or failed once more.

    The row of its failure stays; its attempts are those before and the new ones. A result that comes twice
    changes nothing.
    """
    if isinstance(result, Label):
        store.record_result(candidate.campaign, candidate.generation, result)
        return
    attempts = candidate.attempts + result.attempts
    with store.database.write() as connection:
        generation_id, _ = generations.lock(connection, candidate.campaign, candidate.generation, shared=True)
        this = select(CandidateRow.id).where(
            CandidateRow.generation_id == generation_id, CandidateRow.frame_id == candidate.frame_id
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
