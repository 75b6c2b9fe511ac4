"""The how-to of clusters does as it says: on a Slurm of one node, and on Dask's processes."""

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import slurm_node
from ruamel.yaml import YAML
from running import ROOT, environment, reduced

from al_engine.config import Dask, Slurm
from al_engine.config_file import load_config

PAGE = (ROOT / "docs/howto/cluster.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


SLURM, DASK = (YAML(typ="safe").load(block) for block in blocks("yaml"))
SUBMIT, DRIVER, CLUSTER = blocks("bash")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the commands."""
    for name, module in (("al-engine", "flows.cli"), ("dask", "dask")):
        shim = tmp_path / "bin" / name
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        shim.chmod(0o755)
    return tmp_path


def campaign(folder: Path, labeling: dict[str, Any]) -> None:
    file = reduced("smoke", folder)
    (folder / "campaign.yaml").write_text(json.dumps(json.loads(file.read_text()) | labeling))


def around(folder: Path, **more: str) -> dict[str, str]:
    return environment({"PATH": f"{folder}/bin:{os.environ['PATH']}", **more})


def test_its_campaign_files_are_valid_as_they_stand_and_with_what_is_commented(folder: Path):
    more = blocks("yaml")[0].replace("# partition", "partition").replace("# options", "options")
    campaign(folder, YAML(typ="safe").load(more))
    where = load_config(folder / "campaign.yaml").labeling.where
    options: dict[str, str | int] = {"account": "chemistry", "mem-per-cpu": "2G"}
    assert where == Slurm(kind="slurm", time_min=120, n_jobs=50, partition="cpu", options=options)
    campaign(folder, DASK)
    assert isinstance(load_config(folder / "campaign.yaml").labeling.where, Dask)


@pytest.mark.slow
def test_a_driver_that_is_a_job_itself_has_its_labels_from_other_jobs(folder: Path, prefect_api: str):
    if reason := slurm_node.missing():
        pytest.skip(reason)
    sys.path.append(str(ROOT / "tests/db"))
    postgres = importlib.import_module("postgres")
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    assert DRIVER.count("#SBATCH --partition=gpu --gres=gpu:1\n") == 1  # which this node has not
    (folder / "driver.sh").write_text(DRIVER.replace("--partition=gpu --gres=gpu:1", "--job-name=driver"))
    campaign(folder, SLURM)
    assert SUBMIT.splitlines()[-1] == DRIVER.splitlines()[-1] == "al-engine run campaign.yaml"
    with postgres.server() as started, slurm_node.slurm(6):
        url = f"postgresql://{started.address}/postgres"
        env = around(folder, AL_ENGINE_DATABASE=url, PREFECT_API_URL=prefect_api, TMPDIR=str(folder))
        line = ["sbatch", "--wait", "--output=driver.log", "driver.sh"]
        done = subprocess.run(line, check=False, cwd=folder, env=env, capture_output=True, text=True)
    said = (folder / "driver.log").read_text()
    assert done.returncode == 0, said
    assert "The campaign smoke is done" in said
    assert "s3cret" not in said
    assert not list(folder.glob("al-engine-jobs-*"))


@pytest.mark.slow
def test_a_campaign_with_the_scheduler_and_workers_that_are_shown(folder: Path, prefect_api: str):
    pytest.importorskip("distributed", reason="pip install 'al-engine[dask]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    env = around(folder, PREFECT_API_URL=prefect_api)
    campaign(folder, json.loads(json.dumps(DASK).replace("8786", port)))
    script = CLUSTER.replace("8786", port).replace("scheduler ", "scheduler --dashboard-address :0 ")
    cluster = subprocess.Popen(
        ["bash", "-c", f"{script}wait"], cwd=folder, env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        line = ["al-engine", "run", "campaign.yaml"]
        done = subprocess.run(line, check=False, cwd=folder, env=env, capture_output=True, text=True)
    finally:
        os.killpg(cluster.pid, signal.SIGTERM)
        cluster.wait(30)
    assert done.returncode == 0, done.stderr
    assert "The campaign smoke is done" in done.stdout
