"""The selections that a campaign made, and the configuration that each followed."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from al_engine.lifecycle import GenerationState
from al_engine.records import Campaign
from db import campaigns
from db.schema import ConfigChangeRow, GenerationRow, LedgerRow
from db.store import Store


def selecting_campaigns(store: Store, name: str) -> dict[int, Campaign]:
    """Return the campaign as it was configured at each selection from a model's candidates, by generation.

    Generation 0 is left out: it labels what it has.

    Raises:
        InputError: No such campaign.
    """
    with store.database.read() as connection:
        campaign_id = campaigns.key(connection, name)
        campaign = campaigns.find(connection, name)
        assert campaign is not None  # it has a key  # noqa: S101
        selected = connection.execute(
            select(GenerationRow.number, LedgerRow.created_at)
            .join(GenerationRow, GenerationRow.id == LedgerRow.generation_id)
            .where(GenerationRow.campaign_id == campaign_id, GenerationRow.number > 0)
            .where(LedgerRow.state == GenerationState.SELECTED)
            .order_by(GenerationRow.number)
        ).all()
        changes = connection.execute(
            select(ConfigChangeRow.config, ConfigChangeRow.replaced_at)
            .where(ConfigChangeRow.campaign_id == campaign_id)
            .order_by(ConfigChangeRow.id)
        ).all()
    found = {}
    for number, at in selected:
        config = next((old for old, replaced_at in changes if replaced_at >= at), campaign.config)
        found[number] = replace(campaign, config=config)
    return found
