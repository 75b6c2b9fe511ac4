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
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def server() -> Iterator[str]:
    """Start a server; gives `user:password@host:port` for URLs. Root becomes an unprivileged user."""
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
        port = probe.getsockname()[1]
    try:
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "tester", "-A", "scram-sha-256",
             f"--pwfile={secret}", "-E", "UTF8", "--no-sync", "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, **options,
        )  # fmt: skip
        command = [programs / "postgres", "-D", folder / "data", "-k", folder, "-p", str(port)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *(part for setting in _SETTINGS for part in ("-c", setting))],
                stdout=log, stderr=subprocess.STDOUT, **options,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready, env=options["env"], check=False).returncode:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.05)
            yield f"tester:s3cret@127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGQUIT)  # immediate: nothing here is worth a checkpoint
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
