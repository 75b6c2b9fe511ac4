"""Servers that stop and disks that fill while a campaign runs: what it says, and how it goes on.

    python benchmarks/stopped.py postgres --n 6 --seed 0   # stopped as by a loss of power, mid-generation
    python benchmarks/stopped.py disk --n 20 --seed 0      # SQLite's max_page_count

Each time one process runs the campaign (configs/smoke.yaml, undecorated), the server stops or the disk is
full, the process ends with one line, the server starts or there is room again, and a second process goes on
to the end. PostgreSQL runs with fsync and synchronous_commit on.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from child import ROOT, Child, dump, new_database, state
from postgres import server

CONFIG = ROOT / "configs" / "smoke.yaml"
Start = Callable[..., Child]


@dataclass(frozen=True)
class Trial:
    """One campaign: what the first process said last, where it was, how much was right in the end."""

    said: list[str]
    exit_code: int
    place: str
    equal: bool


def stop_postgres(
    start: Start, n: int, rng: random.Random, expected: str, duration: float
) -> Iterator[Trial]:
    """Stop the server at a random moment of each campaign."""
    with server(("listen_addresses=127.0.0.1",)) as postgres:
        for k in range(n):
            url = new_database(postgres.address, f"trial{k}")
            first = start(url)
            time.sleep(rng.uniform(0.4, 0.95) * duration)
            postgres.stop()
            code, said = first.ended()
            postgres.start()
            place = state(url)
            assert start(url).ended()[0] == 0
            yield Trial(said, code, place, dump(url) == expected)


def fill_disk(start: Start, n: int, folder: Path, expected: str, n_pages: int) -> Iterator[Trial]:
    """Let the file have k / (n + 1) of the pages that it needs."""
    for k in range(1, n + 1):
        url = f"sqlite:///{folder}/{k}.db"
        code, said = start(url, "--pages", str(n_pages * k // (n + 1))).ended()
        place = state(url)
        assert start(url).ended()[0] == 0
        yield Trial(said, code, place, dump(url) == expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["postgres", "disk"])
    parser.add_argument("--n", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    trials = []
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()

        def start(url: str, *options: str) -> Child:
            return Child(CONFIG, url, folder / "lines", *options)

        url = f"sqlite:///{folder}/undisturbed.db"
        assert start(url).ended()[0] == 0
        expected, duration = dump(url), time.monotonic() - began
        with sa.create_engine(url).connect() as connection:
            n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        rng = random.Random(arguments.seed)
        for trial in (
            stop_postgres(start, arguments.n, rng, expected, duration)
            if arguments.what == "postgres"
            else fill_disk(start, arguments.n, folder, expected, n_pages)
        ):
            trials.append(trial)
            print(f"{trial.place}: exit {trial.exit_code}, {trial.said}, equal {trial.equal}", flush=True)
    stopped = [t for t in trials if t.exit_code]
    summary = {
        "campaigns": len(trials),
        "stopped": len(stopped),
        "one_line": sum(len(t.said) == 1 for t in stopped),
        "equal_dumps": sum(t.equal for t in trials),
        "places": sorted({t.place for t in stopped}),
    }
    print(json.dumps(summary))
    sys.exit(0 if summary["equal_dumps"] == summary["campaigns"] else 1)


if __name__ == "__main__":
    main()
