"""The canonical dump: equal for campaigns of equal content, in whatever order it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from sqlalchemy import Connection, Table, inspect, select

from al_engine.errors import InputError
from db import campaigns
from db.columns import pack
from db.rows import chunked, stream
from db.schema import (
    AuditDrawRow,
    Base,
    CandidateRow,
    FrameRow,
    GenerationRow,
    LabelFailureRow,
    LabelRow,
    LabelWithdrawalRow,
    MetricRow,
    ModelRow,
    StopCriterionRow,
    StopDecisionRow,
    TrainingFrameRow,
    WalkerRow,
)
from db.store import Store

_OF_GENERATION: Final[tuple[type[Base], ...]] = (
    CandidateRow, WalkerRow, AuditDrawRow, TrainingFrameRow, ModelRow, MetricRow, StopDecisionRow,
    StopCriterionRow,
)  # fmt: skip
_LEFT_OUT: Final = frozenset({
    "id", "campaign_id", "generation_id", "candidate_id", "label_id", "level_id",
    "started_at", "closed_at", "approved_at", "created_at", "last_attempt_at", "seconds",
    "message", "attempts", "log", "log_columns",
})  # fmt: skip
"""Surrogate ids, times, durations, attempts, and texts that may name a host or a process."""


def canonical_dump(store: Store, campaign: str) -> str:
    """Return all rows of a campaign by natural keys, one line of JSON each, sorted.

    Floats are hexadecimal, bit by bit (-0 is 0, as SQLite keeps it); arrays and weights are SHA-256s. What is
    NULL is left out, so that a column of a later revision does not change the dump of an older campaign.
    """
    with store.database.read() as connection:
        return "".join(line + "\n" for line in sorted(_lines(connection, campaign)))


@dataclass(frozen=True)
class Digest:
    """What equal dumps have in common: the number of lines and the sum of their SHA-256s, modulo 2^256."""

    n_lines: int
    total: int


def digest(connection: Connection, campaign: str) -> Digest:
    """Return the digest of a campaign's canonical dump, which is never in memory."""
    n_lines = total = 0
    for line in _lines(connection, campaign):
        n_lines += 1
        total += int.from_bytes(hashlib.sha256(line.encode()).digest())
    return Digest(n_lines, total % 2**256)


def _lines(connection: Connection, campaign: str) -> Iterator[str]:
    campaign_id = campaigns.key(connection, campaign)
    found = campaigns.find(connection, campaign)
    if found is None:
        raise InputError(f"campaign = {campaign!r}: the database has no such campaign")
    level_id, level = campaigns.level(connection, campaign_id)
    yield _line("campaign", {"name": campaign, "level": level, "starts": list(found.start_frame_ids)})
    this = GenerationRow.campaign_id == campaign_id
    yield from _rows(connection, GenerationRow, select(*_columns(GenerationRow)).where(this))
    number = GenerationRow.number.label("generation")
    for table in _OF_GENERATION:
        query = select(number, *_columns(table)).join_from(table, GenerationRow, _generation(table))
        yield from _rows(connection, table, query.where(this))
    failures = select(number, CandidateRow.frame_id, *_columns(LabelFailureRow)).join_from(
        LabelFailureRow, CandidateRow
    )
    yield from _rows(connection, LabelFailureRow, failures.join(GenerationRow).where(this))
    for ids in chunked(campaigns.frame_ids(connection, campaign)):
        frames = select(FrameRow.id.label("frame_id"), *_columns(FrameRow)).where(FrameRow.id.in_(ids))
        yield from _rows(connection, FrameRow, frames)
        these = (LabelRow.frame_id.in_(ids), LabelRow.level_id == level_id)
        yield from _rows(connection, LabelRow, select(*_columns(LabelRow)).where(*these))
        withdrawn = select(LabelRow.frame_id, *_columns(LabelWithdrawalRow)).join_from(
            LabelWithdrawalRow, LabelRow
        )
        yield from _rows(connection, LabelWithdrawalRow, withdrawn.where(*these))


def _generation(table: type[Base]) -> Any:
    return GenerationRow.id == getattr(table, "generation_id")  # noqa: B009


def _columns(table: type[Base]) -> list[Any]:
    return [getattr(table, a.key) for a in inspect(table).column_attrs if a.key not in _LEFT_OUT]


def _rows(connection: Connection, table: type[Base], query: Any) -> Iterator[str]:
    for some in stream(connection, query, cast(Table, table.__table__)):
        for row in some:
            yield _line(table.__tablename__, row)


def _line(table: str, values: dict[str, Any]) -> str:
    known = {key: _exact(value) for key, value in values.items() if value is not None}
    return json.dumps([table, known], sort_keys=True)


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return (value + 0.0).hex()
    if isinstance(value, np.ndarray):
        value = pack(value)
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value
