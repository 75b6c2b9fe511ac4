"""Flow `label`: the labels that a campaign waits for, and nothing else."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from al_engine.stages.plan import End
from flows.assembly import assemble, check_labeler
from flows.campaign import Text, database_of_run
from flows.claim import claimed
from flows.driver import waiting
from flows.ending import ending
from flows.lease import leading
from flows.steps import label as label_step
from flows.tasks import as_task


@flow(
    name="label",
    persist_result=False,
    description="Computes the labels that the newest generation of a campaign still lacks.",
)
def label(campaign: Text, database_url: Text = "") -> State[Any]:
    """Compute the labels that the newest generation of a campaign still lacks; the rest is left alone.

    Args:
        campaign: Its name in the database.
        database_url: SQLAlchemy URL, of SQLite with an absolute path (sqlite:////home/me/al_engine.db);
            empty: the database of the worker. A password belongs in AL_ENGINE_DATABASE, not here.
    """

    def work() -> State[Any]:
        url = database_of_run(database_url)
        with claimed(campaign, f"{campaign}, labels"), leading(campaign, url):
            with assemble(campaign, url) as run:
                if waiting(run):
                    return Completed(name="WaitsForApproval", message=End.APPROVAL.sentence(campaign))
                newest = run.store.latest_generation(campaign)
                number = newest.number if newest else 0
                missing = run.store.unlabeled_ids(campaign, number) if newest else []
                size = run.config.labeling.task_size
                if missing:
                    check_labeler(run)
            here: dict[str, Any] = {"campaign": campaign, "generation": number, "database_url": url}
            for chunk, first in enumerate(range(0, len(missing), size)):
                as_task(label_step, (), chunk=chunk, frame_ids=missing[first : first + size], **here)
        return Completed(message=f"{len(missing)} labels of generation {number}")

    return ending(work)
