"""Objectives compared on molecules far from equilibrium: errors, calibration, and the link of both.

    AL_ENGINE_REFERENCE_DATA=FOLDER python benchmarks/objectives.py --steps 800 --seeds 0 1 2

ethanol: QM-22, displaced molecules; h2: reaction 16 of the combustion of hydrogen, dynamics and normal
modes. 200 frames to learn from, 45 to fit the scales (s, t, e) on, 1000 to test, all drawn at random by the
seed. `species` (one length by element) and `atom` (a head of its own beside the link, math 1) exist here
only. Points are added to the file as they come, and those that are in it are not computed again; markdown
tables are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import reference_data
import torch
from calibration import labels, scaled
from fitting import Fitted, Results, fit_ensemble
from torch import Tensor, nn

from al_engine.calibration import Scales, fit_scales
from al_engine.evaluation import Evaluation, evaluate
from al_engine.frames import elements_of
from al_engine.model import checkpoint
from al_engine.model.batch import FrameBatch
from al_engine.model.potential import Architecture, StackedPotential
from al_engine.records import LabeledFrame
from al_engine.stages import train as stage

SETS = {"ethanol": ("qm22/ethanol",), "h2": ("h2combustion/16_aimd", "h2combustion/16_nm")}
N_TRAIN, N_CALIBRATION, N_TEST = 200, 45, 1000
MEASURES = ("mean_z2", "nll", "ence", "coverage_90", "spearman", "auroc_worst_10_percent")
STATES = ("raw", "provisional", "final")


class BySpecies(StackedPotential):
    """tau_a² = v_a / l_Z² + delta_F², a length for each element."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__(arch)
        self.log_inverse = nn.Parameter(torch.zeros(arch.n_members, arch.n_species))

    def _force_noise(self, variance: Tensor, own: Tensor, batch: FrameBatch) -> Tensor:
        weight = self.log_inverse.exp() @ batch.element.t()
        return super()._force_noise(variance * weight, own, batch)


class ByAtom(StackedPotential):
    """tau_a² = u_a / l² + delta_F² with u_a of a second head; the link of energy and forces is kept."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__(replace(arch, noise="white"))  # two heads
        self.arch = arch

    def _force_noise(self, variance: Tensor, own: Tensor, batch: FrameBatch) -> Tensor:
        del variance
        return super()._force_noise(own, own, batch)


@dataclass(frozen=True)
class Objective:
    """Settings of a training, and the network where it is not the package's own."""

    training: dict[str, object]
    network: type[StackedPotential] = StackedPotential


OBJECTIVES = {
    "mse": Objective({"objective": "mse"}),
    "white": Objective({"objective": "white"}),
    "local": Objective({}),
    "global": Objective({"length_scale": "global"}),
    "species": Objective({}, BySpecies),
    "atom": Objective({}, ByAtom),
    "local, beta 0.5": Objective({"beta": 0.5}),
}


@dataclass(frozen=True)
class Point:
    """One training; `scores`: by state of the scales, then by measure."""

    data: str
    objective: str
    n_steps: int
    seed: int
    cpu_s: float
    provisional: tuple[float, float, float]
    final: tuple[float, float, float]
    scores: dict[str, dict[str, float]]


def drawn(data: str, seed: int) -> tuple[list[LabeledFrame], list[LabeledFrame], list[LabeledFrame]]:
    """Frames to learn from, to calibrate on, to test."""
    pool = [i for name in SETS[data] for i in reference_data.frames(name)]
    train, rest = reference_data.split(pool, N_TRAIN, seed)
    return train, rest[:N_CALIBRATION], rest[N_CALIBRATION : N_CALIBRATION + N_TEST]


def fitted(name: str, data: str, train: list[LabeledFrame], n_steps: int, seed: int) -> Fitted:
    """Train by an objective."""
    energies = reference_data.isolated(SETS[data][0])
    energies = energies or stage.atomic_energies(train, elements_of([i.frame for i in train]))
    objective = OBJECTIVES[name]
    with ExitStack() as stack:
        for module in (stage, checkpoint):
            stack.enter_context(patch.object(module, "StackedPotential", objective.network))
        return fit_ensemble(train, energies, seed=seed, training={"n_steps": n_steps, **objective.training})


def measure(name: str, data: str, n_steps: int, seed: int) -> Point:
    """Train and test under scales of 1, those of the training, and those fitted on unseen frames."""
    train, calibration, test = drawn(data, seed)
    found = fitted(name, data, train, n_steps, seed)
    ensemble = found.ensemble.with_scales(1, 1, 1)
    provisional = Scales(*found.model.scales, found.model.scale_errors, "uncalibrated")
    final = fit_scales(ensemble.predict([i.frame for i in calibration]), *labels(calibration), provisional)
    prediction = ensemble.predict([i.frame for i in test])
    states = {"raw": Scales(1, 1, 1, (0, 0, 0), "none"), "provisional": provisional, "final": final}
    scores = {
        state: _scores(evaluate(scaled(prediction, scales), *labels(test)))
        for state, scales in states.items()
    }
    factors = [(x.s, x.t, x.e) for x in (provisional, final)]
    return Point(data, name, n_steps, seed, found.cpu_s, *factors, scores)


def _scores(e: Evaluation) -> dict[str, float]:
    found = {"energy rmse": e.energy.rmse_ev, "forces rmse": e.forces.rmse_ev_per_ang}
    for kind, values in (("energy", e.energy), ("forces", e.forces)):
        found |= {f"{kind} {m}": getattr(values, m) for m in MEASURES}
    found |= {f"aleatoric forces {m}": getattr(e.parts.aleatoric.forces, m) for m in MEASURES}
    found |= {f"epistemic forces {m}": getattr(e.parts.epistemic.forces, m) for m in MEASURES}
    found["joint blocks nll"] = e.parts.total.joint_blocks.nll_per_label
    low_rank = e.parts.total.joint_low_rank
    assert low_rank is not None
    found["joint low rank nll"] = low_rank.nll_per_label
    found["correlation observed"] = e.coherence.correlation_observed
    found["correlation predicted"] = e.coherence.correlation_predicted
    return found


def tables(points: Sequence[Point]) -> str:
    """Of each set: energies, forces, the link; cells: raw -> final ± deviation over seeds."""
    lines = []
    for data, n_steps in dict.fromkeys((p.data, p.n_steps) for p in points):
        groups = {
            name: chosen
            for name in OBJECTIVES
            if (chosen := [p for p in points if (p.data, p.objective, p.n_steps) == (data, name, n_steps)])
        }
        for kind, unit, factor in (("energy", "meV", 1000), ("forces", "meV/Å", 1000)):
            lines += [
                f"\n{data}, {n_steps} steps, {kind}: scales of 1 -> final scales\n",
                f"| objective | seeds | RMSE ({unit}) | NLL | mean z² | ENCE | 90 % holds | Spearman "
                "| AUROC |",
                "|---" * 9 + "|",
            ]
            for name, group in groups.items():
                cells = [
                    _both(group, f"{kind} {m}", 100 if m == "coverage_90" else 1)
                    for m in ("nll", "mean_z2", "ence", "coverage_90", "spearman", "auroc_worst_10_percent")
                ]
                rmse = _mean(group, "final", f"{kind} rmse", factor)
                lines.append(f"| {name} | {len(group)} | {rmse} | " + " | ".join(cells) + " |")
        lines += [
            f"\n{data}, {n_steps} steps, energy and forces together\n",
            "| objective | CPU s | s, t, e final | r(E, F) observed | predicted, raw -> final "
            "| NLL of a frame, blocks | low rank |",
            "|---" * 7 + "|",
        ]
        for name, group in groups.items():
            scales = np.exp(np.log([p.final for p in group]).mean(axis=0))
            lines.append(
                f"| {name} | {np.mean([p.cpu_s for p in group]):.0f} "
                f"| {', '.join(f'{x:.2f}' for x in scales)} "
                f"| {_mean(group, 'final', 'correlation observed')} "
                f"| {_both(group, 'correlation predicted')} "
                f"| {_both(group, 'joint blocks nll')} | {_both(group, 'joint low rank nll')} |"
            )
    return "\n".join(lines)


def _mean(group: Sequence[Point], state: str, name: str, factor: float = 1) -> str:
    values = factor * np.array([p.scores[state][name] for p in group])
    digits = 2 if abs(values.mean()) < 10 else 1
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _both(group: Sequence[Point], name: str, factor: float = 1) -> str:
    raw = _mean(group, "raw", name, factor).partition(" ±")[0]
    return f"{raw} -> {_mean(group, 'final', name, factor)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--objectives", nargs="*", choices=list(OBJECTIVES), default=list(OBJECTIVES))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("objectives.json"))
    arguments = parser.parse_args()
    results = Results(arguments.out, Point, "data", "objective", "n_steps", "seed")
    for seed in arguments.seeds:
        for data in arguments.sets:
            for name in arguments.objectives:
                if (data, name, arguments.steps, seed) not in results:
                    results.add(measure(name, data, arguments.steps, seed))
    print(tables(results.points))


if __name__ == "__main__":
    main()
