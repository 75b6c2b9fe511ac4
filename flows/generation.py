"""Sub-flow `generation`: what one generation of a campaign still lacks."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from flows.driver import run_generation
from flows.ending import CancelledError
from flows.tasks import as_task


@flow(name="generation", flow_run_name="{campaign}, generation {generation}", persist_result=False)
def generation(
    campaign: str, generation: int, database_url: str | None = None, until: float | None = None
) -> State[Any] | None:
    """Train, explore, select, label and close one generation of a campaign.

    Args:
        campaign: Its name in the database.
        generation: Its number; 0 is the initial one, without a model.
        database_url: Where the campaign is stored; default: AL_ENGINE_DATABASE.
        until: When it has to end, at a step that it can go on from; Unix time.
    """
    try:
        run_generation(campaign, generation, database_url, call=as_task, until=until)
    except CancelledError:
        return Cancelled()
    return None
