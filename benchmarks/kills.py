"""Random ends of short campaigns by signals: each goes on, and ends with the dump of the undisturbed run.

python benchmarks/kills.py --n 20 --seed 0                    # analytic calculator, configs/smoke.yaml
python benchmarks/kills.py --n 3 --seed 1 --config benchmarks/kills_xtb.yaml    # GFN2-xTB
python benchmarks/kills.py --n 100 --postgres
python benchmarks/kills.py --n 30 --prefect                   # as `al-engine run`, with a server

Half of the ends are at a random moment, by SIGKILL; the others at a random point just before or after a
commit (see child.py), by one of four signals. Then the campaign goes on, and is ended again or not.
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
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil
from child import FAULTS, ROOT, Child, databases, dump

SMOKE = ROOT / "configs" / "smoke.yaml"


def left_over(marker: str) -> list[str]:
    """Processes of this campaign that are still there 5 s later."""
    until = time.monotonic() + 5
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("AL_ENGINE_KILL_TEST") == marker:
                    found.append(" ".join(process.cmdline())[:80])
            except (psutil.Error, OSError):
                continue
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.1)


class Trials:
    """Campaigns that are ended and go on, and what became of them."""

    def __init__(self, config: Path, folder: Path, options: list[str], rng: random.Random) -> None:
        self._config, self._folder, self._options, self._rng = config, folder, options, rng
        self.places: Counter[str] = Counter()
        self.signals: Counter[str] = Counter()
        self.left: list[str] = []
        self.again = self.most_again = 0

    def undisturbed(self, url: str) -> None:
        child = self._start(url, "undisturbed")
        code, said = child.ended()
        assert code == 0, said
        self.seconds = time.time() - child.began
        self.first_s = child.lines("point")[0][1] - child.began
        self.points, self.expected = [text for text, _ in child.lines("point")], dump(url)

    def is_equal(self, url: str, trial: int) -> bool:
        """Start a campaign, end it once to three times, let it end; whether it is as the undisturbed one."""
        os.environ["AL_ENGINE_KILL_TEST"] = marker = f"{os.getpid()}-{trial}"
        runs: list[Child] = []
        for number in range(self._rng.randint(1, 3)):
            runs.append(self._ended(url, f"{trial}-{number}"))
            self.left += left_over(marker)
        runs.append(self._start(url, f"{trial}-last"))
        code, said = runs[-1].ended()
        labeled = Counter(frame for run in runs for frame, _ in run.lines("label"))
        again = labeled.total() - len(labeled)
        self.again += again
        self.most_again = max(self.most_again, again)
        if code:
            print("does not go on:", said, flush=True)
        return code == 0 and dump(url) == self.expected

    def _ended(self, url: str, name: str) -> Child:
        if self._rng.random() < 0.5:
            fault = self._rng.choice(FAULTS).name
            kind = self._rng.choice(sorted(set(self.points)))
            end_at = self._rng.choice([i for i, point in enumerate(self.points, 1) if point == kind])
            child = self._start(url, name, "--end-at", str(end_at), "--signal", fault)
            child.ended()
            place = [text for text, _ in child.lines("point")][end_at - 1 : end_at]
        else:
            fault, child = "SIGKILL", self._start(url, name)
            try:
                child.process.wait(self._rng.uniform(self.first_s, self.seconds))
                place = []
            except subprocess.TimeoutExpired:
                child.process.send_signal(signal.SIGKILL)
                child.ended()
                points = child.lines("point")
                place = [f"while:{points[-1][0]}" if points else "while:start"]
        if place:
            self.places[place[0]] += 1
            self.signals[fault] += 1
        return child

    def _start(self, url: str, name: str, *more: str) -> Child:
        return Child(self._config, url, self._folder / name, *self._options, *more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20, help="campaigns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=SMOKE)
    parser.add_argument("--postgres", action="store_true", help="a server of its own instead of SQLite files")
    parser.add_argument("--prefect", action="store_true", help="as `al-engine run`; the server lives on")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["AL_ENGINE_HOME"] = str(folder / "home")
        if arguments.prefect:
            from flows.server import prefect_server

            os.environ["PREFECT_API_URL"] = stack.enter_context(prefect_server())
        make = stack.enter_context(databases(arguments.postgres, folder))
        options = ["--prefect"] if arguments.prefect else []
        trials = Trials(arguments.config, folder, options, random.Random(arguments.seed))
        trials.undisturbed(make("undisturbed"))
        print(f"undisturbed: {trials.seconds:.1f} s, {len(trials.points)} points", flush=True)
        equal = 0
        for trial in range(arguments.n):
            equal += trials.is_equal(make(f"trial{trial}"), trial)
            print(f"{equal} of {trial + 1} equal, {trials.signals.total()} ends", flush=True)
    n = arguments.n
    print(
        json.dumps(
            {
                "campaigns": n,
                "ends": trials.signals.total(),
                "equal_dumps": equal,
                "left_over_processes": len(trials.left),
                "labels_computed_again": trials.again,
                "of_one_campaign_at_most": trials.most_again,
                "signals": dict(trials.signals),
                "kinds_of_point": len(trials.places),
                "places": dict(sorted(trials.places.items())),
                "upper_bound_of_the_failure_rate_95": 3 / n if equal == n else None,
                "seed": arguments.seed,
            },
            indent=1,
        )
    )
    sys.exit(0 if equal == n and not trials.left else 1)


if __name__ == "__main__":
    main()
