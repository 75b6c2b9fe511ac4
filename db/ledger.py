"""The ledger of a campaign: what each stage cost, also one that is not done yet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields

from sqlalchemy import select

from al_engine.lifecycle import GenerationState
from al_engine.records import Cost
from db import campaigns, generations
from db.columns import utc_now
from db.rows import put_records
from db.schema import GenerationRow, LedgerRow
from db.store import Store


def spend(store: Store, campaign: str, number: int, toward: GenerationState, cost: Cost) -> None:
    """Note what a part of a stage cost; `toward` is the state that the generation has at its end."""
    with store.database.write() as connection:
        generation_id = generations.key(connection, campaign, number)
        row = {"generation_id": generation_id, "state": toward, "created_at": utc_now()}
        put_records(connection, LedgerRow, [cost], **row)


def costs(store: Store, campaign: str) -> dict[int, list[Cost]]:
    """Return what each generation cost, oldest first."""
    columns = [getattr(LedgerRow, item.name) for item in fields(Cost)]
    found: dict[int, list[Cost]] = defaultdict(list)
    with store.database.read() as connection:
        query = (
            select(GenerationRow.number, *columns)
            .join(GenerationRow, GenerationRow.id == LedgerRow.generation_id)
            .where(GenerationRow.campaign_id == campaigns.key(connection, campaign))
            .order_by(LedgerRow.id)
        )
        for number, *values in connection.execute(query):
            found[number].append(Cost(*values))
    return dict(found)
