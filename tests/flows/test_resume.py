"""kill -9 at any moment: the same call goes on and ends with the database of the run that was not killed."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from running import CONFIGS, environment

from al_engine.config_file import load_config
from al_engine.stages.plan import End
from db.dump import canonical_dump
from db.store import Store
from db.training_states import keep, kept
from flows.assembly import register
from flows.driver import drive

N_KILLS = 5
DRIVE = "import sys; from flows.driver import drive; drive('smoke', sys.argv[1])"
DRIVE_INTO_A_TRAINING = """
import os, signal, sys
import db.training_states
from flows import steps
from flows.driver import drive

steps.CHECKPOINT_EVERY_S = 0.0
keep, states = db.training_states.keep, []

def kept_and_killed(*arguments):
    keep(*arguments)
    states.append(1)
    if len(states) == 200:
        os.kill(os.getpid(), signal.SIGKILL)

db.training_states.keep = kept_and_killed
drive('smoke', sys.argv[1])
"""


def fresh(folder: Path) -> str:
    """A database with the smoke campaign, registered and not begun."""
    folder.mkdir()
    url = f"sqlite:///{folder}/al_engine.db"
    register(load_config(CONFIGS / "smoke.yaml"), CONFIGS / "smoke.yaml", url)
    return url


def dump(url: str) -> str:
    with Store.open(url) as store:
        return canonical_dump(store, "smoke")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = fresh(tmp_path_factory.mktemp("whole") / "run")
    assert drive("smoke", url) is End.MAX_GENERATIONS
    return dump(url)


def test_a_finished_campaign_is_left_as_it_is(undisturbed: str, tmp_path: Path):
    url = fresh(tmp_path / "run")
    drive("smoke", url)
    assert dump(url) == undisturbed  # the same seed gives the same campaign
    assert drive("smoke", url) is End.MAX_GENERATIONS
    assert dump(url) == undisturbed


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_the_same(undisturbed: str, tmp_path: Path):
    url, rng, n_killed = fresh(tmp_path / "run"), random.Random(7), 0
    while True:
        driver = subprocess.Popen([sys.executable, "-c", DRIVE, url], env=environment())
        try:
            assert driver.wait(rng.uniform(3.0, 9.0) if n_killed < N_KILLS else 300) == 0
            break
        except subprocess.TimeoutExpired:
            family = psutil.Process(driver.pid).children(recursive=True)
            driver.kill()
            driver.wait()
            n_killed += 1
            _, alive = psutil.wait_procs(family, timeout=5)
            assert not alive
    assert n_killed > 0
    assert dump(url) == undisturbed


def test_a_training_that_is_killed_goes_on_where_it_was(
    undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = fresh(tmp_path / "run")
    line = [sys.executable, "-c", DRIVE_INTO_A_TRAINING, url]
    assert subprocess.run(line, env=environment(), check=False, timeout=300).returncode == -signal.SIGKILL
    states: list[int] = []

    def count(store: Store, campaign: str, number: int, state: bytes) -> bool:
        states.append(number)
        return keep(store, campaign, number, state)

    monkeypatch.setattr("db.training_states.keep", count)
    monkeypatch.setattr("flows.steps.CHECKPOINT_EVERY_S", 0.0)
    with Store.open(url) as store:
        assert kept(store, "smoke", 1) is not None
    drive("smoke", url)
    assert (states.count(1), states.count(2)) == (100, 300)  # of 300 steps
    assert dump(url) == undisturbed


def test_two_drivers_at_once_do_the_campaign_once(undisturbed: str, tmp_path: Path):
    url = fresh(tmp_path / "run")
    line = [sys.executable, "-c", f"import logging; logging.basicConfig(level=logging.INFO); {DRIVE}", url]
    drivers = [subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(driver.communicate(timeout=300)[1] for driver in drivers)
    assert [driver.returncode for driver in drivers] == [0, 0]
    assert said.count("works on this campaign; waiting for its end") == 1
    assert said.count("trained 3 networks") == said.count(" with 9 labels done") == 2  # generations
    assert dump(url) == undisturbed
