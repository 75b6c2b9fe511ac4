"""kill -9 at any moment: the same call goes on and ends with the database of the run that was not killed."""

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from running import CONFIGS, environment

from al_engine.config_file import load_config
from al_engine.stages.plan import End
from db.dump import canonical_dump
from db.store import Store
from flows.assembly import register
from flows.driver import drive

N_KILLS = 5
DRIVE = "import sys; from flows.driver import drive; drive('smoke', sys.argv[1])"


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


def test_two_drivers_at_once_do_the_campaign_once(undisturbed: str, tmp_path: Path):
    url = fresh(tmp_path / "run")
    drivers = [subprocess.Popen([sys.executable, "-c", DRIVE, url], env=environment()) for _ in range(2)]
    time.sleep(0.1)
    assert [driver.wait(300) for driver in drivers] == [0, 0]
    assert dump(url) == undisturbed
