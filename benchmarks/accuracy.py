"""Accuracy on published reference data: errors of the mean of the ensemble on frames it has not learned.

    AL_ENGINE_REFERENCE_DATA=FOLDER python benchmarks/accuracy.py [TASK ...] --preset accurate --threads 2

Tasks are the rows of `TASKS`. Each is one training as in a campaign (cross-fitted: every member learns from
three quarters of the labels). Points are added to the file as they come, and those that are in it are not
computed again; a markdown table is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gfn2_ethanol
import numpy as np
import reference_data
from fitting import Results, fit_ensemble, markdown

from al_engine.frames import elements_of
from al_engine.model.ensemble import Ensemble
from al_engine.records import LabeledFrame
from al_engine.stages.train import atomic_energies

Frames = list[LabeledFrame]
Parts = Callable[[], tuple[Frames, dict[str, Frames]]]
"""Frames to learn from, and tests by name."""


@dataclass(frozen=True)
class Errors:
    """Of one test; energies an eV of the whole frame, stress of a component."""

    n_frames: int
    force_rmse_ev_per_ang: float
    force_mae_ev_per_ang: float
    energy_rmse_ev: float
    energy_mae_ev: float
    stress_rmse_ev_per_ang3: float | None = None


@dataclass(frozen=True)
class Point:
    """One training and its tests."""

    task: str
    preset: str
    n_steps: int
    seed: int
    threads: int
    n_labels: int
    cpu_s: float
    wall_s: float
    tests: dict[str, dict[str, Any]]


def _published(train: str, tests: dict[str, str], n_labels: int | None = None) -> tuple[Frames, Any]:
    frames = reference_data.frames(train)
    chosen = frames if n_labels is None else reference_data.split(frames, n_labels)[0]
    return chosen, {label: reference_data.frames(name) for label, name in tests.items()}


def _drawn(names: Sequence[str], n_labels: int, n_tests: int) -> tuple[Frames, dict[str, Frames]]:
    """Draw from each part the same share of the labels; tests from what is left."""
    train: Frames = []
    tests = {}
    for name in names:
        chosen, rest = reference_data.split(reference_data.frames(name), n_labels // len(names))
        train += chosen
        tests[name.partition("/")[2]] = rest[:n_tests]
    return train, tests


def _gfn2() -> tuple[Frames, dict[str, Frames]]:
    tests = {"300-800 K": "test", "1500 K": "hot", "stretched": "stretched"}
    return gfn2_ethanol.frames("train"), {k: gfn2_ethanol.frames(v) for k, v in tests.items()}


TASKS: dict[str, Parts] = {
    "3bpa": partial(_published, "3bpa/train_300K", {f"{t} K": f"3bpa/mixed_{t}K" for t in (300, 600, 1200)}),
    "acac": partial(_published, "acac/train_300K", {f"{t} K": f"acac/test_MD_{t}K" for t in (300, 600)}),
    **{
        f"ethanol_{n}": partial(_published, "ethanol/train", {"dynamics": "ethanol/test_MD"}, n)
        for n in (25, 50, 100, 200, 400, 1000)
    },
    "qm22_ethanol": partial(_drawn, ["qm22/ethanol"], 1000, 1000),
    "qm22_methane": partial(_drawn, ["qm22/methane"], 1000, 1000),
    "h2_rxn16": partial(_drawn, ["h2combustion/16_aimd", "h2combustion/16_nm"], 1000, 1000),
    "silicon": partial(_published, "mlearn_si/train", {"test": "mlearn_si/test"}),
    "water": partial(_drawn, ["water/all"], 150, 50),
    "gfn2_ethanol": _gfn2,
}


def isolated(train: Frames) -> dict[int, float]:
    """Energies of isolated atoms (eV): published, else by least squares."""
    level = train[0].label.level_of_theory
    sets = [name for name, own in reference_data.LEVEL.items() if own == level]
    known = reference_data.isolated(sets[0]) if sets else gfn2_ethanol.isolated()
    elements = elements_of([i.frame for i in train])
    return {z: known[z] for z in elements} if known else atomic_energies(train, elements)


def errors(ensemble: Ensemble, items: Frames) -> Errors:
    """Compare the mean of the members with the labels."""
    p = ensemble.predict([i.frame for i in items])
    force = p.forces - np.concatenate([i.label.forces for i in items])
    energy = p.energy - np.array([i.label.energy for i in items])
    stress = None
    if p.stress is not None and all(i.label.stress is not None for i in items):
        stress = _rms(p.stress - np.array([i.label.stress for i in items]))
    mae = float(np.mean(np.abs(force))), float(np.mean(np.abs(energy)))
    return Errors(len(items), _rms(force), mae[0], _rms(energy), mae[1], stress)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def measure(
    task: str, preset: str, n_steps: int | None, seed: int, threads: int, models: Path | None
) -> Point:
    """Train and test; progress goes to stderr, the networks and the log of the training to `models`."""
    train, tests = TASKS[task]()

    def progress(done: int, total: int, news: str) -> None:
        print(f"{task}, {preset}: step {done} of {total}, {news}", file=sys.stderr, flush=True)

    training = {} if n_steps is None else {"training": {"n_steps": n_steps}}
    fitted = fit_ensemble(
        train,
        isolated(train),
        seed=seed,
        preset=preset,
        threads=threads,
        progress=progress,
        **training,
    )
    if models is not None:
        models.mkdir(parents=True, exist_ok=True)
        fitted.ensemble.save(models / f"{task}-{preset}-{seed}.ens")
        np.savetxt(models / f"{task}-{preset}-{seed}.log", fitted.model.log)
    found = {name: vars(errors(fitted.ensemble, items)) for name, items in tests.items()}
    return Point(
        task, preset, n_steps or 0, seed, threads, len(train), fitted.cpu_s, fitted.wall_s, found
    )  # fmt: skip


def table(points: Sequence[Point]) -> str:
    """A row a test."""
    heads = ["task", "preset, steps", "labels", "CPU s / wall s, threads", "test"]
    heads += ["forces RMSE / MAE (meV/Å)", "energy RMSE / MAE (meV)", "stress RMSE (meV/Å³)"]
    rows = []
    for p in points:
        cost = f"{p.cpu_s:.0f} / {p.wall_s:.0f}, {p.threads}"
        for name, values in p.tests.items():
            e = Errors(**values)
            forces = f"{1000 * e.force_rmse_ev_per_ang:.1f} / {1000 * e.force_mae_ev_per_ang:.1f}"
            energy = f"{1000 * e.energy_rmse_ev:.1f} / {1000 * e.energy_mae_ev:.1f}"
            stress = "" if e.stress_rmse_ev_per_ang3 is None else f"{1000 * e.stress_rmse_ev_per_ang3:.2f}"
            training = (p.task, f"{p.preset}, {p.n_steps or 'its own'}", p.n_labels, cost)
            rows.append((*training, f"{name} ({e.n_frames})", forces, energy, stress))
    return markdown(heads, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"default: all of {', '.join(TASKS)}")
    parser.add_argument("--preset", default="default", choices=["default", "accurate"])
    parser.add_argument("--steps", type=int, help="default: those of the preset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", type=Path, help="folder to keep the networks in")
    parser.add_argument("--out", type=Path, default=Path("accuracy.json"))
    arguments = parser.parse_args()
    results = Results(arguments.out, Point, "task", "preset", "n_steps", "seed")
    for task in arguments.tasks or TASKS:
        if (task, arguments.preset, arguments.steps or 0, arguments.seed) not in results:
            given = arguments.preset, arguments.steps, arguments.seed, arguments.threads
            results.add(measure(task, *given, arguments.models))
    print(table(results.points))


if __name__ == "__main__":
    main()
