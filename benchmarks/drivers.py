"""Two drivers on one campaign: each frame is labeled once, and one whose place was taken writes nothing late.

python benchmarks/drivers.py --pairs 30 --stops 20 --seed 0
python benchmarks/drivers.py --pairs 30 --stops 20 --server postgresql://USER@HOST    # a database a trial

A pair is two drivers that start within two seconds. A stop is a SIGSTOP of the one that works, at a random
moment; when the other has taken over, the stopped one is woken up again beside it. One that is stopped
within a write to an SQLite file holds the file's lock: the other gives up
after a minute, which is counted apart.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from db.dump import canonical_dump
from db.store import Store
from db.verify import verify

ROOT = Path(__file__).parent.parent
LEASE_S = 3.0
CHILD = """
import logging, sys, time
from contextlib import contextmanager
from pathlib import Path
from al_engine.config_file import load_config
from al_engine.errors import AlEngineError
from al_engine.labeling import Labeler
from db.engine import Database
import flows.lease
from flows.assembly import register
from flows.driver import drive

def say(*words):
    print(*words, time.time(), flush=True)

def told(labels):
    def label_all(self, frames):
        for result in labels(self, frames):
            say("label", result.frame_id)
            yield result
    return label_all

def counted(inner):
    @contextmanager
    def write(self):
        with inner(self) as connection:
            yield connection
        if self.guard is not None:
            say("write", "-")
    return write

class Lines(logging.Handler):
    def emit(self, record):
        say("log", record.getMessage().replace(" ", "_"))

Labeler.label_all, Database.write = told(Labeler.label_all), counted(Database.write)
logging.getLogger("al_engine").setLevel(logging.INFO)
logging.getLogger("al_engine").addHandler(Lines())
flows.lease.LEASE_S = float(sys.argv[3])
file, url = Path(sys.argv[1]), sys.argv[2]
config = load_config(file)
try:
    register(config, file, url)
    drive(config.name, url)
except AlEngineError as error:
    say("error", str(error).replace(" ", "_"))
    sys.exit(1)
"""
Line = tuple[str, str, float]


class Driver:
    """A driver in a process of its own, whose lines are in a file."""

    def __init__(self, config: Path, url: str, file: Path) -> None:
        self.file = file
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-c", CHILD, str(config), url, str(LEASE_S)]
        with file.open("w") as out:
            self.process = subprocess.Popen(line, env=env, stdout=out)

    def lines(self, kind: str) -> list[Line]:
        found = (line.split() for line in self.file.read_text().splitlines())
        return [(k[0], k[1], float(k[2])) for k in found if len(k) == 3 and k[0] == kind]

    def leads_since(self) -> float | None:
        """When it took the place of another one."""
        return next((at for _, text, at in self.lines("log") if "this_driver_goes_on" in text), None)


def database(folder: str, server: str | None, trial: str) -> str:
    if server is None:
        return f"sqlite:///{folder}/{trial}.db"
    admin = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:") + "/postgres")
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS drivers_{trial}")
        connection.exec_driver_sql(f"CREATE DATABASE drivers_{trial}")
    admin.dispose()
    return f"{server}/drivers_{trial}"


def dump(url: str) -> str:
    with Store.open(url) as store:
        (name,) = store.campaign_names()
        return canonical_dump(store, name) + "\n".join(verify(store, name))


def n_twice(*drivers: Driver) -> int:
    """Frames that were labeled more than once."""
    frames = [frame for driver in drivers for _, frame, _ in driver.lines("label")]
    return len(frames) - len(set(frames))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "smoke.yaml")
    parser.add_argument("--server", help="A PostgreSQL server instead of SQLite files.")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    what = "equal_dumps failed labeled_twice takeovers labeled_twice_after_a_stop refused late locked_out"
    counts = dict.fromkeys(what.split(), 0)
    with tempfile.TemporaryDirectory() as folder:

        def start(url: str, name: str) -> Driver:
            return Driver(arguments.config, url, Path(folder) / name)

        url = database(folder, arguments.server, "undisturbed")
        undisturbed = start(url, "undisturbed")
        assert undisturbed.process.wait() == 0
        n_writes, expected = len(undisturbed.lines("write")), dump(url)
        print(f"undisturbed: {n_writes} writes", flush=True)
        for trial in range(arguments.pairs):
            url = database(folder, arguments.server, f"pair{trial}")
            first = start(url, f"{trial}a")
            time.sleep(rng.uniform(0, 2))
            second = start(url, f"{trial}b")
            codes = (first.process.wait(), second.process.wait())
            counts["failed"] += codes != (0, 0)
            counts["labeled_twice"] += n_twice(first, second)
            counts["equal_dumps"] += dump(url) == expected
            print(f"pair {trial}: {codes}, {counts}", flush=True)
        for trial in range(arguments.stops):
            url = database(folder, arguments.server, f"stop{trial}")
            first = start(url, f"{trial}c")
            stop_after = rng.randint(1, n_writes - 1)
            while len(first.lines("write")) < stop_after and first.process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 2))
            first.process.send_signal(signal.SIGSTOP)
            second = start(url, f"{trial}d")
            while second.leads_since() is None and second.process.poll() is None:
                time.sleep(0.05)
            first.process.send_signal(signal.SIGCONT)
            codes = (first.process.wait(), second.process.wait())
            since = second.leads_since()
            if since is not None:
                counts["takeovers"] += 1
                counts["late"] += sum(at > since for _, _, at in first.lines("write"))
                counts["refused"] += codes[0] == 1 and "took_its_place" in str(first.lines("error"))
            locked = "database_is_locked" in str(second.lines("error"))
            counts["locked_out"] += locked
            counts["failed"] += codes[1] != 0 and not locked
            counts["labeled_twice_after_a_stop"] += n_twice(first, second)
            counts["equal_dumps"] += dump(url) == expected
            print(f"stop {trial}: {codes}, {counts}", flush=True)
        n = arguments.pairs + arguments.stops
        asked = {"pairs": arguments.pairs, "stops": arguments.stops, "seed": arguments.seed}
        print(json.dumps(asked | counts))
        bad = counts["failed"] + counts["labeled_twice"] + counts["late"]
        sys.exit(1 if bad or counts["equal_dumps"] != n else 0)


if __name__ == "__main__":
    main()
