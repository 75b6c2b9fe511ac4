"""Ways to choose labels, compared: campaigns that differ in `selection` alone.

    AL_ENGINE_REFERENCE_DATA=FOLDER python benchmarks/arms.py --set ethanol --seeds 0 1 2

Pools of published data, labels hidden until they are asked for; a part of each kind is held out as a test:
    h2combustion: normal modes, dynamics and path of reaction 16
    3bpa: the mixed set at 300, 600 and 1200 K
Live, GFN2-xTB, from one structure; tests are dynamics of xTB at 300, 600 and 1200 K and turned torsions:
    ethanol: walkers at 300, 600 and 1000 K

Every arm is a whole campaign of the product (undecorated flow, SQLite) with the same start, the same audits
and as many labels. A point is one generation: its model's errors on the tests, with the labels it was trained
on. A campaign that is in the file is not run again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gfn2_ethanol
import numpy as np
import reference_data
from accuracy import isolated
from ase.build import molecule
from campaigns import run_campaign
from fitting import Results

from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.records import Label, LabeledFrame
from al_engine.stages.initial import isolated_atom
from flows.assembly import assemble

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


Tests = dict[str, list[LabeledFrame]]


def pool(data: str, folder: Path) -> tuple[dict[str, Any], Tests]:
    """Write a pool; return the sections of its campaigns, and a test of each kind of its frames."""
    frames: list[LabeledFrame] = []
    tests = {}
    for kind, (names, n_test) in _PARTS[data].items():
        found = [i for name in names for i in reference_data.frames(name)]
        tests[kind], rest = reference_data.split(found, n_test)
        frames += rest
    energies = isolated(frames)
    level = frames[0].label.level_of_theory
    lines = []
    for atom in map(isolated_atom, energies):
        label = Label(atom.frame_id, level, energies[int(atom.numbers[0])], np.zeros((1, 3)))
        lines.append(to_extxyz(atom, label))
    lines += [to_extxyz(i.frame, i.label) for i in frames]
    (folder / "pool.extxyz").write_text("".join(lines))
    whole = next(i.frame for i in frames if len(set(i.frame.numbers)) == len(energies))
    (folder / "start.extxyz").write_text(to_extxyz(whole))
    return {
        "systems": [{"structure": "start.extxyz"}],
        "reference": {"kind": "labels_of_file", "file": "pool.extxyz"},
        "initial": {"n_frames": 40},
        "exploration": {"sampler": {"kind": "pool", "file": "pool.extxyz"}},
    }, tests


def live_ethanol(folder: Path) -> tuple[dict[str, Any], Tests]:
    """From one structure; tests by the dynamics of the reference."""
    (folder / "start.extxyz").write_text(to_extxyz(Frame.from_ase(molecule("CH3CH2OH"))))
    dynamics = {"temperatures_k": [300, 600, 1000], "n_walkers": 24, "n_steps": 500}
    return {
        "systems": [{"structure": "start.extxyz"}],
        "reference": {"kind": "xtb", "backend": "tblite"},
        "exploration": {"sampler": {"kind": "langevin", **dynamics}},
    }, gfn2_ethanol.dynamics_tests()


SETS = {name: partial(pool, name) for name in _PARTS} | {"ethanol": live_ethanol}


def campaign(data: str, arm: str, seed: int, options: argparse.Namespace) -> Iterator[Point]:
    """Run one campaign, then judge the model of each generation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sections, tests = SETS[data](folder)
        plain = {
            "name": "arms",
            "seed": seed,
            **sections,
            "training": {"n_steps": options.steps},
            "selection": {"n_frames": options.labels - options.audit, **ARMS[arm]},
            "audit": {"n_frames": options.audit},
            "max_generations": options.generations,
        }
        url = run_campaign(plain, folder)
        with assemble("arms", url) as run:
            for generation in run.store.generations("arms")[1:]:
                model = run.store.model("arms", generation.number)
                assert model is not None
                ensemble = Ensemble.from_bytes(model.weights, device="cpu")
                rmse, p99 = {}, {}
                for kind, items in tests.items():
                    forces = ensemble.predict([i.frame for i in items]).forces
                    error = np.abs(forces - np.concatenate([i.label.forces for i in items]))
                    rmse[kind] = float(np.sqrt(np.mean(error**2)))
                    p99[kind] = float(np.quantile(error, 0.99))
                n_labels = len(run.store.labeled("arms", before=generation.number))
                yield Point(data, arm, seed, options.steps, generation.number, n_labels, rmse, p99)


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
    parser.add_argument("--set", choices=list(SETS), action="append", dest="sets")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--labels", type=int, default=25, help="of each generation, the audit among them")
    parser.add_argument("--audit", type=int, default=5)
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("arms.json"))
    options = parser.parse_args()
    results = Results(options.out, Point, "data", "arm", "seed", "n_steps", "generation")
    for seed in options.seeds:
        for data in options.sets or SETS:
            for arm in options.arms:
                if (data, arm, seed, options.steps, options.generations) in results:
                    continue
                for point in campaign(data, arm, seed, options):
                    results.add(point)
    print(table(results.points))


if __name__ == "__main__":
    main()
