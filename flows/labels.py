"""Flow `label`: the labels that a campaign waits for, and nothing else."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.assembly import assemble, check_labeler
from flows.campaign import Text, database_of_run
from flows.claim import claimed
from flows.driver import label_missing
from flows.ending import ending
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
        with claimed(campaign, f"{campaign}, labels"):
            with assemble(campaign, url) as run:
                newest = run.store.latest_generation(campaign)
                number = newest.number if newest else 0
                missing = run.store.unlabeled_ids(campaign, number) if newest else []
                size = run.config.labeling.chunk_size
                if missing:
                    check_labeler(run)
            label_missing(size, missing, as_task, campaign=campaign, generation=number, database_url=url)
        return Completed(message=f"{len(missing)} labels of generation {number}")

    return ending(work)
