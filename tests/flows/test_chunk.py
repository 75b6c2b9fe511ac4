"""A worker elsewhere: labels what is missing, writes for its driver alone, and ends in time."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML
from running import CONFIGS, ROOT, environment

import flows.chunk
from al_engine.config_file import load_config
from al_engine.errors import InputError
from al_engine.labeling import Labeler
from al_engine.records import Label
from db.failures import failures
from db.leases import Lease, held, take
from db.store import Store
from flows.assembly import register
from flows.chunk import MARGIN_S, Chunk, label_chunk
from flows.cli import execute
from flows.steps import initial

WORKER = """
import sys
from flows.chunk import Chunk, label_chunk
from db.store import Store
with Store.open(sys.argv[1]) as store:
    ids = store.unlabeled_ids("smoke", 0)
print(label_chunk(Chunk(sys.argv[1], "smoke", 0, None, ids)))
"""


@pytest.fixture(autouse=True)
def slow_calculator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The smoke campaign, whose initial frames wait for labels of 0.3 s each."""
    keywords = {"folder": str(tmp_path), "seconds": 0.3}
    file = written(tmp_path, reference={"kind": "ase", "calculator": "far.Slow", "keywords": keywords})
    url = f"sqlite:///{tmp_path}/al_engine.db"
    register(load_config(file), file, url)
    with Store.open(url) as store:
        store.open_generation("smoke", 0)
    initial("smoke", 0, url)
    return url


def written(folder: Path, **changes: object) -> Path:
    data = YAML(typ="safe").load((CONFIGS / "smoke.yaml").read_text())
    shutil.copy(CONFIGS / "smoke.xyz", folder)
    file = folder / "smoke.yaml"
    file.write_text(json.dumps(data | {"initial": {"n_frames": 6}} | changes, indent=1))
    return file


def calls(folder: Path) -> dict[int, list[list[float]]]:
    found: dict[int, list[list[float]]] = importlib.import_module("far").calls(folder)
    return found


def n_calls(folder: Path) -> int:
    return sum(map(len, calls(folder).values()))


def waiting(url: str) -> list[str]:
    with Store.open(url) as store:
        return store.unlabeled_ids("smoke", 0)


def test_what_has_its_label_is_not_computed_again(url: str, tmp_path: Path):
    ids = waiting(url)
    chunk = Chunk(url, "smoke", 0, None, ids[:3])
    assert label_chunk(chunk) == ""
    assert waiting(url) == ids[3:]
    assert label_chunk(replace(chunk, frame_ids=ids[:4])) == ""
    assert (waiting(url), n_calls(tmp_path)) == (ids[4:], 4)


def driver_after(url: str, driver: str) -> Lease:
    with Store.open(url) as store:
        lease = take(store, "smoke", driver, 60.0, lambda _: True)
        assert isinstance(lease, Lease)
        held_by_it = held(store.database, "smoke", 60.0)
        assert held_by_it == replace(lease, after="")
        return lease


def test_a_worker_of_a_driver_that_was_replaced_computes_nothing(url: str, tmp_path: Path):
    old, new = driver_after(url, "a:1"), driver_after(url, "b:2")
    chunk = Chunk(url, "smoke", 0, old, waiting(url)[:2])
    assert "another one took its place" in label_chunk(chunk)
    assert n_calls(tmp_path) == 0
    assert label_chunk(replace(chunk, lease=new)) == ""
    assert n_calls(tmp_path) == 2


def test_it_writes_nothing_more_once_its_driver_was_replaced(url: str, monkeypatch: pytest.MonkeyPatch):
    lease, label_all = driver_after(url, "a:1"), Labeler.label_all

    def replacing(labeler: Labeler, frames: Any) -> Iterator[Any]:
        for number, result in enumerate(label_all(labeler, frames)):
            if number == 1:
                driver_after(url, "b:2")
            yield result

    monkeypatch.setattr(flows.chunk, "WRITE_EVERY_S", 0.0)
    monkeypatch.setattr(Labeler, "label_all", replacing)
    ids = waiting(url)
    assert "another one took its place" in label_chunk(Chunk(url, "smoke", 0, lease, ids))
    assert len(waiting(url)) == len(ids) - 1


def test_no_label_is_begun_that_would_not_end_in_time(url: str, tmp_path: Path):
    ids = waiting(url)
    assert label_chunk(Chunk(url, "smoke", 0, None, ids, time_limit_s=MARGIN_S - 1.0)) == ""
    assert len(waiting(url)) == len(ids) - 1  # how long one takes is not known before
    until = time.time() + 2.0
    assert label_chunk(Chunk(url, "smoke", 0, None, ids, time_limit_s=MARGIN_S + 2.0)) == ""
    ends = sorted(end for times in calls(tmp_path).values() for _, end in times)
    assert 2 <= len(ends) == len(ids) - len(waiting(url)) < len(ids)
    assert all(end < until + 0.2 for end in ends[2:])


def test_what_ends_a_job_is_no_failure_of_its_frames(url: str, tmp_path: Path):
    """SIGTERM reaches the calculations, and the worker last; what had ended is written."""
    n_frames = len(waiting(url))
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, url],
        env=environment({"PYTHONPATH": f"{ROOT}:{ROOT}/benchmarks"}), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while n_calls(tmp_path) < 3:
        time.sleep(0.02)
    for child in psutil.Process(worker.pid).children(recursive=True):
        child.terminate()
    time.sleep(0.3)
    worker.send_signal(signal.SIGTERM)
    assert worker.communicate(timeout=30)[0] == "\n"
    assert worker.returncode == 0
    with Store.open(url) as store:
        assert failures(store, "smoke") == []
        assert len(store.unlabeled_ids("smoke", 0)) == n_frames - 2
        assert all(isinstance(item.label, Label) for item in store.labeled("smoke"))


def test_the_database_comes_from_the_environment_where_the_url_holds_a_password(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    chunk = Chunk(None, "smoke", 0, None, waiting(url)[:1])
    monkeypatch.delenv("AL_ENGINE_DATABASE", raising=False)
    assert label_chunk(chunk).startswith("AL_ENGINE_DATABASE is not set")
    monkeypatch.setenv("AL_ENGINE_DATABASE", url)
    assert label_chunk(chunk) == ""
    assert chunk.frame_ids[0] not in waiting(url)


@pytest.mark.parametrize("where", [{"kind": "slurm"}, {"kind": "dask", "address": "tcp://other:8786"}])
def test_sqlite_is_refused_where_jobs_may_run_on_other_machines(
    where: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file, url = written(tmp_path, labeling={"where": where}), f"sqlite:///{tmp_path}/none.db"
    assert execute(["run", str(file), "--database", url]) == 2
    error = capsys.readouterr().err
    assert f"{file}, line " in error
    assert "labeling.where" in error
    assert "give a PostgreSQL database" in error
    assert error.count("\n") == 1
    here = written(tmp_path, labeling={"where": {"kind": "dask", "address": "tcp://127.0.0.1:8786"}})
    register(load_config(here), here, url)


def test_an_address_that_is_none_is_refused_with_its_line(tmp_path: Path):
    file = written(tmp_path, labeling={"where": {"kind": "dask", "address": "here"}})
    with pytest.raises(InputError, match=r"line \d+: labeling\.where\.(dask\.)?address = 'here'"):
        load_config(file)
    assert "AL_ENGINE_DATABASE" not in os.environ
