"""Random `kill -9` over short campaigns: each goes on, and ends with the dump of the undisturbed run.

python benchmarks/kills.py --n 20 --seed 0                    # analytic calculator, configs/smoke.yaml
python benchmarks/kills.py --n 3 --seed 1 --config benchmarks/kills_xtb.yaml    # GFN2-xTB
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

import psutil

from db.dump import canonical_dump
from db.store import Store

ROOT = Path(__file__).parent.parent
CHILD = """
import sys
from pathlib import Path
from al_engine.config_file import load_config
from flows.assembly import register
from flows.driver import drive
file, url = Path(sys.argv[1]), sys.argv[2]
config = load_config(file)
register(config, file, url)
drive(config.name, url)
"""


def start(config: Path, url: str) -> subprocess.Popen[bytes]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", CHILD, str(config), url], env=env)


def dump(url: str) -> str:
    with Store.open(url) as store:
        (name,) = store.campaign_names()
        return canonical_dump(store, name)


def state(url: str) -> str:
    """Where the campaign was when it was killed."""
    with Store.open(url) as store:
        names = store.campaign_names()
        newest = store.latest_generation(names[0]) if names else None
        return f"{newest.number} {newest.state}" if newest else "before the first generation"


def left_over(marker: str) -> list[str]:
    """Processes of this campaign that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AL_ENGINE_KILL_TEST") == marker:
                found.append(" ".join(process.cmdline())[:80])
        except (psutil.Error, OSError):
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20, help="campaigns that are killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "smoke.yaml")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        url = f"sqlite:///{folder}/undisturbed.db"
        assert start(arguments.config, url).wait() == 0
        duration, expected = time.monotonic() - began, dump(url)
        print(f"undisturbed: {duration:.1f} s, dump of {len(expected)} characters", flush=True)
        kills, equal, orphans, places = 0, 0, 0, set()
        for trial in range(arguments.n):
            marker = os.environ["AL_ENGINE_KILL_TEST"] = f"{os.getpid()}-{trial}"
            url = f"sqlite:///{folder}/{trial}.db"
            for _ in range(rng.randint(1, 3)):
                child = start(arguments.config, url)
                try:
                    child.wait(rng.uniform(0.5, 1.0 * duration))
                    break
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                    kills += 1
                    places.add(state(url))
                    time.sleep(5)
                    orphans += len(left := left_over(marker))
                    if left:
                        print("left over:", left)
            assert start(arguments.config, url).wait() == 0, f"trial {trial} did not resume"
            equal += dump(url) == expected
            print(f"trial {trial}: equal so far {equal} of {trial + 1}, kills {kills}", flush=True)
        n = arguments.n
        print(
            json.dumps(
                {
                    "campaigns": n,
                    "kills": kills,
                    "equal_dumps": equal,
                    "left_over_processes": orphans,
                    "upper_bound_of_the_failure_rate_95": 3 / n if equal == n else None,
                    "places": sorted(places),
                    "seed": arguments.seed,
                }
            )
        )
        sys.exit(0 if equal == n and not orphans else 1)


if __name__ == "__main__":
    main()
