"""Flow `campaign`: generations until it converged or its budget is spent. The store is the only memory."""

from typing import Any

from prefect import flow, tags
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
from prefect.states import Completed, Crashed

from al_engine.stages.plan import End
from flows.assembly import assemble
from flows.driver import drive, end
from flows.generation import generation
from flows.processes import is_dead, this_process

_OPEN = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]
_STATE_NAMES = {
    End.CONVERGED: "Converged",
    End.MAX_GENERATIONS: "GenerationsDone",
    End.BUDGET_SPENT: "BudgetSpent",
    End.HOURS_SPENT: "BudgetSpent",
    End.WALL_TIME: "WallTime",
}


@flow(name="campaign", flow_run_name="{campaign}", persist_result=False)
def campaign(campaign: str, database_url: str | None = None) -> State[Any]:
    """Run a stored campaign to its end, from wherever it is.

    Args:
        campaign: Its name in the database.
        database_url: Where it is stored; default: AL_ENGINE_DATABASE.
    """
    before: list[Any] = []

    def as_subflow(name: str, number: int, url: str | None, until: float | None) -> None:
        state: Any = generation(name, number, url, until, wait_for=before, return_state=True)
        state.result()  # raises what a step raised
        before[:] = [state]

    over = drive(campaign, database_url, generation=as_subflow)
    return Completed(name=_STATE_NAMES[over], message=over.sentence(campaign))


def run_campaign(name: str, database_url: str | None) -> End:
    """Run the flow in this process, after what a dead run of this campaign left open is closed."""
    close_dead_runs(name)
    with tags(_campaign_tag(name), _process_tag()):
        campaign(name, database_url)
    with assemble(name, database_url) as run:
        return end(run) or End.WALL_TIME  # what else may end a flow is in the store


def close_dead_runs(name: str) -> int:
    """Set Crashed what dead processes of this machine left running; return how many runs that were."""
    tagged, kinds = [_campaign_tag(name)], _OPEN
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
        flow_runs = [run for run in client.read_flow_runs(flow_run_filter=flow_filter) if _dead(run.tags)]
        for flow_run in flow_runs:
            client.set_flow_run_state(flow_run.id, crashed, force=True)
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
