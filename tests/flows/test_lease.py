"""One driver at a time: the second waits, takes the place of one that is gone, and none writes late."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import CONFIGS, environment

from al_engine.config_file import load_config
from al_engine.stages.plan import End
from db.store import Store
from flows.assembly import assemble, register
from flows.driver import drive

LEASE_S = 1.5
DRIVER = f"""
import logging, sys
import flows.lease
from flows.assembly import assemble

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
flows.lease.LEASE_S = {LEASE_S} if sys.argv[2] == "short" else 3600.0
with flows.lease.leading("smoke", sys.argv[1]):
    print("leading", flush=True)
    for number in sys.stdin:
        with assemble("smoke", sys.argv[1]) as run:
            print(run.store.open_generation("smoke", int(number)), flush=True)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with the smoke campaign, not begun."""
    url = f"sqlite:///{tmp_path}/al_engine.db"
    register(load_config(CONFIGS / "smoke.yaml"), CONFIGS / "smoke.yaml", url)
    return url


Driver = subprocess.Popen[str]


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    """Started ones, which end with the test."""
    started: list[Driver] = []
    yield started
    for driver in started:
        driver.kill()
        driver.communicate()


def start(url: str, drivers: list[Driver], lease: str) -> Driver:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, url, lease],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    drivers.append(driver)
    return driver


def says(driver: Driver) -> str:
    assert driver.stdout is not None
    return driver.stdout.readline().strip()


def told(driver: Driver, number: int) -> None:
    assert driver.stdin is not None
    driver.stdin.write(f"{number}\n")
    driver.stdin.flush()


def test_a_driver_that_waits_gives_up_where_its_wall_time_is_over(
    url: str, drivers: list[Driver], tmp_path: Path
):
    (tmp_path / "smoke.xyz").write_text((CONFIGS / "smoke.xyz").read_text())
    (tmp_path / "short.yaml").write_text((CONFIGS / "smoke.yaml").read_text() + "\nwall_time_h: 1.0\n")
    register(load_config(tmp_path / "short.yaml"), tmp_path / "short.yaml", url)
    first = start(url, drivers, "long")
    assert says(first) == "leading"
    begun = time.time() - 3600 + 2  # two seconds are left
    assert drive("smoke", url, began=begun) is End.WALL_TIME
    assert 2 < time.time() - begun - 3598 < 10
    told(first, 0)
    assert says(first) == "True"  # which was not disturbed


def test_a_stopped_driver_is_replaced_and_cannot_write_late(url: str, drivers: list[Driver]):
    first = start(url, drivers, "short")
    assert says(first) == "leading"
    second = start(url, drivers, "short")
    assert says(second) == f"smoke: process {_name(first)} works on this campaign; waiting for its end"
    time.sleep(2 * LEASE_S)  # it is renewed as long as it is alive
    first.send_signal(signal.SIGSTOP)
    assert says(second) == _goes_on(first)
    assert says(second) == "leading"
    first.send_signal(signal.SIGCONT)
    told(first, 0)
    assert "another one took its place" in first.communicate(timeout=60)[1]
    assert first.returncode == 1
    with Store.open(url) as store:
        assert store.generations("smoke") == []
    told(second, 0)
    assert says(second) == "True"


def _goes_on(after: Driver) -> str:
    return f"smoke: process {_name(after)} worked on this campaign and is gone; this driver goes on"


def _name(driver: Driver) -> str:
    from flows.processes import this_process

    return f"{this_process().rpartition(':')[0]}:{driver.pid}"


@pytest.mark.parametrize("is_killed", [True, False])
def test_the_place_of_a_process_that_is_gone_is_free(is_killed: bool, url: str, drivers: list[Driver]):
    first = start(url, drivers, "long")
    assert says(first) == "leading"
    if is_killed:
        first.kill()
    first.communicate()
    assert first.returncode == (-signal.SIGKILL if is_killed else 0)
    second = start(url, drivers, "long")
    if is_killed:
        assert says(second) == _goes_on(first)
    assert says(second) == "leading"


def test_commands_beside_a_driver_may_write(url: str, drivers: list[Driver]):
    assert says(start(url, drivers, "long")) == "leading"
    with assemble("smoke", url) as run:
        assert run.store.open_generation("smoke", 0)
