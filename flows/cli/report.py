"""Command `report`: a campaign as one page."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from al_engine.errors import InputError
from flows.cli.options import Database, check_output


def report(
    campaign: Annotated[str | None, Parameter(help="Its name; default: the only one.")] = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The HTML file.")] = Path("report.html"),
    database: Database = None,
) -> int:
    """Write one page about a campaign that needs no network: errors, structures in 3D, labels, costs."""
    from al_engine.report.page import page
    from flows.assembly import assemble, open_store
    from flows.record import campaign_record

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
        text = page(campaign_record(run))
    output.write_text(text, encoding="utf-8")
    print(f"wrote {output}: open it in a browser")
    return 0
