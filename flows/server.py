"""The Prefect server: the configured one if it answers, else a supervised local one, never the ephemeral."""

import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from al_engine.errors import AlEngineError
from flows.locks import home, locked

START_LIMIT_S = 120.0
USUAL_PORT = 4200
"""Prefect's."""
CLIENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "al_engine",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_CLIENT_MAX_RETRIES": "3",  # 2 + 4 + 8 s: a server that was started again is back by then
}
"""Settings of a process that runs flows, where it has no others; set before Prefect is imported."""


def answers(api_url: str, timeout: float = 3.0) -> bool:
    """Whether a Prefect server answers at this address (ending in /api)."""
    return _get(f"{api_url.rstrip('/')}/health", timeout) is not None


def _get(url: str, timeout: float = 3.0) -> bytes | None:
    """Return what a server says, None if it says nothing."""
    if not url.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(url, timeout=timeout) as reply:  # noqa: S310
            return bytes(reply.read()) if reply.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None


def configured() -> str:
    """Return the address of the server that PREFECT_API_URL names; empty if none."""
    return os.environ.get("PREFECT_API_URL", "")


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield the address (ending in /api) of a server that answers, and set this process up to use it."""
    given = configured()
    if given and answers(given):
        os.environ.update(CLIENT | os.environ)
        yield given
        return
    folder = home("prefect")
    with locked(folder / "users.lock", fcntl.LOCK_SH):
        with locked(folder / "start.lock", fcntl.LOCK_EX):
            base = _running(folder) or _start(folder)
        here = {"PREFECT_HOME": str(folder), "PREFECT_API_URL": f"{base}/api"}
        os.environ.update(CLIENT | os.environ | here)
        yield f"{base}/api"


def leave(code: int) -> NoReturn:
    """End this process; at once if the server is gone, for which Prefect would wait for minutes."""
    if not answers(configured()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _running(folder: Path) -> str | None:
    """Return the address of the local server another run has started, if it answers."""
    try:
        base = str(json.loads((folder / "server.json").read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None
    return base if _is_ours(base, folder) else None


def _is_ours(base: str, folder: Path) -> bool:
    """Whether the server that answers here keeps its data in this folder: a port may be another's."""
    said = _get(f"{base}/api/admin/settings")
    return said is not None and json.loads(said).get("home") == str(folder)


def _start(folder: Path) -> str:
    """Start a server and wait until it answers; on another port where a free one is lost to somebody."""
    end, log = time.monotonic() + START_LIMIT_S, folder / "server.log"
    failed = AlEngineError(f"the local Prefect server did not start; its log is {log}")
    for wanted in (USUAL_PORT, 0, 0):
        base = _launch(folder, _free_port(wanted))
        while (folder / "server.json").exists():  # as long as the supervisor is there
            if _is_ours(base, folder):
                return base
            if time.monotonic() > end:
                raise failed
            time.sleep(0.1)
    raise failed


def _launch(folder: Path, port: int) -> str:
    """Start the supervisor with its server; return the address that it will have."""
    script = Path(__file__).with_name("supervisor.py")
    with (folder / "server.log").open("wb") as output:
        subprocess.run(  # noqa: S603
            [sys.executable, "-P", str(script), str(folder), str(port)],
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return f"http://127.0.0.1:{port}"


def _free_port(wanted: int) -> int:
    """Return this port, or another one where it is taken (or 0)."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AlEngineError("no free port on 127.0.0.1")
