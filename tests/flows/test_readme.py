"""What README tells a newcomer to type: run as it stands there, the main job at reduced size."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import ROOT, environment, reduced

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose environment is this one, installed already."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "configs").mkdir()
    reduced("ethanol", folder / "configs")
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    for name, target in (("python", ""), ("al-engine", "-m flows.cli")):
        shim = folder / ".venv/bin" / name
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} {target} "$@"\n')
        shim.chmod(0o755)
    for name in ("installed", "installed-test"):
        (folder / ".venv" / name).touch()
        os.utime(folder / ".venv" / name, (time.time() + 60, time.time() + 60))
    return folder


def test_the_commands_run_in_their_order(checkout: Path, prefect_api: str):
    scripts = [script for script in blocks("bash") if "make test" not in script]
    assert scripts[0] == "make run\n"
    printed = ""
    for script in scripts:
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
            check=False,
            cwd=checkout,
            env=environment({"PREFECT_API_URL": prefect_api}),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert "The campaign ethanol is done" in printed
    for script in blocks("sql"):
        with sqlite3.connect(checkout / "al_engine.db") as database:
            assert database.execute(script).fetchall()
    for script in blocks("python"):
        subprocess.run([sys.executable, "-c", script], check=True, cwd=checkout, env=environment())


def test_make_test_is_what_ci_runs():
    assert "make test\n" in blocks("bash")
    assert "exec make test" in (ROOT / ".ci/run").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)
