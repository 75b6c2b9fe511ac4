"""A flow run that pauses until a person approves what it is about to label: in the UI, or by the command."""

import logging
import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import CancelledRun
from prefect.runtime import flow_run
from prefect.states import Paused, Running

from db.approvals import approve
from flows.artifacts import is_there, publish_newest
from flows.assembly import assemble
from flows.driver import waiting

log = logging.getLogger("al_engine.campaign")
ASK_EVERY_S = 2.0


def approved_in_a_pause(campaign: str, database_url: str | None) -> bool:
    """Pause this flow run until a person approves the frames that wait; False where it should stop instead.

    It should where it has a wall time, as a job that waits holds its node, and where the server is away. The
    lease is not held: another run may go on with the campaign in the meantime.

    Raises:
        CancelledRun: A person cancelled the run.
    """
    with assemble(campaign, database_url) as run:
        found, is_limited = waiting(run), run.config.wall_time_h is not None
    if found is None or is_limited or not is_there():
        return found is None
    number, frames = found
    own, say = UUID(flow_run.get_id()), f"generation {number}: {len(frames)} frames wait for approval"
    log.info("%s: Resume in the UI, or al-engine approve %s", say, campaign)
    publish_newest(campaign, number, database_url)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(own, Paused(message=f"{say}. Resume approves them."), force=True)
        while is_there():
            with assemble(campaign, database_url) as run:
                state = client.read_flow_run(own).state
                if state is None or state.type in (StateType.CANCELLING, StateType.CANCELLED):
                    raise CancelledRun
                if state.type is StateType.RUNNING:
                    approve(run.store, campaign, number)
                elif waiting(run) is None:
                    client.set_flow_run_state(own, Running(), force=True)
                else:
                    time.sleep(ASK_EVERY_S)
                    continue
            log.info("generation %d: approved", number)
            return True
    return False
