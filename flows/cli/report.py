"""Command `report`: a campaign as one page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from al_engine.errors import InputError
from flows.cli.look import found_table
from flows.cli.options import Database, check_output

if TYPE_CHECKING:
    from al_engine.report.record import CampaignRecord
    from flows.assembly import Assembly

_N_LABELS = 200
"""Rows of the table of labels."""
_SAME = ("campaign", "status")
"""Columns that say the same in each of its rows."""


def report(
    campaign: Annotated[str | None, Parameter(help="Its name; default: the only one.")] = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The HTML file.")] = Path("report.html"),
    database: Database = None,
) -> int:
    """Write one page about a campaign that needs no network: errors, structures in 3D, labels, costs."""
    from al_engine.report.page import page
    from flows.assembly import assemble, open_store

    check_output(output)
    if campaign is None:
        with open_store(database) as store:
            names = store.campaign_names()
        if len(names) != 1:
            raise InputError(
                f"report needs the name of a campaign; the database has {', '.join(names) or 'none'}"
            )
        (campaign,) = names
    with assemble(campaign, database) as run:
        text = page(_record(run))
    output.write_text(text, encoding="utf-8")
    print(f"wrote {output}: open it in a browser")
    return 0


def _record(run: "Assembly") -> "CampaignRecord":
    """Collect what the page is drawn from."""
    from al_engine.report.record import CampaignRecord, newest_audit
    from db.failures import failures
    from db.ledger import costs
    from db.query import query

    store, name = run.store, run.campaign.name
    generations, labeled = store.generations(name), store.labeled(name)
    audited = newest_audit(labeled)
    rows = query(store, "", name)
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
        [{k: v for k, v in row.items() if k not in _SAME} for row in found_table(rows[:_N_LABELS])],
    )
