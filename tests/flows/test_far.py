"""Short versions of `benchmarks/far.py`: labels from Dask's workers and Slurm's jobs, some of which go."""

import importlib
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import slurm_node
from prefect.client.orchestration import SyncPrefectClient
from running import ROOT

import flows.elsewhere
import flows.slurm
from al_engine.errors import AlEngineError
from db.store import Store
from flows.chunk import Chunk

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))  # for the processes that compute, too
    monkeypatch.syspath_prepend(str(ROOT / "tests/db"))
    return importlib.import_module("far")


@pytest.fixture
def slurm(far: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    if reason := slurm_node.missing():
        pytest.skip(reason)
    if importlib.import_module("postgres").binaries() is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(flows.slurm, "ASK_EVERY_S", 1.0)
    return lambda **how: far.run("slurm", tmp_path, **({"n_frames": 22, "seconds": 0.2, "chunk": 6} | how))


def is_whole(found: dict[str, Any], n_again: int = 0) -> None:
    """Every frame has its label, and at most so many were computed twice."""
    assert found["frames"] == found["labeled"] == found["labels_in_the_database"] == 24
    assert 24 <= found["calls"] <= 24 + n_again
    assert found["generation"] == "closed"


@pytest.mark.slow
def test_dask_labels_in_several_processes_of_which_one_is_killed(far: ModuleType, tmp_path: Path):
    found = far.run("dask", tmp_path, n_frames=22, seconds=0.3, chunk=6, disturb=far.kill_one, after_s=0.5)
    is_whole(found, n_again=6)
    assert found["workers"] >= 4


def test_where_the_first_labels_of_a_job_all_fail_the_campaign_says_why(far: ModuleType, tmp_path: Path):
    with pytest.raises(AlEngineError, match="the first 8 labels all failed, 8 by 'exception'"):
        far.run("dask", tmp_path, n_frames=10, chunk=12, seconds=-1.0)  # no time to sleep


def test_a_scheduler_that_does_not_answer_is_named(far: ModuleType, tmp_path: Path):
    dask = pytest.importorskip("dask", reason="pip install 'al-engine[dask]'")
    from flows.assembly import assemble
    from flows.elsewhere import label_elsewhere
    from flows.steps import initial

    url = f"sqlite:///{tmp_path}/far.db"
    far.set_up(tmp_path, url, far.Dask(kind="dask", address="tcp://127.0.0.1:1"), 2, 0.0, 25)
    initial("far", 0, url)
    is_refused = pytest.raises(AlEngineError, match=r"address = 'tcp://127.0.0.1:1': Timed out")
    is_soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with assemble("far", url) as run, is_soon, is_refused:
        list(label_elsewhere(run, 0, run.store.unlabeled_ids("far", 0), url))


def test_the_flow_of_labels_ends_well_where_jobs_have_nothing_to_do(
    far: ModuleType, tmp_path: Path, client: SyncPrefectClient
):
    from flows.labels import label

    url = f"sqlite:///{tmp_path}/far.db"
    far.set_up(tmp_path, url, far.Dask(kind="dask", address="tcp://127.0.0.1:1"), 2, 0.0, 25)
    state: Any = label(campaign="far", database_url=url, return_state=True)
    assert state.is_completed(), state.message
    assert state.message == "0 labels of generation 0"


def test_jobs_that_bring_nothing_are_not_submitted_for_ever(
    far: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Dying:
        def outcomes(self) -> list[str | None]:
            return [""]

    rounds: list[list[str]] = []

    def submit(chunks: Sequence[Chunk]) -> Dying:
        rounds.append([frame_id for chunk in chunks for frame_id in chunk.frame_ids])
        return Dying()

    monkeypatch.setattr(flows.elsewhere, "_open", lambda _run: nullcontext(submit))
    url = f"sqlite:///{tmp_path}/far.db"
    far.set_up(tmp_path, url, far.Dask(kind="dask", address="tcp://127.0.0.1:1"), 4, 0.0, 4)
    with pytest.raises(AlEngineError, match="3 rounds of jobs brought no label"):
        far.label(url)
    with Store.open(url) as store:
        assert rounds == [store.unlabeled_ids("far", 0)] * 3


@pytest.mark.slow
def test_slurm_labels_though_a_job_is_killed_and_leaves_no_task_run_open(
    slurm: Run, far: ModuleType, client: SyncPrefectClient, tmp_path: Path
):
    is_whole(slurm(work=far.through_prefect, disturb=far.kill_one, after_s=0.5), n_again=6)
    assert not list(tmp_path.glob("al-engine-jobs-*"))


@pytest.mark.slow
def test_a_node_that_is_drained_ends_its_jobs_and_goes_on_when_it_is_back(slurm: Run):
    def drain(_folder: Path, _cluster: str | None) -> None:
        slurm_node.set_node("DRAIN")
        while slurm_node.node_state() != "drained":  # what runs goes on to its end
            time.sleep(0.1)
        slurm_node.set_node("RESUME")

    is_whole(slurm(chunk=4, disturb=drain, after_s=0.3))
