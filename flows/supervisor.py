"""Keeps one local Prefect server alive as long as a run uses it; started as a script, standard library only.

Each run holds a shared lock on `users.lock`; the kernel lets go of it however the run dies. When the
exclusive lock can be had, nobody is left, and the server ends. A server that dies is started again.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
}
"""With these a thousand task runs are recorded within seconds and none is dropped."""

LINGER_S = 3.0
"""The server records the last events of a run about so long after its end."""
MAX_RESTARTS = 3
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _start(home: Path, port: int) -> "subprocess.Popen[bytes]":
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AL_ENGINE_"))
    } | SETTINGS
    environment |= {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    command = [
        sys.executable,
        "-P",
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    return subprocess.Popen(command, env=environment, preexec_fn=_die_with_parent)  # noqa: S603, PLW1509


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _in_use(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def supervise(home: Path, port: int) -> None:
    """Run the server on this port until no run holds `users.lock`."""
    lock = os.open(home / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    server, restarts = _start(home, port), 0
    try:
        while True:
            if server.poll() is not None:
                if restarts == MAX_RESTARTS:
                    return
                server, restarts = _start(home, port), restarts + 1
            if not _in_use(lock):
                fcntl.flock(lock, fcntl.LOCK_UN)
                time.sleep(LINGER_S)
                if not _in_use(lock):
                    return
            time.sleep(0.3)
    finally:
        (home / "server.json").unlink(missing_ok=True)
        _stop(server)


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    (folder / "server.json").write_text(json.dumps({"url": f"http://127.0.0.1:{number}"}))
    if os.fork():
        os._exit(0)  # who started this goes on; the child belongs to nobody
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervise(folder, number)
