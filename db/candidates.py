"""Candidates: what may be labeled, with all that its choice rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, select, update

from al_engine.errors import StateError
from al_engine.lifecycle import CandidateState, check_candidate_move
from al_engine.records import Candidate, Origin, Uncertainty
from db.rows import insert_new
from db.schema import CandidateRow

PENDING = (CandidateState.SELECTED, CandidateState.AUDIT)
"""States of a candidate that waits for its label."""
_PLAIN = [item.name for item in fields(Candidate) if item.name != "uncertainty"]
_UNCERTAINTY = [item.name for item in fields(Uncertainty)]


def put(connection: Connection, generation_id: int, candidates: Iterable[Candidate]) -> None:
    """Store candidates; a frame that comes twice is the audit's, else the first one."""
    by_id: dict[str, Candidate] = {}
    for candidate in candidates:
        kept = by_id.setdefault(candidate.frame_id, candidate)
        if candidate.state is CandidateState.AUDIT and kept.state is not CandidateState.AUDIT:
            by_id[candidate.frame_id] = candidate
    rows = [{"generation_id": generation_id, **_row(by_id[frame_id])} for frame_id in sorted(by_id)]
    insert_new(connection, CandidateRow, rows)


def get(connection: Connection, generation_id: int, frame_id: str | None = None) -> list[Candidate]:
    """Return the candidates of a generation, by frame id; only that of a frame if one is given."""
    columns = [getattr(CandidateRow, name) for name in _PLAIN + _UNCERTAINTY]
    query = select(*columns).where(CandidateRow.generation_id == generation_id)
    if frame_id is not None:
        query = query.where(CandidateRow.frame_id == frame_id)
    return [_candidate(tuple(row)) for row in connection.execute(query.order_by(CandidateRow.frame_id))]


def decide(connection: Connection, generation_id: int, candidates: Sequence[Candidate]) -> None:
    """Write state, score, rank and reason of each visited candidate but those of the confirming audit.

    Raises:
        StateError: A visited candidate without a decision, or a decision on another one.
    """
    this = _undecided(generation_id)
    chosen_from = select(CandidateRow.frame_id).where(*this, CandidateRow.origin != Origin.AUDIT)
    visited = set(connection.execute(chosen_from).scalars())
    decided = {candidate.frame_id: candidate for candidate in candidates}
    odd = sorted(visited.symmetric_difference(decided))
    if odd:
        raise StateError(f"{len(odd)} candidates visited but not decided, or the reverse: frame {odd[0]}")
    rows: list[dict[str, Any]] = []
    for frame_id, candidate in sorted(decided.items()):
        check_candidate_move(CandidateState.VISITED, candidate.state)
        values = {name: getattr(candidate, name) for name in ("state", "score", "rank", "reason")}
        rows.append({"of_frame": frame_id, **values})
    if rows:
        one = update(CandidateRow).where(*this, CandidateRow.frame_id == bindparam("of_frame"))
        connection.execute(one, rows)


def decide_confirming(connection: Connection, generation_id: int, against: str) -> int:
    """Have the visited frames of the confirming audit labeled, or reject them; return how many there were."""
    rejected = {"state": CandidateState.REJECTED, "reason": against}
    this = (*_undecided(generation_id), CandidateRow.origin == Origin.AUDIT)
    change = rejected if against else {"state": CandidateState.AUDIT}
    return connection.execute(update(CandidateRow).where(*this).values(change)).rowcount


def _undecided(generation_id: int) -> tuple[ColumnElement[bool], ...]:
    return (CandidateRow.generation_id == generation_id, CandidateRow.state == CandidateState.VISITED)


def unlabeled_ids(connection: Connection, generation_id: int, *, undecided: bool = False) -> list[str]:
    """Return the frames that wait for a label, by id; or those of a confirming audit that may have one."""
    this: tuple[ColumnElement[bool], ...] = (
        CandidateRow.generation_id == generation_id,
        CandidateRow.state.in_(PENDING),
    )
    if undecided:
        this = (*_undecided(generation_id), CandidateRow.origin == Origin.AUDIT)
    query = select(CandidateRow.frame_id).where(*this).order_by(CandidateRow.frame_id)
    return list(connection.execute(query).scalars())


def _row(candidate: Candidate) -> dict[str, Any]:
    sds = {name: getattr(candidate.uncertainty, name, None) for name in _UNCERTAINTY}
    return {**{name: getattr(candidate, name) for name in _PLAIN}, **sds}


def _candidate(row: tuple[Any, ...]) -> Candidate:
    sds = row[len(_PLAIN) :]
    known = any(sd is not None for sd in sds)
    uncertainty = Uncertainty(*(math.nan if sd is None else sd for sd in sds)) if known else None
    return Candidate(**dict(zip(_PLAIN, row, strict=False)), uncertainty=uncertainty)
