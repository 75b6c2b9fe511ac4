"""A campaign in a process of its own, as the benchmarks of faults start it, which says what it does.

python benchmarks/child.py CONFIG URL [--prefect] [--lease S] [--pages N] [--end-at N --signal NAME]

Each line has a kind, a text without spaces and the time: `label` is a result of the calculator, `write` a
transaction that was committed, of which there is a point `in` (before the commit) and `after`; at the N-th of
all points the process sends itself a signal.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests" / "db"))
FAULTS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV]


class Child:
    """The process as its parent sees it; its lines are in a file."""

    def __init__(self, config: Path, url: str, file: Path, *options: str) -> None:
        self.file = file
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        line = [sys.executable, __file__, str(config), url, *options]
        self.began = time.time()
        with file.open("w") as out:
            self.process = subprocess.Popen(line, env=env, stdout=out, stderr=subprocess.PIPE, text=True)

    def ended(self) -> tuple[int, list[str]]:
        """Wait for the end; return the exit code and the lines on stderr."""
        _, said = self.process.communicate(timeout=600)
        return self.process.returncode, said.splitlines()

    def lines(self, kind: str) -> list[tuple[str, float]]:
        """Texts and times of a kind of line."""
        found = (line.split() for line in self.file.read_text().splitlines())
        return [(words[1], float(words[2])) for words in found if len(words) == 3 and words[0] == kind]


@contextmanager
def databases(is_postgres: bool, folder: Path) -> Iterator[Callable[[str], str]]:
    """Give what makes an empty database: a file, or one of a PostgreSQL server that is started."""
    if not is_postgres:
        yield lambda name: f"sqlite:///{folder}/{name}.db"
        return
    from postgres import server

    with server() as started:
        yield lambda name: new_database(started.address, name)


def new_database(address: str, name: str) -> str:
    """Make one on a PostgreSQL server; return its URL."""
    admin = sa.create_engine(f"postgresql+psycopg://{address}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    return f"postgresql://{address}/{name}"


def state(url: str) -> str:
    """Where the campaign is."""
    from db.store import Store

    with Store.open(url) as store:
        names = store.campaign_names()
        newest = store.latest_generation(names[0]) if names else None
        return f"{newest.number} {newest.state}" if newest else "before the first generation"


def dump(url: str) -> str:
    """What a campaign is, and what `verify` has against it."""
    from db.dump import canonical_dump
    from db.store import Store
    from db.verify import verify

    with Store.open(url) as store:
        (name,) = store.campaign_names()
        return canonical_dump(store, name) + "\n".join(verify(store, name))


def _say(*words: object) -> None:
    print(*words, time.time(), flush=True)


def _caller() -> str:
    """Name the function whose transaction this is."""
    frame = sys._getframe(1)
    while frame.f_globals["__name__"] in {"__main__", "contextlib", "db.engine"}:
        frame = frame.f_back
    return f"{frame.f_globals['__name__'].removeprefix('db.')}.{frame.f_code.co_name}"


def _observe(end_at: int | None, fault: signal.Signals) -> None:
    """Say each label, write and point from here on."""
    from al_engine.labeling import Labeler
    from db.engine import Database

    labels, inner, n_points = Labeler.label_all, Database.write, 0

    def label_all(self, frames):
        for result in labels(self, frames):
            _say("label", result.frame_id)
            yield result

    def point(name: str) -> None:
        nonlocal n_points
        if name.endswith("leases.renew"):
            return  # by the clock
        n_points += 1
        _say("point", name)
        if n_points == end_at:
            os.kill(os.getpid(), fault)

    @contextmanager
    def write(self):
        name = _caller()
        with inner(self) as connection:
            yield connection
            point(f"in:{name}")
        if self.guard is not None:
            _say("write", name)
        point(f"after:{name}")

    class Lines(logging.Handler):
        def emit(self, record):
            _say("log", record.getMessage().replace(" ", "_"))

    Labeler.label_all, Database.write = label_all, write
    logging.getLogger("al_engine").setLevel(logging.INFO)
    logging.getLogger("al_engine").addHandler(Lines())


def _limit_pages(n: int) -> None:
    @sa.event.listens_for(sa.Engine, "connect")
    def _limit(connection, _):
        connection.execute(f"PRAGMA max_page_count = {n}").close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("url")
    parser.add_argument("--prefect", action="store_true", help="as `al-engine run`, not undecorated")
    parser.add_argument("--lease", type=float, help="seconds")
    parser.add_argument("--pages", type=int, help="of an SQLite file, at most")
    parser.add_argument("--end-at", type=int, help="a point")
    parser.add_argument("--signal", default="SIGKILL")
    arguments = parser.parse_args()
    import flows.lease
    from al_engine.config_file import load_config
    from al_engine.errors import AlEngineError
    from flows.assembly import register
    from flows.cli import execute
    from flows.driver import drive

    _observe(arguments.end_at, signal.Signals[arguments.signal])
    if arguments.lease:
        flows.lease.LEASE_S = arguments.lease
    if arguments.pages:
        _limit_pages(arguments.pages)
    if arguments.prefect:
        os.environ["AL_ENGINE_DATABASE"] = arguments.url
        sys.exit(execute(["run", str(arguments.config)]))
    config = load_config(arguments.config)
    try:
        register(config, arguments.config, arguments.url)
        drive(config.name, arguments.url)
    except AlEngineError as error:
        _say("error", str(error).replace(" ", "_"))
        sys.exit(str(error))


if __name__ == "__main__":
    main()
