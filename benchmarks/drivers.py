"""Two drivers on one campaign: each frame is labeled once, and one whose place was taken writes nothing late.

python benchmarks/drivers.py --pairs 30 --stops 20 --seed 0
python benchmarks/drivers.py --pairs 30 --stops 20 --postgres    # a server of its own

A pair is two drivers that start within two seconds. A stop is a SIGSTOP of the one that works, at a random
moment; when the other has taken over, the stopped one is woken up again beside it. One that is stopped
within a write to an SQLite file holds the file's lock: then the other gives up after a minute, which is
counted apart.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from child import ROOT, Child, databases, dump

LEASE_S = 3.0


def leads_since(driver: Child) -> float | None:
    """When it took the place of another one."""
    return next((at for text, at in driver.lines("log") if "this_driver_goes_on" in text), None)


def n_twice(*drivers: Child) -> int:
    """Frames that were labeled more than once."""
    frames = [frame for driver in drivers for frame, _ in driver.lines("label")]
    return len(frames) - len(set(frames))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "smoke.yaml")
    parser.add_argument("--postgres", action="store_true", help="a server of its own instead of SQLite files")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    what = "equal_dumps failed labeled_twice takeovers labeled_twice_after_a_stop refused late locked_out"
    counts = dict.fromkeys(what.split(), 0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make = stack.enter_context(databases(arguments.postgres, folder))

        def start(url: str, name: str) -> Child:
            return Child(arguments.config, url, folder / name, "--lease", str(LEASE_S))

        url = make("undisturbed")
        undisturbed = start(url, "undisturbed")
        assert undisturbed.ended()[0] == 0
        n_writes, expected = len(undisturbed.lines("write")), dump(url)
        print(f"undisturbed: {n_writes} writes", flush=True)
        for trial in range(arguments.pairs):
            url = make(f"pair{trial}")
            first = start(url, f"{trial}a")
            time.sleep(rng.uniform(0, 2))
            second = start(url, f"{trial}b")
            codes = (first.ended()[0], second.ended()[0])
            counts["failed"] += codes != (0, 0)
            counts["labeled_twice"] += n_twice(first, second)
            counts["equal_dumps"] += dump(url) == expected
            print(f"pair {trial}: {codes}, {counts}", flush=True)
        for trial in range(arguments.stops):
            url = make(f"stop{trial}")
            first = start(url, f"{trial}c")
            stop_after = rng.randint(1, n_writes - 1)
            while len(first.lines("write")) < stop_after and first.process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 2))
            first.process.send_signal(signal.SIGSTOP)
            second = start(url, f"{trial}d")
            while leads_since(second) is None and second.process.poll() is None:
                time.sleep(0.05)
            first.process.send_signal(signal.SIGCONT)
            codes = (first.ended()[0], second.ended()[0])
            since = leads_since(second)
            if since is not None:
                counts["takeovers"] += 1
                counts["late"] += sum(at > since for _, at in first.lines("write"))
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
