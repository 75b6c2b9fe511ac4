"""Campaigns: what was asked for, and the structures it starts from."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from al_engine.errors import InputError, StateError
from al_engine.frames import Frame
from al_engine.records import Campaign
from db.columns import utc_now
from db.frames import put_frames
from db.labels import level_id
from db.rows import insert_new
from db.schema import (
    AuditDrawRow,
    CampaignRow,
    CampaignStartRow,
    CandidateRow,
    ConfigChangeRow,
    GenerationRow,
    LevelRow,
    WalkerRow,
)


def create(connection: Connection, campaign: Campaign, starts: Sequence[Frame]) -> bool:
    """Store a campaign; False where there is one of this name already.

    Raises:
        StateError: The starts are not those of the campaign, or the stored campaign has others or
            another level of theory.
    """
    ids = tuple(frame.frame_id for frame in starts)
    if ids != campaign.start_frame_ids:
        raise StateError(f"campaign {campaign.name!r}: the start frames are not those of its record")
    put_frames(connection, starts)
    row = {
        "name": campaign.name,
        "level_id": level_id(connection, campaign.level_of_theory),
        "config": campaign.config,
        "environment": campaign.environment,
        "created_at": utc_now(),
    }
    new = insert_new(connection, CampaignRow, [row], (CampaignRow.id,))
    if new:
        rows = [{"campaign_id": new[0][0], "position": i, "frame_id": f} for i, f in enumerate(ids)]
        insert_new(connection, CampaignStartRow, rows)
        return True
    stored = find(connection, campaign.name)
    if stored is None or (stored.level_of_theory, stored.start_frame_ids) != (campaign.level_of_theory, ids):
        raise StateError(
            f"campaign {campaign.name!r} is stored already, with other start frames or level of theory"
        )
    return False


def find(connection: Connection, name: str) -> Campaign | None:
    """Return a campaign."""
    row = connection.execute(
        select(CampaignRow.id, CampaignRow.name, CampaignRow.config, LevelRow.name, CampaignRow.environment)
        .join(LevelRow, LevelRow.id == CampaignRow.level_id)
        .where(CampaignRow.name == name)
    ).first()
    if row is None:
        return None
    starts = connection.execute(
        select(CampaignStartRow.frame_id)
        .where(CampaignStartRow.campaign_id == row[0])
        .order_by(CampaignStartRow.position)
    ).scalars()
    return Campaign(row[1], row[2], row[3], row[4], tuple(starts))


def names(connection: Connection) -> list[str]:
    """Return the campaigns' names, oldest first."""
    return list(connection.execute(select(CampaignRow.name).order_by(CampaignRow.id)).scalars())


def key(connection: Connection, name: str) -> int:
    """Return a campaign's key; InputError where there is none."""
    found = connection.execute(select(CampaignRow.id).where(CampaignRow.name == name)).scalar()
    if found is None:
        known = ", ".join(names(connection)) or "none"
        raise InputError(f"campaign = {name!r}: the database has no such campaign; it has {known}")
    return found


def level(connection: Connection, campaign_id: int) -> tuple[int, str]:
    """Return key and name of a campaign's level of theory."""
    row = connection.execute(
        select(LevelRow.id, LevelRow.name)
        .join(CampaignRow, CampaignRow.level_id == LevelRow.id)
        .where(CampaignRow.id == campaign_id)
    ).one()
    return row[0], row[1]


def frame_ids(connection: Connection, name: str) -> list[str]:
    """Return every frame that a campaign refers to."""
    campaign_id = key(connection, name)
    starts = select(CampaignStartRow.frame_id).where(CampaignStartRow.campaign_id == campaign_id)
    ids: set[str | None] = set(connection.execute(starts).scalars())
    for column in (CandidateRow.frame_id, WalkerRow.start_frame_id, AuditDrawRow.frame_id):
        query = select(column).join(GenerationRow).where(GenerationRow.campaign_id == campaign_id)
        ids.update(connection.execute(query).scalars())
    return sorted(frame_id for frame_id in ids if frame_id is not None)


def update_config(connection: Connection, name: str, config: str) -> None:
    """Replace the configuration; the old one is kept in `config_changes`."""
    campaign_id = key(connection, name)
    this = CampaignRow.id == campaign_id
    old = connection.execute(
        select(CampaignRow.config).where(this).with_for_update(key_share=True)
    ).scalar_one()
    if old == config:
        return
    change = {"campaign_id": campaign_id, "config": old, "replaced_at": utc_now()}
    connection.execute(insert(ConfigChangeRow), change)
    connection.execute(update(CampaignRow).where(this).values(config=config))
