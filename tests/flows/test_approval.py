"""Nothing is labeled before a person says yes: by the command, or by Resume in the UI of a paused run."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling
from ruamel.yaml import YAML
from running import CONFIGS, Finished, begun, command, reduced

from al_engine.config_file import load_config
from al_engine.stages.plan import End
from db.dump import canonical_dump
from db.store import Store
from flows.assembly import register
from flows.cli import execute
from flows.deployments import deploy
from flows.driver import drive
from flows.labels import label

Process = subprocess.Popen[str]


def asking(file: Path, **changes: object) -> Path:
    """The same campaign, that asks."""
    data = YAML(typ="safe").load(file.read_text()) | changes
    data["selection"]["approve"] = True
    file.write_text("")
    with file.open("w") as out:
        YAML().dump(data, out)
    return file


@pytest.fixture
def deployment(client: SyncPrefectClient) -> UUID:
    """Of campaigns; made before there is a browser, in whose thread an event loop runs."""
    return deploy()["campaign/local"]


@pytest.fixture
def started(prefect_api: str, tmp_path: Path) -> Iterator[Any]:
    """Starts commands, which end with the test."""
    running: list[Process] = []

    def start(*arguments: str) -> Process:
        process = begun(*arguments, cwd=tmp_path, env={"PREFECT_API_URL": prefect_api})
        running.append(process)
        return process

    yield start
    for process in running:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def n_labels(url: str) -> list[int]:
    """Labels of each generation."""
    with Store.open(url) as store:
        return [g.n_labeled for g in store.generations(store.campaign_names()[0])]


def paused(client: SyncPrefectClient, name: str) -> Any:
    """The newest run of this name, once it is paused."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        runs = sorted((r for r in client.read_flow_runs() if r.name == name), key=lambda r: r.created)
        if runs and runs[-1].state.type is StateType.PAUSED:
            return runs[-1]
        time.sleep(0.2)
    raise AssertionError(f"no run {name} was paused")


def test_without_prefect_it_stops_says_how_to_go_on_and_ends_with_the_same_bits(
    smoke: Finished, client: SyncPrefectClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file, url = tmp_path / "smoke.yaml", f"sqlite:///{tmp_path}/al_engine.db"
    (tmp_path / "smoke.xyz").write_text((CONFIGS / "smoke.xyz").read_text())
    file.write_text((CONFIGS / "smoke.yaml").read_text())
    register(load_config(asking(file)), file, url)
    with Store.open(url) as store, Store.open(smoke.url) as undisturbed:
        for number in range(3):
            assert drive("smoke", url) is drive("smoke", url) is End.APPROVAL
            state: Any = label(campaign="smoke", database_url=url, return_state=True)
            assert state.name == "WaitsForApproval"
            assert (len(n_labels(url)), n_labels(url)[-1]) == (number + 1, 0)
            assert execute(["approve", "smoke", "--database", url]) == 0
            assert f"frames of generation {number} are approved" in capsys.readouterr().out
            assert execute(["approve", "smoke", "--database", url]) == 0
            assert capsys.readouterr().out == "smoke: no frames wait for approval\n"
        assert drive("smoke", url) is End.MAX_GENERATIONS
        assert canonical_dump(store, "smoke") == canonical_dump(undisturbed, "smoke")


def test_a_run_pauses_until_it_is_resumed_or_approved_and_can_be_cancelled(
    client: SyncPrefectClient, started: Any, tmp_path: Path
):
    file, url = asking(reduced("smoke", tmp_path), name="asks"), f"sqlite:///{tmp_path}/al_engine.db"
    run = started("run", str(file))
    first = paused(client, "asks")
    assert first.state.message == "generation 0: 8 frames wait for approval. Resume approves them."
    newest = ArtifactFilter(key=ArtifactFilterKey(any_=["asks-newest"]))
    assert first.id in {a.flow_run_id for a in client.read_artifacts(artifact_filter=newest)}
    client.set_flow_run_state(first.id, Cancelling())
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "al-engine: interrupted; the same command goes on\n")
    assert client.read_flow_run(first.id).state.is_cancelled()
    assert n_labels(url) == [0]
    run = started("run", str(file))
    client.resume_flow_run(paused(client, "asks").id)
    assert any("generation 0: closed" in line for line in run.stdout)
    paused(client, "asks")
    assert n_labels(url) == [8, 0]
    assert execute(["approve", "asks", "--database", url]) == 0
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "The campaign asks is done" in out
    assert all(n_labels(url))


def test_a_run_with_a_wall_time_stops_instead(prefect_api: str, tmp_path: Path):
    file = asking(reduced("smoke", tmp_path), name="queue", wall_time_h=1.0)
    done = command("run", str(file), cwd=tmp_path, env={"PREFECT_API_URL": prefect_api})
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-1]
    assert said.startswith("The campaign queue waits for a person (selection.approve)")
    assert said.endswith("al-engine approve queue, and run the same command to go on.")


@pytest.mark.browser
@pytest.mark.slow
def test_resume_in_the_browser_lets_a_deployed_run_go_on(
    client: SyncPrefectClient,
    prefect_api: str,
    deployment: UUID,
    started: Any,
    page: Any,
    tmp_path: Path,
):
    file = asking(reduced("smoke", tmp_path), name="resumed")
    started("worker")
    run = client.create_flow_run_from_deployment(deployment, parameters={"config_file": str(file)})
    ui = f"{prefect_api.removesuffix('/api')}/v2/runs/flow-run/{run.id}"
    for number in (0, 1):
        paused(client, "resumed")
        page.goto(ui, wait_until="domcontentloaded")
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_text("resumed-newest").first.wait_for(timeout=30_000)
        page.screenshot(path=tmp_path / f"paused-{number}.png")
        page.get_by_role("button", name="Open menu").first.click()
        page.get_by_role("menuitem", name="Resume").click()
        page.screenshot(path=tmp_path / f"resume-{number}.png")
        page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        while client.read_flow_run(run.id).state.type is StateType.PAUSED:
            time.sleep(0.2)
    page.get_by_text("GenerationsDone").first.wait_for(timeout=60_000)
