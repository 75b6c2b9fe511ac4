"""Work that is killed in the middle: `python killed.py upgrade|copy SEED FROM FIRST TO...`.

The work on FIRST is left alone and says how many statements write; that on each TO is killed after a
random one of them, by SIGKILL in a process of its own. Prints for each what it left: `half` where SQLite's
journal lies beside it, else `killed`; `whole` where an earlier try on it had left less to do.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from db.store import Store
from db.transfer import transfer


def upgrade(_source: str, target: str) -> None:
    Store.open(target).close()


def copy(source: str, target: str) -> None:
    with Store.open(source) as here, Store.open(target) as there:
        for _ in transfer(here, there):
            pass


def killed(what: str, seed: int, *urls: str) -> list[str]:
    """What the kills left."""
    done = subprocess.run(
        [sys.executable, __file__, what, str(seed), *urls],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def main(what: str, seed: str, source: str, first: str, *targets: str) -> None:
    """Do the work on each of the targets."""
    work, rng = {"upgrade": upgrade, "copy": copy}[what], random.Random(int(seed))
    n_statements, last = 0, -1

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal n_statements
        n_statements += not statement.lstrip().startswith(("SELECT", "PRAGMA"))
        if n_statements == last:
            os.kill(os.getpid(), signal.SIGKILL)

    work(source, first)
    n_all, n_statements = n_statements, 0
    for target in targets:
        last, child = rng.randint(1, n_all - 1), os.fork()
        if child == 0:
            work(source, target)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL)
        journal = Path(target.removeprefix("sqlite:///") + "-journal")
        print("whole" if status == 0 else "half" if journal.exists() else "killed")


if __name__ == "__main__":
    main(*sys.argv[1:])
