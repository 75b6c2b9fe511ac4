"""The local Prefect server: shared by runs, restarted when it dies, gone when nobody is left."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from running import CONFIGS, begun, command, environment

import flows.server
from flows.server import answers, prefect_server

HOLD = "from flows.server import prefect_server as s\nwith s() as u: print(u, flush=True); input()"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home; whatever was started in it must be gone after the test."""
    monkeypatch.setenv("AL_ENGINE_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    yield tmp_path
    eventually(lambda: not processes(tmp_path))


def processes(home: Path) -> list[psutil.Process]:
    """Supervisor and server of this home."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            is_here = str(home) in " ".join([*line, process.environ().get("PREFECT_HOME", "")])
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended, as a zombie has
            continue
        if is_here and ("supervisor" in " ".join(line) or "server" in line):
            found.append(process)
    return found


def eventually(condition, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def holder() -> tuple["subprocess.Popen[str]", str]:
    """A process that uses the server until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.slow
def test_a_local_server_is_shared_survives_its_death_and_ends_with_its_last_user(home: Path):
    first, url = holder()
    second, same = holder()
    assert url == same == json.loads((home / "prefect/server.json").read_text())["url"] + "/api"
    assert url.startswith("http://127.0.0.1:")
    first.kill()
    first.wait()
    time.sleep(5)
    assert answers(url)  # the second one holds it
    server = next(p for p in processes(home) if "supervisor" not in " ".join(p.cmdline()))
    server.send_signal(signal.SIGKILL)
    eventually(lambda: not answers(url, timeout=0.2), 2)
    eventually(lambda: answers(url), 60)
    second.kill()
    second.wait()
    eventually(lambda: not answers(url) and not processes(home))
    for process in (first, second):
        process.communicate()


def test_a_server_that_answers_is_used(prefect_api: str, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    with prefect_server() as url:
        assert url == prefect_api
    assert not (home / "prefect").exists()


@pytest.mark.slow
def test_another_port_is_taken_where_a_free_one_is_lost(home: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        free = flows.server._free_port
        monkeypatch.setattr(flows.server, "_free_port", lambda wanted: free(0) if wanted == 0 else taken)
        with prefect_server() as url:
            assert answers(url)
            assert f":{taken}/" not in url


@pytest.mark.slow
def test_a_campaign_ends_well_though_the_server_dies_for_good(home: Path, tmp_path: Path):
    """Server and supervisor are killed in mid-run; the campaign goes on without them and does not hang."""
    line = [sys.executable, "-m", "flows.cli", "run", str(CONFIGS / "smoke.yaml")]
    impatient = environment({"PREFECT_CLIENT_MAX_RETRIES": "1"})
    run = subprocess.Popen(line, cwd=tmp_path, env=impatient, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for said in run.stdout:
        if "generation 1: trained" in said:
            break
    for process in sorted(processes(home), key=lambda p: "supervisor" not in " ".join(p.cmdline())):
        process.kill()
    rest, _ = run.communicate(timeout=200)
    assert run.returncode == 0
    assert rest.count("the Prefect server") == 1
    assert "the campaign goes on without it" in rest
    assert "The campaign smoke is done" in rest
    done = command("status", cwd=tmp_path)
    assert done.stdout.count("closed") == 3


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(prefect_api: str, tmp_path: Path):
    (tmp_path / "smoke.xyz").write_text((CONFIGS / "smoke.xyz").read_text())
    text = (CONFIGS / "smoke.yaml").read_text().replace("name: smoke", "name: interrupted")
    (tmp_path / "campaign.yaml").write_text(text)
    run = begun("run", "campaign.yaml", cwd=tmp_path, env={"PREFECT_API_URL": prefect_api})
    assert run.stdout is not None
    for said in run.stdout:
        if "generation 0: closed" in said:
            break
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert err.splitlines()[-1] == "al-engine: interrupted; the same command goes on"
    assert "Traceback" not in err
    again = command("run", "campaign.yaml", cwd=tmp_path, env={"PREFECT_API_URL": prefect_api})
    assert again.returncode == 0
    assert "The campaign interrupted is done" in again.stdout
