"""Results of labeling in a campaign: a label or a failure of a candidate, imports, what is labeled."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, exists, select, update

from al_engine.errors import InputError, StateError
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState, check_candidate_move
from al_engine.records import Candidate, Label, LabeledFrame, LabelFailure, Origin
from db import campaigns, candidates, generations
from db.columns import utc_now
from db.engine import Database
from db.frames import FRAME_COLUMNS, frame_of, put_frames
from db.labels import LABEL_COLUMNS, Recorded, put_labels
from db.rows import insert_new
from db.schema import (
    CampaignRow,
    CandidateRow,
    FrameRow,
    GenerationRow,
    LabelFailureRow,
    LabelRow,
    LabelWithdrawalRow,
    LevelRow,
)


def record(connection: Connection, campaign: str, number: int, result: Label | LabelFailure) -> Recorded:
    """Store a result and move its candidate; a result that comes twice changes nothing.

    Raises:
        StateError: No such candidate, one that was not to be labeled, or another level of theory.
    """
    campaign_id = campaigns.key(connection, campaign)
    level_id, level = campaigns.level(connection, campaign_id)
    if result.level_of_theory != level:
        raise StateError(
            f"frame {result.frame_id}: level {result.level_of_theory!r} in a campaign of {level!r}"
        )
    generation_id, _ = generations.lock(connection, campaign, number, shared=True)
    row = connection.execute(
        select(CandidateRow.id, CandidateRow.state)
        .where(CandidateRow.generation_id == generation_id, CandidateRow.frame_id == result.frame_id)
        .with_for_update(key_share=True)
    ).first()
    if row is None:
        raise StateError(f"frame {result.frame_id} is no candidate of generation {number} of {campaign!r}")
    candidate_id, state = row
    failed = isinstance(result, LabelFailure)
    new = CandidateState.FAILED if failed else CandidateState.LABELED
    if state in (new, CandidateState.LABELED) and failed:
        return Recorded.KNOWN
    if state is not new:
        check_candidate_move(state, new)
        connection.execute(update(CandidateRow).where(CandidateRow.id == candidate_id).values(state=new))
    if isinstance(result, Label):
        return put_labels(connection, [result])[0]
    failure = {name: getattr(result, name) for name in ("reason", "message", "attempts", "seconds")}
    failure |= {"candidate_id": candidate_id, "level_id": level_id, "last_attempt_at": utc_now()}
    insert_new(connection, LabelFailureRow, [failure])
    return Recorded.NEW


def record_all(
    database: Database, campaign: str, number: int, results: Sequence[Label | LabelFailure]
) -> None:
    """Store results in one transaction, as `record` does each."""
    with database.write() as connection:
        generations.lock(connection, campaign, number)  # not shared, as these are many candidates and labels
        for result in results:
            record(connection, campaign, number, result)


def import_labels(
    connection: Connection, campaign: str | None, entries: Sequence[tuple[Frame, Label]]
) -> tuple[int, int, int]:
    """Store labeled frames; with a campaign, it is trained on them.

    A candidate of any of its generations that waits, or whose calculation failed, is labeled by that and
    keeps its origin; a frame that is no labeled candidate then is an imported one of generation 0.

    Returns:
        How many labels are new, how many were known, and how many have other values than the known one.

    Raises:
        InputError: No such campaign, or a label of another level of theory than the campaign's.
    """
    generation_ids = [] if campaign is None else _lock_for_import(connection, campaign, entries)
    put_frames(connection, [frame for frame, _ in entries])
    outcomes = put_labels(connection, [label for _, label in entries])
    if campaign is not None:
        adopt_known_labels(connection, campaign, generation_ids)
        this = (CandidateRow.generation_id.in_(generation_ids), CandidateRow.state == CandidateState.LABELED)
        known = set(connection.execute(select(CandidateRow.frame_id).where(*this)).scalars())
        ids = [frame.frame_id for frame, _ in entries if frame.frame_id not in known]
        imported = (Origin.IMPORTED, CandidateState.LABELED)
        new = [Candidate(frame_id, *imported, reason="imported") for frame_id in ids]
        candidates.put(connection, generation_ids[0], new)
    n_new, n_known, n_conflicts = (outcomes.count(kind) for kind in Recorded)
    return n_new, n_known, n_conflicts


def _lock_for_import(
    connection: Connection, campaign: str, entries: Sequence[tuple[Frame, Label]]
) -> list[int]:
    """Lock all generations, the first opened if need be; candidates of others come before or after."""
    _, level = campaigns.level(connection, campaigns.key(connection, campaign))
    for _, label in entries:
        if label.level_of_theory != level:
            raise InputError(
                f"level of theory = {label.level_of_theory!r}: campaign {campaign!r} has {level!r}"
            )
    generations.open_(connection, campaign, 0)
    return generations.lock_all(connection, campaign)


def adopt_known_labels(connection: Connection, campaign: str, generation_ids: Sequence[int]) -> None:
    """Mark waiting and failed candidates as labeled whose frame has a label of the campaign's level."""
    level_id, _ = campaigns.level(connection, campaigns.key(connection, campaign))
    connection.execute(
        update(CandidateRow)
        .where(
            CandidateRow.generation_id.in_(generation_ids),
            CandidateRow.state.in_((*candidates.PENDING, CandidateState.FAILED)),
            CandidateRow.frame_id.in_(select(LabelRow.frame_id).where(LabelRow.level_id == level_id)),
        )
        .values(state=CandidateState.LABELED)
    )


def labeled(connection: Connection, campaign: str, before: int | None) -> list[LabeledFrame]:
    """Return the labeled frames of a campaign by frame id, each once, without withdrawn labels.

    Where it is there twice, it counts as what the campaign itself made of it, then as it came in first.
    """
    campaign_id = campaigns.key(connection, campaign)
    query = (
        select(
            CandidateRow.frame_id, GenerationRow.number, CandidateRow.origin, CandidateRow.walker,
            *FRAME_COLUMNS, *LABEL_COLUMNS,
        )
        .join(GenerationRow, GenerationRow.id == CandidateRow.generation_id)
        .join(CampaignRow, CampaignRow.id == GenerationRow.campaign_id)
        .join(LevelRow, LevelRow.id == CampaignRow.level_id)
        .join(FrameRow, FrameRow.id == CandidateRow.frame_id)
        .join(LabelRow, (LabelRow.frame_id == CandidateRow.frame_id) & (LabelRow.level_id == LevelRow.id))
        .where(CampaignRow.id == campaign_id, CandidateRow.state == CandidateState.LABELED)
        .where(~exists().where(LabelWithdrawalRow.label_id == LabelRow.id))
        .order_by(CandidateRow.frame_id, CandidateRow.origin == Origin.IMPORTED, GenerationRow.number)
    )  # fmt: skip
    if before is not None:
        query = query.where(GenerationRow.number < before)
    found: dict[str, LabeledFrame] = {}
    n_frame = 4 + len(FRAME_COLUMNS)
    for row in map(tuple, connection.execute(query)):
        frame_id, number, origin, walker = row[:4]
        if frame_id not in found:
            group = frame_id if walker is None else f"g{number}w{walker}"
            found[frame_id] = LabeledFrame(
                frame_of(row[4:n_frame]), Label(frame_id, *row[n_frame:]), number, origin, group
            )
    return list(found.values())
