"""Withdrawals: a label that turned out wrong stays where it is and is used no more."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from al_engine.errors import InputError
from db import campaigns
from db.columns import id_range, utc_now
from db.rows import insert_new
from db.schema import LabelRow, LabelWithdrawalRow, LevelRow
from db.store import Store

_SEVERAL = 20
"""Rows that are looked at; no frame has labels at so many levels."""


@dataclass(frozen=True)
class Withdrawal:
    """A label that was taken out; `is_new` is False where that had been done before, for that reason."""

    frame_id: str
    level_of_theory: str
    reason: str
    is_new: bool


def withdraw(store: Store, frame: str, reason: str, campaign: str | None = None) -> Withdrawal:
    """Take a label out of all later training and judging, in every campaign that has it.

    Args:
        store: Where it is.
        frame: A frame's id, or enough of its first digits.
        reason: Why the label is wrong.
        campaign: Its level of theory is meant; needed where the frame has labels of several.

    Raises:
        InputError: No reason; no such label, or more than one; no such campaign.
    """
    if not reason.strip():
        raise InputError("reason = '': say why the label is wrong")
    with store.database.write() as connection:
        label_id, frame_id, level = _find(connection, frame, campaign)
        row = {"label_id": label_id, "reason": reason, "created_at": utc_now()}
        new = insert_new(connection, LabelWithdrawalRow, [row], (LabelWithdrawalRow.label_id,))
        stored = select(LabelWithdrawalRow.reason).where(LabelWithdrawalRow.label_id == label_id)
        return Withdrawal(frame_id, level, connection.execute(stored).scalar_one(), bool(new))


def _find(connection: Connection, frame: str, campaign: str | None) -> tuple[int, str, str]:
    """Return key, frame and level of theory of the one label that is meant."""
    query = (
        select(LabelRow.id, LabelRow.frame_id, LevelRow.name)
        .join(LevelRow, LevelRow.id == LabelRow.level_id)
        .where(LabelRow.frame_id.between(*id_range(frame)))
    )
    where = ""
    if campaign is not None:
        level_id, level = campaigns.level(connection, campaigns.key(connection, campaign))
        query, where = query.where(LabelRow.level_id == level_id), f" at {level}"
    found = [(row[0], row[1], row[2]) for row in connection.execute(query.limit(_SEVERAL))]
    if not found:
        raise InputError(f"frame = {frame!r}: the database has no such label{where}")
    if len({frame_id for _, frame_id, _ in found}) > 1:
        raise InputError(f"frame = {frame!r}: several frames begin so; give more digits of its id")
    if len(found) > 1:
        levels = " and ".join(repr(level) for _, _, level in found)
        raise InputError(f"frame = {frame!r}: it has labels at {levels}; say --campaign")
    return found[0]
