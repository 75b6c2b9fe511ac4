"""A campaign as its report and its artifacts show it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from al_engine.report.record import CampaignRecord
    from db.query import StructureRow
    from flows.assembly import Assembly

_FOUND = {
    "campaign": "campaign",
    "generation": "generation",
    "frame": "frame_id",
    "formula": "formula",
    "energy eV": "energy_ev",
    "max force eV/Å": "max_force_ev_per_ang",
    "energy sd eV": "energy_sd_ev",
    "force sd eV/Å": "force_sd_max_ev_per_ang",
    "reason": "reason",
    "status": "status",
}
"""Columns of the table of `query`; the other formats have all of them."""
_ID_LENGTH = 64
_N_LABELS = 200
"""Rows of the table of labels."""
_SAME = ("campaign", "status")
"""Columns that say the same in each of its rows."""


def campaign_record(run: "Assembly", n_labels: int = _N_LABELS) -> "CampaignRecord":
    """Collect what it is drawn from, with a table of so many of the newest labels."""
    from al_engine.report.record import CampaignRecord, newest_audit
    from db.failures import failures
    from db.ledger import costs
    from db.query import query

    store, name = run.store, run.campaign.name
    generations, labeled = store.generations(name), store.labeled(name)
    audited = newest_audit(labeled)
    rows = query(store, "", name) if n_labels else []
    rows.sort(key=lambda row: (row.generation or 0, row.force_sd_max_ev_per_ang or 0), reverse=True)
    return CampaignRecord(
        run.campaign,
        generations,
        store.stop_decisions(name),
        {g.number: store.metrics(name, g.number) for g in generations},
        costs(store, name),
        failures(store, name),
        labeled,
        None if audited is None else store.model(name, audited),
        [{k: v for k, v in row.items() if k not in _SAME} for row in found_table(rows[:n_labels])],
    )


def found_table(rows: Sequence["StructureRow"]) -> list[dict[str, str]]:
    """Return what a table shows of structures."""
    records = map(asdict, rows)
    return [{head: cell(_short(record[key])) for head, key in _FOUND.items()} for record in records]


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _short(value: object) -> object:
    """Cut the id of a frame to what tells it from the others on a screen."""
    return value[:12] if isinstance(value, str) and len(value) == _ID_LENGTH else value
