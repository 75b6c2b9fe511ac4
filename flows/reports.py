"""Flows `report` and `audit`: what is known of a campaign, asked for from the UI; nothing is labeled."""

import socket
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from al_engine.errors import InputError
from flows.artifacts import artifact_key
from flows.assembly import assemble
from flows.campaign import Text, database_of_run
from flows.ending import ending
from flows.locks import home
from flows.record import campaign_record
from flows.steps import own_model


@flow(
    name="report",
    flow_run_name="{campaign}, report",
    persist_result=False,
    description="Writes a campaign as one HTML page.",
)
def report(campaign: Text, output: Text = "", database_url: Text = "") -> State[Any]:
    """Write a campaign as one HTML page, and leave an artifact that says where.

    Args:
        campaign: Its name in the database.
        output: Absolute path of the page; empty: NAME.html in the folder reports of al-engine's home, which
            is $AL_ENGINE_HOME or ~/.al_engine where the run works.
        database_url: SQLAlchemy URL, of SQLite with an absolute path (sqlite:////home/me/al_engine.db);
            empty: the database of the worker. A password belongs in AL_ENGINE_DATABASE, not here.
    """

    def work() -> State[Any]:
        from al_engine.report.page import page

        url, file = database_of_run(database_url), Path(output or home("reports") / f"{campaign}.html")
        if not file.is_absolute():
            raise InputError(f"output = {output!r}: give the whole path, as /home/me/report.html")
        with assemble(campaign, url) as run:
            text = page(campaign_record(run))
            try:
                file.write_text(text, encoding="utf-8")
            except OSError as error:
                raise InputError(f"output = {str(file)!r}: it cannot be written ({error.strerror})") from None
            where = f"`{file}` on {socket.gethostname()}. Open it in a browser; it needs no network."
            _show(campaign, "report", where)
        return Completed(message=f"wrote {file}")

    return ending(work)


@flow(
    name="audit",
    flow_run_name="{campaign}, audit",
    persist_result=False,
    description="Judges the model of a campaign by all its audits.",
)
def audit(campaign: Text, database_url: Text = "") -> State[Any]:
    """Judge the newest promoted model by the labels of all audits; nothing is labeled or stored.

    Args:
        campaign: Its name in the database.
        database_url: SQLAlchemy URL, of SQLite with an absolute path (sqlite:////home/me/al_engine.db);
            empty: the database of the worker. A password belongs in AL_ENGINE_DATABASE, not here.
    """

    def work() -> State[Any]:
        from al_engine.report.text import audit_rows, table
        from al_engine.stages.backtest import judged_audits

        url = database_of_run(database_url)
        with assemble(campaign, url) as run:
            model, tolerance = own_model(run), run.config.stop.tolerance_ev_per_ang
            if model is None:
                raise InputError(f"{campaign!r}: it has no closed generation with a model yet")
            audits = judged_audits(model, run.store.labeled(campaign), run.config.device)
            words = (
                "The model is that which `potential` writes. A frame fails where a force component is wrong "
                f"by more than {tolerance:g} eV/Å. What the model was trained on is judged by the member "
                "that has not seen it, which is a little worse than all together."
            )
            _show(campaign, "audits", f"{words}\n\n{table(audit_rows(audits, tolerance))}")
        n_frames = sum(len(item.max_force_errors) for item in audits)
        n_failing = sum(int((item.max_force_errors > tolerance).sum()) for item in audits)
        return Completed(message=f"{n_failing} of {n_frames} frames of {len(audits)} audits fail")

    return ending(work)


def _show(campaign: str, part: str, text: str) -> None:
    create_markdown_artifact(key=f"{artifact_key(campaign)}-{part}", markdown=text, description=campaign)
