"""A campaign whose calculator fails on a fifth of its frames, in every known way, decided by the frame.

python benchmarks/faulty.py [--n-frames 200] [--generations 1]

Every failure must have its reason, what is recoverable must recover, no wrong number may enter training,
and the campaign must end, with no process left.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from ase.calculators.emt import EMT

from al_engine.config import ASECalculator, Budget, CampaignConfig
from al_engine.config_file import load_config
from al_engine.labeling.reference import compute
from al_engine.lifecycle import CandidateState
from al_engine.records import FailureReason
from db.failures import failures
from db.store import Store
from flows.assembly import register
from flows.driver import drive

ROOT = Path(__file__).parent.parent
BAD_SHARE = 5
"""One frame in so many is bad."""
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
    "time.sleep(1000)"
)
EXPECTED = {
    "good": None,
    "hang": FailureReason.TIMEOUT,
    "segv": FailureReason.CRASH,
    "nan": FailureReason.NOT_FINITE,
    "shape": FailureReason.WRONG_SHAPE,
    "exception": FailureReason.EXCEPTION,
    "flood": FailureReason.TIMEOUT,
    "memory": FailureReason.EXCEPTION,
    "deaf_child": FailureReason.TIMEOUT,
    "deaf_child_of_its_own_session": FailureReason.TIMEOUT,
    "crash_once": None,
    "hang_once": None,
}
"""What must become of a frame; None: a label."""
BAD = tuple(kind for kind in EXPECTED if kind != "good")


def kind_of(positions: np.ndarray) -> str:
    """How the calculator behaves at these positions."""
    number = int.from_bytes(hashlib.sha256(positions.tobytes()).digest()[:8], "big")
    return "good" if number % BAD_SHARE else BAD[number // BAD_SHARE % len(BAD)]


class Faulty(EMT):
    """EMT, but for the bad frames; what happens only once leaves a mark in a folder."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = Path(folder)

    def calculate(self, atoms=None, *rest):
        super().calculate(atoms, *rest)
        kind = kind_of(atoms.positions)
        if kind.endswith("_once"):
            mark = self._folder / hashlib.sha256(atoms.positions.tobytes()).hexdigest()
            if mark.exists():
                return
            mark.touch()
        match kind.removesuffix("_once"):
            case "hang":
                time.sleep(1000)
            case "segv" | "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "nan":
                self.results["forces"][0, 0] = np.nan
            case "shape":
                self.results["forces"] = self.results["forces"][1:]
            case "exception":
                raise RuntimeError("no license")
            case "flood":
                while True:
                    os.write(1, b"x" * 65536)
            case "memory":
                self.results["energy"] = np.ones(10**10).sum()
            case "deaf_child" | "deaf_child_of_its_own_session":
                apart = kind.endswith("session")
                subprocess.Popen([sys.executable, "-c", DEAF], start_new_session=apart)
                time.sleep(1000)


def configuration(folder: Path, n_frames: int, n_generations: int, time_limit_s: float) -> CampaignConfig:
    smoke = load_config(ROOT / "configs" / "smoke.yaml")
    reference = ASECalculator(calculator="faulty.Faulty", keywords={"folder": str(folder)})
    return smoke.model_copy(
        update={
            "name": "faulty",
            "reference": reference,
            "initial": smoke.initial.model_copy(update={"n_frames": n_frames}),
            "labeling": smoke.labeling.model_copy(
                update={"time_limit_s": time_limit_s, "memory_limit_gb": 1.0, "n_workers": 2}
            ),
            "training": smoke.training.model_copy(update={"n_steps": 50}),
            "selection": smoke.selection.model_copy(update={"n_frames": 12}),
            "budget": Budget(hours=1.0),
            "max_generations": n_generations,
        }
    )


def run(folder: Path, n_frames: int, n_generations: int = 1, time_limit_s: float = 1.0) -> dict[str, object]:
    """Run the campaign and compare every frame with what had to become of it."""
    config, url = (
        configuration(folder, n_frames, n_generations, time_limit_s),
        f"sqlite:///{folder}/faulty.db",
    )
    before, began = set(psutil.Process().children(recursive=True)), time.monotonic()
    register(config, ROOT / "configs" / "smoke.yaml", url)
    over = drive(config.name, url)
    seconds = time.monotonic() - began
    kinds, seen, wrong = Counter(), Counter(), []
    with Store.open(url) as store:
        reasons = {f.frame_id: f.reason for _, f in failures(store, "faulty")}
        labels = {item.frame.frame_id: item.label for item in store.labeled("faulty")}
        for generation in store.generations("faulty"):
            tried = [
                c.frame_id
                for c in store.candidates("faulty", generation.number)
                if c.state in (CandidateState.LABELED, CandidateState.FAILED)
            ]
            for frame in store.frames(tried):
                kind = kind_of(frame.positions)
                kinds[kind] += 1
                reason = reasons.get(frame.frame_id)
                seen[reason.value if reason else "label"] += 1
                if reason is not EXPECTED[kind]:
                    wrong.append(f"{kind}: {reason}")
                if frame.frame_id in labels:
                    truth = compute(ASECalculator(calculator="ase.calculators.emt.EMT"), frame)
                    label = labels[frame.frame_id]
                    if label.energy != truth.energy or not np.array_equal(label.forces, truth.forces):
                        wrong.append(f"{kind}: a label that is not EMT's")
            model = store.model("faulty", generation.number)
            trained = {entry.frame_id for entry in model.training_set} if model else set()
            wrong += [f"trained without a label: {frame_id}" for frame_id in trained - labels.keys()]
    return {
        "end": over.value,
        "frames": sum(kinds.values()),
        "kinds": dict(sorted(kinds.items())),
        "became": dict(sorted(seen.items())),
        "wrong": wrong,
        "processes_left": [p.name() for p in psutil.Process().children(recursive=True) if p not in before],
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-frames", type=int, default=200, help="of generation 0")
    parser.add_argument("--generations", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.n_frames, arguments.generations)
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["wrong"] or found["processes_left"]))


if __name__ == "__main__":
    main()
