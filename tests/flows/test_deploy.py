"""Campaigns that a worker runs: from the form in a real browser to the last generation; and cancellation."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelling
from running import begun, command, reduced

from db.store import Store
from flows.campaign import campaign
from flows.deployments import deploy
from flows.labels import label
from flows.locks import only_training

WAIT_MS = 90_000  # some seconds on an idle machine


@pytest.fixture
def form(client: SyncPrefectClient) -> str:
    """Address of the form that starts a campaign, below that of the UI."""
    found = deploy()
    assert deploy() == found  # again, and nothing new
    assert {f"{name}/local" for name in ("campaign", "label", "report", "audit")} == set(found)
    return f"deployments/deployment/{found['campaign/local']}/run"


def test_each_kind_of_machine_has_deployments_and_workers_of_its_own(
    client: SyncPrefectClient, prefect_api: str, tmp_path: Path
):
    api = {"PREFECT_API_URL": prefect_api}
    refused = command("worker", "--pool", "gpu", cwd=tmp_path, env=api)
    assert refused.returncode == 2
    assert refused.stderr.endswith("no deployments in pool 'gpu': al-engine deploy --pool gpu\n")
    done = command("deploy", "--pool", "gpu", cwd=tmp_path, env=api)
    assert "campaign/gpu: http" in done.stdout
    assert client.read_deployment_by_name("campaign/gpu").work_pool_name == "gpu"


@contextmanager
def trainings_wait() -> Iterator[None]:
    """Hold the device, so that a campaign stands before its training as long as this test wants."""
    with only_training("cpu"):
        yield


def named(name: str, folder: Path) -> Path:
    file = reduced("smoke", folder)
    file.write_text(file.read_text().replace('"smoke"', f'"{name}"'))
    return file


def start(folder: Path, api: str, *arguments: str) -> "subprocess.Popen[str]":
    return begun(*arguments, cwd=folder, env={"PREFECT_API_URL": api})


def wait_for(said: str, process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert any(said in line for line in process.stdout)


def run_of(client: SyncPrefectClient, name: str) -> Any:
    """The newest run of this name."""
    return max((r for r in client.read_flow_runs() if r.name == name), key=lambda r: r.created)


def test_a_run_from_the_command_line_is_cancelled_and_terminated_and_goes_on(
    client: SyncPrefectClient, prefect_api: str, tmp_path: Path
):
    file, url = named("stopped", tmp_path), f"sqlite:///{tmp_path}/al_engine.db"
    with trainings_wait():
        for how, end in (("cancel", "Cancelled"), ("terminate", "Crashed")):
            run = start(tmp_path, prefect_api, "run", str(file))
            wait_for("another campaign trains on this cpu", run)
            asked = time.monotonic()
            if how == "cancel":
                client.set_flow_run_state(run_of(client, "stopped").id, Cancelling())
            else:
                run.terminate()
            _, err = run.communicate(timeout=60)
            assert time.monotonic() - asked < 20  # 10 s on an idle machine
            assert run.returncode == 130
            assert err == "al-engine: interrupted; the same command goes on\n"
            assert run_of(client, "stopped").state.name == end
            assert run_of(client, "stopped, generation 1").state.name == end
    other = file.read_text().replace('"n_members": 2', '"n_members": 3')
    (tmp_path / "other.yaml").write_text(other)
    state: Any = campaign(config_file=str(tmp_path / "other.yaml"), database_url=url, return_state=True)
    assert state.is_failed()
    assert state.message.startswith(f"{tmp_path}/other.yaml, line ")
    assert "cannot change" in state.message
    state = campaign(name="stopped", database_url=url, return_state=True)
    assert (state.type, state.name) == (StateType.COMPLETED, "GenerationsDone")
    state = label(campaign="stopped", database_url=url, return_state=True)
    assert (state.type, state.message) == (StateType.COMPLETED, "0 labels of generation 1")


def submit(page: Any, form: str, client: SyncPrefectClient, **values: str) -> Any:
    """Fill the form of the deployment in and send it; return the flow run that came of it."""
    known = {run.id for run in client.read_flow_runs()}
    page.goto(form, wait_until="domcontentloaded")
    for field, value in values.items():
        page.get_by_label(re.compile(rf"^{field}\b")).first.fill(value, timeout=WAIT_MS)
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**tab=Runs", timeout=WAIT_MS)
    return next(run for run in client.read_flow_runs() if run.id not in known)


@pytest.mark.browser
@pytest.mark.slow
def test_the_form_starts_a_campaign_that_is_cancelled_and_goes_on(
    client: SyncPrefectClient, prefect_api: str, form: str, page: Any, tmp_path: Path
):
    file, url = named("form", tmp_path), f"sqlite:///{tmp_path}/al_engine.db"
    ui = prefect_api.removesuffix("/api") + "/v2"
    form = f"{ui}/{form}"
    worker = start(tmp_path, prefect_api, "worker")
    try:
        with trainings_wait():
            run = submit(page, form, client, config_file=str(file))
            page.goto(f"{ui}/runs/flow-run/{run.id}", wait_until="domcontentloaded")
            page.get_by_text("campaign:form").first.wait_for(timeout=WAIT_MS)
            while not is_training(url):
                time.sleep(0.2)
            page.screenshot(path=tmp_path / "running.png")
            page.get_by_role("button", name="Open menu").first.click()
            page.get_by_role("menuitem", name="Cancel").click()
            page.get_by_role("button", name="Cancel Flow Run").click()
            page.get_by_text("Cancelled", exact=True).first.wait_for(timeout=WAIT_MS)
        again = submit(page, form, client, name="form")
        page.goto(f"{ui}/runs/flow-run/{again.id}", wait_until="domcontentloaded")
        page.get_by_text("GenerationsDone").first.wait_for(timeout=WAIT_MS)
        page.screenshot(path=tmp_path / "done.png")
    finally:
        worker.send_signal(signal.SIGINT)
        _, err = worker.communicate(timeout=60)
    assert worker.returncode == 130, err
    done = command("run", "form", cwd=tmp_path, env={"PREFECT_API_URL": prefect_api})
    assert "The campaign form is done" in done.stdout
    wrong = {"structure": "/no/such.xyz", "tolerance_ev_per_ang": -1}
    with pytest.raises(PrefectHTTPStatusError, match="409"):
        client.create_flow_run_from_deployment(UUID(form.split("/")[-2]), parameters=wrong)


def is_training(url: str) -> bool:
    """Whether the campaign has come to its first model."""
    if not Path(url.removeprefix("sqlite:///")).exists():
        return False
    with Store.open(url) as store:
        return store.generation("form", 1) is not None
