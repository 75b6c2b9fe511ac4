"""Warm against fresh starts of the training over five generations.

    python benchmarks/warm_start.py [--seeds 0 1] [--steps 800] [--out warm_start.json]

GFN2-xTB ethanol (`gfn2_ethanol.py`): 60 labels in the first generation, 40 more in each later one, drawn at
random; the first 12 of those that come next are the audit, which calibrates and is trained on one generation
later. Steps are those of a fresh start. Each training is judged on frames of the same distribution and on
such of 1500 K. Chains of generations are added to the file as they end; those that are there are known.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gfn2_ethanol
import numpy as np
from fitting import Results, fit_ensemble

from al_engine.model.ensemble import Ensemble
from al_engine.records import LabeledFrame, TrainedModel
from al_engine.stages.close import evaluation

SIZES = (60, 100, 140, 180, 220)
N_AUDIT = 12
TESTS = {"test": "300-800 K", "hot": "1500 K"}
COLUMNS = {
    "force RMSE meV/Å": ("forces", "rmse_ev_per_ang", 1000),
    "energy RMSE meV/atom": ("energy", "rmse_ev_per_atom", 1000),
    "z² of forces": ("forces", "mean_z2", 1),
    "in 90 %": ("forces", "coverage_90", 1),
}


@dataclass(frozen=True)
class Chain:
    """Generations of one seed; CPU time of each training, and what its ensemble came to, by test."""

    start: str
    seed: int
    n_steps: int
    cpu_s: list[float]
    found: list[dict[str, list[float]]]


def chain(start: str, seed: int, n_steps: int) -> Chain:
    """Train one generation after the other."""
    pool, energies = gfn2_ethanol.frames("train"), gfn2_ethanol.isolated()
    order = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))]
    training = {"start": start, "n_steps": n_steps}
    previous: TrainedModel | None = None
    folds: dict[str, int] = {}
    cpu_s, found = [], []
    for generation, size in enumerate(SIZES, 1):
        fitted = fit_ensemble(
            order[:size], energies, seed=seed, unseen=order[size : size + N_AUDIT], training=training,
            generation=generation, folds=folds, previous=previous,
        )  # fmt: skip
        previous = fitted.model
        cpu_s.append(fitted.cpu_s)
        folds |= {entry.frame_id: entry.fold for entry in previous.training_set}
        found.append({name: judged(fitted.ensemble, gfn2_ethanol.frames(name)) for name in TESTS})
    return Chain(start, seed, n_steps, cpu_s, found)


def judged(ensemble: Ensemble, frames: list[LabeledFrame]) -> list[float]:
    """The numbers of `COLUMNS`."""
    metrics = evaluation(ensemble, [(i.frame, i.label) for i in frames]).metrics("test")
    values: Mapping[Any, float] = {(m.quantity, m.name): m.value for m in metrics}
    return [factor * values[quantity, name] for quantity, name, factor in COLUMNS.values()]


def table(chains: list[Chain]) -> str:
    """The last generation of each chain, and the CPU time of all."""
    tests = list(TESTS.values())
    names = [f"{column}, {test}" for test in tests for column in COLUMNS]
    lines = ["| start | steps | seed | CPU s | " + " | ".join(names) + " |"]
    lines.append("|---" * (4 + len(names)) + "|")
    for c in sorted(chains, key=lambda c: (c.n_steps, c.seed, c.start)):
        values = [value for name in TESTS for value in c.found[-1][name]]
        shown = " | ".join(f"{value:.3g}" for value in values)
        lines.append(f"| {c.start} | {c.n_steps} | {c.seed} | {sum(c.cpu_s):.0f} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path, default=Path("warm_start.json"))
    arguments = parser.parse_args()
    results = Results(arguments.out, Chain, "start", "seed", "n_steps")
    for seed in arguments.seeds:
        for start in ("fresh", "warm"):
            if (start, seed, arguments.steps) not in results:
                results.add(chain(start, seed, arguments.steps))
    print(table(results.points))


if __name__ == "__main__":
    main()
