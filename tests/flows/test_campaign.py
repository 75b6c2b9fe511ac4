"""A campaign in a real Prefect server, read back by its API."""

import base64
import json
import os
import re
import socket
import time
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.exceptions import CancelledRun
from prefect.states import Cancelled, Running
from running import Finished

import flows.campaign
from flows.claim import close_dead_runs
from flows.cli import execute


def eventually(ask: Any, n_wanted: int) -> Any:
    """The server records the last task runs some seconds late."""
    for _ in range(100):
        found = ask()
        if len(found) >= n_wanted:
            break
        time.sleep(0.1)
    return found


def tagged(client: SyncPrefectClient) -> tuple[list[Any], list[Any]]:
    """Flow runs and task runs of the smoke campaign, in order."""
    flow_runs = [r for r in client.read_flow_runs() if re.fullmatch(r"smoke(, generation \d)?", r.name or "")]
    ask = lambda: [r for r in client.read_task_runs() if "campaign:smoke" in r.tags]  # noqa: E731
    task_runs = eventually(ask, 18)
    return sorted(flow_runs, key=lambda r: r.start_time), sorted(task_runs, key=lambda r: r.start_time)


def test_the_runs_have_names_that_a_person_can_read(smoke: Finished, client: SyncPrefectClient):
    flow_runs, task_runs = tagged(client)
    assert [run.name for run in flow_runs] == [
        "smoke", "smoke, generation 0", "smoke, generation 1", "smoke, generation 2",
    ]  # fmt: skip
    names = [run.name for run in task_runs if not run.name.startswith("generation-")]
    assert names == [
        "initial frames", "label 0, chunk 0", "close 0",
        "train 1", "explore 1", "select 1", "label 1, chunk 0", "confirm 1", "close 1",
        "train 2", "explore 2", "select 2", "label 2, chunk 0", "confirm 2", "close 2",
    ]  # fmt: skip
    assert all(run.state.is_completed() for run in (*flow_runs, *task_runs))
    assert flow_runs[0].state.name == "GenerationsDone"


def test_the_graph_shows_the_order(smoke: Finished, client: SyncPrefectClient):
    _, task_runs = tagged(client)
    by_id = {run.id: run.name for run in task_runs}
    after = {run.name: [by_id[item.id] for item in run.task_inputs.get("wait_for", [])] for run in task_runs}
    assert after["explore 1"] == ["train 1"]
    assert after["select 1"] == ["explore 1"]
    assert after["label 1, chunk 0"] == ["select 1"]
    assert after["confirm 1"] == ["label 1, chunk 0"]
    assert after["close 1"] == ["confirm 1"]
    assert after["generation-1"] == ["generation-0"]


def test_parameters_are_plain_and_hold_no_data(smoke: Finished, client: SyncPrefectClient):
    flow_runs, _ = tagged(client)
    given = {key: value for key, value in flow_runs[0].parameters.items() if key in ("name", "database_url")}
    assert given == {"name": "smoke", "database_url": smoke.url}
    assert len(json.dumps(flow_runs[0].parameters)) < 1000
    assert flow_runs[1].parameters["generation"] == 0


def test_what_the_science_says_is_in_the_logs_of_the_run(smoke: Finished, client: SyncPrefectClient):
    flow_runs, _ = tagged(client)
    messages = [entry.message for entry in eventually(client.read_logs, 20)]
    assert flow_runs
    assert any(re.fullmatch(r"generation 1: trained 3 networks on \d+ frames in .* s", m) for m in messages)


def artifacts(client: SyncPrefectClient, key: str) -> list[Any]:
    return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


def test_each_generation_leaves_tables_and_pictures(smoke: Finished, client: SyncPrefectClient):
    tables, plots = artifacts(client, "smoke-errors"), artifacts(client, "smoke-plot")
    assert len(tables) == len(plots) == 3
    newest = max(tables, key=lambda a: a.created).data
    assert newest.startswith("# smoke, generation 2")
    assert "| generation | labels |" in newest
    assert "Exits of walkers" in newest
    assert "| stage | this generation (s) |" in newest
    assert "Not converged" in newest
    for plot in plots:
        _, _, data = plot.data.partition("(data:image/png;base64,")
        assert base64.b64decode(data.removesuffix(")")).startswith(b"\x89PNG")
    for part, n_generations in (("newest", 3), ("worst", 2), ("walkers", 2)):
        found = artifacts(client, f"smoke-{part}")
        assert len(found) == n_generations
        assert all("data:image/png;base64," in item.data for item in found)
    bars = artifacts(client, "smoke-1-train")
    assert [bar.data for bar in bars] == [100.0]


@flow
def left_open() -> None:
    """Stands for a run whose process is gone, or not."""


def run_of(client: SyncPrefectClient, campaign: str, pid: int) -> Any:
    process = f"process:{socket.gethostname()}:{pid}"
    return client.create_flow_run(left_open, tags=[f"campaign:{campaign}", process], state=Running())


def test_what_a_dead_process_left_running_is_crashed(client: SyncPrefectClient):
    run = run_of(client, "killed", pid=2**22 + 1)  # larger than any process number
    assert close_dead_runs("killed") == 1
    assert client.read_flow_run(run.id).state.is_crashed()
    assert close_dead_runs("killed") == 0


def test_what_a_process_that_is_alive_runs_is_left_alone(client: SyncPrefectClient):
    run = run_of(client, "alive", pid=os.getppid())
    assert close_dead_runs("alive") == 0
    assert client.read_flow_run(run.id).state.is_running()


def test_status_as_json_has_the_columns_of_the_view(smoke: Finished, capsys: pytest.CaptureFixture[str]):
    assert execute(["status", "--json", "--database", smoke.url]) == 0
    (campaign,) = json.loads(capsys.readouterr().out)["campaigns"]
    assert campaign["campaign"] == "smoke"
    assert [g["generation"] for g in campaign["generations"]] == [0, 1, 2]
    assert campaign["generations"][0]["force_rmse_ev_per_ang"] is None
    assert campaign["generations"][2]["status"] == "closed"
    assert campaign["stop"]["converged"] is False


def test_a_generation_that_is_cancelled_is_not_done_without_a_server(monkeypatch: pytest.MonkeyPatch):
    answers = iter((True, False))  # it is gone just then
    monkeypatch.setattr(flows.campaign, "is_there", lambda: next(answers))
    monkeypatch.setattr(flows.campaign, "generation", lambda *_, **__: Cancelled())
    with pytest.raises(CancelledRun):
        flows.campaign._subflows()("smoke", 1, None, None)
