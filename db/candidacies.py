"""What is known of a frame as a candidate: where it came from, what was decided, what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.records import Candidate, Label, LabelFailure
from db import campaigns, candidates
from db.columns import id_range
from db.frames import get_frames
from db.labels import LABEL_COLUMNS
from db.schema import (
    CampaignRow,
    CandidateRow,
    GenerationRow,
    LabelFailureRow,
    LabelRow,
    LabelWithdrawalRow,
    LevelRow,
)
from db.store import Store


@dataclass(frozen=True)
class Candidacy:
    """A frame as a candidate of one generation.

    Attributes:
        campaign: Name.
        generation: Number.
        candidate: As stored.
        frame: The atoms.
        result: Its label at the campaign's level of theory, wherever it came from; else its failure.
        withdrawn: Why that label was withdrawn; empty where it was not.
    """

    campaign: str
    generation: int
    candidate: Candidate
    frame: Frame
    result: Label | LabelFailure | None
    withdrawn: str


def candidacies(store: Store, frame_id: str, campaign: str | None = None) -> list[Candidacy]:
    """Return every candidacy of a frame, by campaign and generation; there is one at least.

    Args:
        store: Where.
        frame_id: Its id, or enough of its first digits.
        campaign: Look at this one only.

    Raises:
        InputError: Too few digits or no hexadecimal ones, no such candidate or several, no such campaign.
    """
    query = (
        select(
            CandidateRow.frame_id, GenerationRow.id, GenerationRow.number, CampaignRow.id, CampaignRow.name
        )
        .join(GenerationRow, GenerationRow.id == CandidateRow.generation_id)
        .join(CampaignRow, CampaignRow.id == GenerationRow.campaign_id)
        .where(CandidateRow.frame_id.between(*id_range(frame_id)))
        .order_by(CampaignRow.id, GenerationRow.number)
    )
    with store.database.read() as connection:
        if campaign is not None:
            query = query.where(CampaignRow.id == campaigns.key(connection, campaign))
        rows = connection.execute(query).all()
        ids = sorted({row[0] for row in rows})
        if len(ids) != 1:
            where = "database" if campaign is None else f"campaign {campaign!r}"
            shown = ", ".join(found[: len(frame_id) + 6] for found in ids[:3]) + ", ..." * (len(ids) > 3)
            problem = f"{len(ids)} begin so, {shown}; give more digits" if ids else "none begins so"
            raise InputError(f"frame = {frame_id!r}: of the candidates of the {where}, {problem}")
        (frame,) = get_frames(connection, ids)
        found = []
        for _, generation_id, number, campaign_id, name in rows:
            (candidate,) = candidates.get(connection, generation_id, ids[0])
            result, withdrawn = _result(connection, generation_id, campaign_id, ids[0])
            found.append(Candidacy(name, number, candidate, frame, result, withdrawn))
        return found


def _result(
    connection: Connection, generation_id: int, campaign_id: int, frame_id: str
) -> tuple[Label | LabelFailure | None, str]:
    """Return the label of a frame at a campaign's level and why it was withdrawn, else its failure."""
    level_id, level = campaigns.level(connection, campaign_id)
    labels = select(LabelWithdrawalRow.reason, *LABEL_COLUMNS).join_from(LabelRow, LevelRow)
    labels = labels.outerjoin(LabelWithdrawalRow)
    row = connection.execute(labels.where(LabelRow.frame_id == frame_id, LevelRow.id == level_id)).first()
    if row is not None:
        return Label(frame_id, *row[1:]), row[0] or ""
    failure = select(
        LabelFailureRow.reason, LabelFailureRow.message, LabelFailureRow.attempts, LabelFailureRow.seconds
    ).join(CandidateRow, CandidateRow.id == LabelFailureRow.candidate_id)
    this = (CandidateRow.generation_id == generation_id, CandidateRow.frame_id == frame_id)
    row = connection.execute(failure.where(*this)).first()
    return None if row is None else LabelFailure(frame_id, level, *row), ""
