"""Real parts for the tests that need them: a Prefect server, a campaign that was run, a browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import CONFIGS, Finished, command

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy and PyTorch are imported, as here
from flows.server import CLIENT, prefect_server

os.environ.update(CLIENT | os.environ)  # and so are these, by Prefect; it starts no server of its own then


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes (-n), one has the tests of a file; one those of Slurm, whose node they share."""
    for item in items:
        file = item.path.name
        group = "slurm" if file in {"test_far.py", "test_cluster_how_to.py"} else file
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A home of its own, so that no other campaign of this machine is waited for."""
    os.environ["AL_ENGINE_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def prefect_api(own_home: None) -> Iterator[str]:
    """A real local server, started as `al-engine run` starts it; its address ends in /api."""
    before = dict(os.environ)
    os.environ.pop("PREFECT_API_URL", None)
    try:
        with prefect_server() as api:
            yield api
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def smoke(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The smoke campaign through Prefect, from the command line."""
    folder = tmp_path_factory.mktemp("smoke")
    done = command("run", str(CONFIGS / "smoke.yaml"), cwd=folder, env={"PREFECT_API_URL": prefect_api})
    assert done.returncode == 0, done.stderr
    return Finished(folder, done.stdout)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """A page of Debian's Chromium that reaches this machine only."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=chromium,
            headless=True,
            viewport={"width": 1400, "height": 1000},
            args=quiet,
        )
        context.route(
            lambda url: not url.startswith(("http://127.0.0.1", "data:", "file://")),
            lambda route: route.abort(),
        )
        yield context.pages[0]
        context.close()
