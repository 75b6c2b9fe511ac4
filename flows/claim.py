"""Which flow run and process work on a campaign; what a dead one left open is closed by the next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
    TaskRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows.processes import is_dead, this_process

_OPEN = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


@contextmanager
def claimed(campaign: str, run_name: str) -> Iterator[None]:
    """Name the flow run that this is, and mark it and what it starts as the campaign's and this process's."""
    own = UUID(flow_run.get_id())
    close_dead_runs(campaign, but=own)
    mine = [_campaign_tag(campaign), _process_tag()]
    others = [tag for tag in flow_run.get_tags() if not tag.startswith("process:")]
    with get_client(sync_client=True) as client:
        client.update_flow_run(own, name=run_name, tags={*others, *mine})
    with tags(*mine):
        yield


def close_dead_runs(campaign: str, but: UUID | None = None) -> int:
    """Set Crashed what dead processes of this machine left running; return how many runs that were.

    Args:
        campaign: Its name.
        but: A flow run that is not looked at: it begins now, perhaps again.
    """
    tagged, kinds = [_campaign_tag(campaign)], _OPEN
    flow_filter = FlowRunFilter(
        tags=FlowRunFilterTags(all_=tagged),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=kinds)),
    )
    task_filter = TaskRunFilter(
        tags=TaskRunFilterTags(all_=tagged),
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=kinds)),
    )
    crashed: State[Any] = Crashed(message="Its process died. The campaign goes on in a newer run.")
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=flow_filter)
        flow_runs = [run for run in found if run.id != but and _dead(run.tags)]
        for run in flow_runs:
            client.set_flow_run_state(run.id, crashed, force=True)
        task_runs = [run for run in client.read_task_runs(task_run_filter=task_filter) if _dead(run.tags)]
        for task_run in task_runs:
            client.set_task_run_state(task_run.id, crashed, force=True)
    return len(flow_runs) + len(task_runs)


def _campaign_tag(name: str) -> str:
    return f"campaign:{name}"


def _process_tag() -> str:
    return f"process:{this_process()}"


def _dead(tags_of_run: list[str]) -> bool:
    """Whether the process that ran it is gone."""
    return any(is_dead(tag.removeprefix("process:")) for tag in tags_of_run if tag.startswith("process:"))
