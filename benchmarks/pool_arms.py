"""Ways to choose labels, compared on published data: campaigns on a pool whose labels are hidden.

    AL_ENGINE_REFERENCE_DATA=FOLDER python benchmarks/pool_arms.py --set h2combustion --seeds 0 1 2

h2combustion: normal modes, dynamics and path of reaction 16; 3bpa: the mixed set at
300, 600 and 1200 K. A part of each kind is held out as a test. Every arm is a whole campaign of the product
(undecorated flow, SQLite) with the same start, audits and number of labels; only `selection` differs.
A point is one generation: its model's errors on the tests, with the labels it was trained on. A campaign that
is in the file is not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import reference_data
from accuracy import isolated
from fitting import Results

from al_engine import load_config
from al_engine.extxyz import to_extxyz
from al_engine.frames import elements_of
from al_engine.model.ensemble import Ensemble
from al_engine.records import Label, LabeledFrame
from al_engine.stages.initial import isolated_atom
from flows.assembly import assemble, register
from flows.driver import drive

ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "random": {"score": "random", "diversity": "none", "min_distance": 0.0},
    "farthest point": {"diversity": "farthest"},
    "information": {"diversity": "none"},
    "force sd, epistemic": {"score": "force_sd_epistemic", "diversity": "none"},
    "force sd, epistemic, distance": {"score": "force_sd_epistemic"},
    "energy sd": {"score": "energy_sd", "diversity": "none"},
    "energy sd, aleatoric": {"score": "energy_sd_aleatoric", "diversity": "none"},
}
_PARTS = {
    "3bpa": {f"{t} K": ([f"3bpa/mixed_{t}K"], 60) for t in (300, 600, 1200)},
    "h2combustion": {
        "normal modes": (["h2combustion/16_nm"], 500),
        "dynamics": (["h2combustion/16_aimd"], 500),
        "path": (["h2combustion/16_irc"], 40),
    },
}
"""Parts of a pool, and how many frames of each are held out."""


@dataclass(frozen=True)
class Point:
    """A generation of a campaign: force errors (eV/Å) by test, RMSE and 99th percentile of a component."""

    data: str
    arm: str
    seed: int
    n_steps: int
    generation: int
    n_labels: int
    rmse_ev_per_ang: dict[str, float]
    p99_ev_per_ang: dict[str, float]


def parts(data: str) -> tuple[list[LabeledFrame], dict[str, list[LabeledFrame]]]:
    """The pool, and a test of each kind of its frames."""
    pool: list[LabeledFrame] = []
    tests = {}
    for kind, (names, n_test) in _PARTS[data].items():
        frames = [i for name in names for i in reference_data.frames(name)]
        tests[kind], rest = reference_data.split(frames, n_test)
        pool += rest
    return pool, tests


def campaign(data: str, arm: str, seed: int, n_steps: int, options: argparse.Namespace) -> Iterator[Point]:
    """Run one campaign, then judge the model of each generation."""
    pool, tests = parts(data)
    energies = isolated(data, pool)
    level = pool[0].label.level_of_theory
    atoms = [isolated_atom(z) for z in energies]
    lone = [
        to_extxyz(a, Label(a.frame_id, level, energies[int(a.numbers[0])], np.zeros((1, 3)))) for a in atoms
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pool.extxyz").write_text("".join([*lone, *(to_extxyz(i.frame, i.label) for i in pool)]))
        whole = next(
            i.frame
            for i in pool
            if set(i.frame.numbers.tolist()) == set(elements_of([j.frame for j in pool]))
        )
        (folder / "start.extxyz").write_text(to_extxyz(whole, None))
        plain = {
            "name": "pool",
            "seed": seed,
            "systems": [{"structure": "start.extxyz"}],
            "reference": {"kind": "labels_of_file", "file": "pool.extxyz"},
            "initial": {"n_frames": options.initial},
            "training": {"n_steps": n_steps},
            "exploration": {"sampler": {"kind": "pool", "file": "pool.extxyz"}},
            "selection": {"n_frames": options.labels - options.audit, **ARMS[arm]},
            "audit": {"n_frames": options.audit},
            "max_generations": options.generations,
            "device": "cpu",
            "n_threads": 1,
        }
        file, url = folder / "pool.yaml", f"sqlite:///{folder}/pool.db"
        file.write_text(json.dumps(plain))
        register(load_config(file), file, url)
        drive("pool", url)
        with assemble("pool", url) as run:
            for generation in run.store.generations("pool")[1:]:
                model = run.store.model("pool", generation.number)
                assert model is not None
                ensemble = Ensemble.from_bytes(model.weights, device="cpu")
                rmse, p99 = {}, {}
                for kind, items in tests.items():
                    forces = ensemble.predict([i.frame for i in items]).forces
                    error = np.abs(forces - np.concatenate([i.label.forces for i in items]))
                    rmse[kind] = float(np.sqrt(np.mean(error**2)))
                    p99[kind] = float(np.quantile(error, 0.99))
                n_labels = len(run.store.labeled("pool", before=generation.number))
                yield Point(data, arm, seed, n_steps, generation.number, n_labels, rmse, p99)


def table(points: Sequence[Point]) -> str:
    """A row an arm and generation: means over the seeds, and as shares of random's for the same seeds."""
    lines = []
    for data in dict.fromkeys(p.data for p in points):
        own = [p for p in points if p.data == data]
        tests = list(own[0].rmse_ev_per_ang)
        lines += [
            f"\n{data}: force RMSE / 99th percentile (meV/Å), in brackets as a share of random's\n",
            "| arm | seeds | labels | " + " | ".join(tests) + " |",
            "|---" * (3 + len(tests)) + "|",
        ]
        for arm, generation in sorted({(p.arm, p.generation) for p in own}):
            group = {p.seed: p for p in own if (p.arm, p.generation) == (arm, generation)}
            random = {p.seed: p for p in own if (p.arm, p.generation) == ("random", generation)}
            both = [seed for seed in group if seed in random]
            cells = []
            for test in tests:
                values = np.mean([_errors(p, test) for p in group.values()], axis=0)
                cell = f"{1000 * values[0]:.0f} / {1000 * values[1]:.0f}"
                if both:
                    share = np.mean([_errors(group[s], test) for s in both], axis=0)
                    share /= np.mean([_errors(random[s], test) for s in both], axis=0)
                    cell += f" ({share[0]:.2f} / {share[1]:.2f})"
                cells.append(cell)
            labels = np.mean([p.n_labels for p in group.values()])
            lines.append(f"| {arm} | {len(group)} | {labels:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _errors(point: Point, test: str) -> tuple[float, float]:
    return point.rmse_ev_per_ang[test], point.p99_ev_per_ang[test]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=list(_PARTS), action="append", dest="sets")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--initial", type=int, default=40, help="labels of generation 0")
    parser.add_argument("--labels", type=int, default=25, help="of each generation, the audit among them")
    parser.add_argument("--audit", type=int, default=5)
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("pool_arms.json"))
    options = parser.parse_args()
    results = Results(options.out, Point, "data", "arm", "seed", "n_steps", "generation")
    for seed in options.seeds:
        for data in options.sets or _PARTS:
            for arm in options.arms:
                if (data, arm, seed, options.steps, options.generations) in results:
                    continue
                for point in campaign(data, arm, seed, options.steps, options):
                    results.add(point)
    print(table(results.points))


if __name__ == "__main__":
    main()
