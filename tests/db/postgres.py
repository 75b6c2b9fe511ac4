"""A throw-away PostgreSQL server for tests: its own folder, port and process; gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=127.0.0.1")


def binaries() -> Path | None:
    """The newest installed server, in Debian's place or on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    which = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(which).parent if which else None


@dataclass
class Server:
    """A server that can be stopped as by a loss of power and started again.

    Attributes:
        address: `user:password@host:port` for URLs.
    """

    address: str
    command: list[str]
    ready: list[str]
    log: Path
    options: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, **self.options
            )
        deadline = time.monotonic() + 30
        while subprocess.run(self.ready, env=self.options["env"], check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as `pg_ctl -m immediate` does: no connection is ended well, nothing is written."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)


@contextmanager
def server(settings: Sequence[str] = _SETTINGS) -> Iterator[Server]:
    """Start a server. Root becomes an unprivileged user."""
    programs = binaries()
    if programs is None:
        raise FileNotFoundError("initdb")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: socket paths have 107 bytes
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = names.get("postgres") or names["nobody"]
        os.chown(folder, user.pw_uid, user.pw_gid)
        account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    options: dict[str, Any] = {
        "cwd": folder, "env": {"PATH": f"{programs}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, **account,
    }  # fmt: skip
    secret = folder / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [str(programs / "postgres"), "-D", f"{folder}/data", "-k", str(folder), "-p", port]
    started = Server(
        f"tester:s3cret@127.0.0.1:{port}",
        [*command, *(part for setting in settings for part in ("-c", setting))],
        [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", port],
        folder / "log",
        options,
    )
    try:
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "tester", "-A", "scram-sha-256",
             f"--pwfile={secret}", "-E", "UTF8", "--no-sync", "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, **options,
        )  # fmt: skip
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(folder, ignore_errors=True)
