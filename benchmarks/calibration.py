"""Calibration on 3BPA: learned at 300 K, judged there and at temperatures that it has never seen.

    AL_ENGINE_REFERENCE_DATA=FOLDER python benchmarks/calibration.py --steps 1400

Scales (s, t, e) are fitted on 45 of the new frames of a temperature and judged on the others; every figure
is an average over draws of the 45. `cross-fitted`: member m learns from all folds but m, as in a campaign.
`plain`: all members learn from the same nine tenths; the last tenth stops them and gives the provisional
scales. Trainings are kept in the folder and are not done again; two markdown tables are printed. The second
ranks frames by a score against their largest force error, in brackets the same for errors drawn from the
predicted distribution of each atom: what to expect if it were right and atoms erred independently.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import reference_data
from fitting import Results, fit_ensemble

from al_engine.calibration import Scales, fit_scales
from al_engine.evaluation import Evaluation, evaluate, max_force_errors
from al_engine.model.ensemble import Ensemble
from al_engine.prediction import Prediction
from al_engine.records import LabeledFrame, TrainingFrame
from al_engine.scores import auroc_worst_10_percent, spearman
from al_engine.selection.score import information
from al_engine.stages import train as stage
from al_engine.training import trainer
from al_engine.training.crossfit import assign_folds
from al_engine.training.dataset import build_dataset
from al_engine.training.fold import FoldResiduals, fold_residuals, start_noise

METHODS = ("cross-fitted", "plain")
TEMPERATURES = ("300 K", "600 K", "1200 K")
N_CALIBRATION = 45
_CUTOFF = 5.0
"""Of the preset, Å."""


@dataclass(frozen=True)
class Training:
    """One training; its ensemble lies beside the results."""

    method: str
    n_steps: int
    seed: int
    cpu_s: float
    scales: tuple[float, float, float]
    scale_errors: tuple[float, float, float]

    @property
    def provisional(self) -> Scales:
        """Where the fit of the final scales starts."""
        return Scales(*self.scales, tuple(self.scale_errors), "uncalibrated")


def scaled(prediction: Prediction, scales: Scales) -> Prediction:
    """Apply scales to the prediction of an unscaled ensemble."""
    return replace(
        prediction,
        noise_variance=scales.s * prediction.noise_variance,
        noise_gradient=scales.s * prediction.noise_gradient,
        force_noise=scales.t * prediction.force_noise,
        epistemic_scale=scales.e,
    )


def labels(items: Sequence[LabeledFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Energies (eV) and forces (eV/Å)."""
    return np.array([i.label.energy for i in items]), np.concatenate([i.label.forces for i in items])


def train(method: str, n_steps: int, seed: int, folder: Path) -> Training:
    """Train and keep the ensemble with scales of 1."""
    items = reference_data.frames("3bpa/train_300K")
    energies = reference_data.isolated("3bpa")
    n_learned = round(0.9 * len(items)) if method == "plain" else len(items)
    items, held_out = reference_data.split(items, n_learned, seed)
    with _plain(held_out, energies) if held_out else nullcontext():
        fitted = fit_ensemble(items, energies, seed=seed, training={"n_steps": n_steps})
    fitted.ensemble.with_scales(1, 1, 1).save(_file(folder, method, n_steps, seed))
    return Training(method, n_steps, seed, fitted.cpu_s, fitted.model.scales, fitted.model.scale_errors)


def _file(folder: Path, method: str, n_steps: int, seed: int) -> Path:
    return folder / f"{method}-{n_steps}-{seed}.ensemble"


@contextmanager
def _plain(held_out: Sequence[LabeledFrame], energies: dict[int, float]) -> Iterator[None]:
    """Within: no training frame is in a fold, so that all members learn from it; `held_out` is judged."""
    judged = build_dataset(held_out, assign_folds(held_out, {}, 4), energies, _CUTOFF)

    def all_learn(items: Sequence[LabeledFrame], *_: object) -> tuple[TrainingFrame, ...]:
        return tuple(TrainingFrame(k, -1) for k in sorted(i.frame.frame_id for i in items))

    def judge(net: trainer.StackedPotential, _: object, **options: bool) -> FoldResiduals:
        return fold_residuals(net, judged, **options)

    def start(net: trainer.StackedPotential, fold: FoldResiduals, _: object) -> None:
        start_noise(net, fold, judged)

    with (
        patch.object(stage, "assign_folds", all_learn),
        patch.object(trainer, "fold_residuals", judge),
        patch.object(trainer, "start_noise", start),
    ):
        yield


def frame_scores(prediction: Prediction) -> dict[str, np.ndarray]:
    """What frames can be ranked by."""
    found = {"information": information(prediction)}
    for name, part in (("total", prediction.total), ("epistemic", prediction.epistemic)):
        found[f"largest force sd, {name}"] = prediction.max_over_atoms(part.force_sd)
        found[f"mean force sd, {name}"] = prediction.sum_over_atoms(part.force_sd) / prediction.n_atoms
        found[f"energy sd, {name}"] = part.energy_sd
    return found


@dataclass(frozen=True)
class Judged:
    """One draw of the 45 frames: what the scales fitted on them make of the others."""

    scales: Scales
    evaluation: Evaluation
    scores: dict[str, np.ndarray]
    largest: np.ndarray
    """Largest error of a force component of each frame, eV/Å."""
    imagined: np.ndarray
    """The same of errors drawn from the predicted distribution of each atom."""


def judge(prediction: Prediction, items: Sequence[LabeledFrame], scales: Scales) -> Judged:
    """Compare a prediction under these scales with the labels."""
    p, (energies, forces) = scaled(prediction, scales), labels(items)
    values, axes = np.linalg.eigh(p.total.force_covariance)
    normal = np.random.default_rng(0).normal(size=values.shape)
    errors = np.einsum("aij,aj->ai", axes, np.sqrt(np.maximum(values, 0)) * normal)
    imagined = p.max_over_atoms(np.abs(errors).max(axis=1))
    largest = max_force_errors(p, forces)
    return Judged(scales, evaluate(p, energies, forces), frame_scores(p), largest, imagined)


def draws(ensemble: Ensemble, training: Training, n_draws: int) -> dict[str, list[Judged]]:
    """Judge each temperature: unscaled, under provisional scales, under scales of 300 K, under its own."""
    found: dict[str, list[Judged]] = {}
    one = Scales(1, 1, 1, (0, 0, 0), "none")
    sets = {t: reference_data.frames(f"3bpa/mixed_{t.replace(' ', '')}") for t in TEMPERATURES}
    whole = {t: ensemble.predict([i.frame for i in items]) for t, items in sets.items()}
    for draw in range(n_draws):
        at_300 = one
        for t, items in sets.items():
            order = np.random.default_rng(draw).permutation(len(items))
            chosen = np.zeros(len(items), dtype=bool)
            chosen[order[:N_CALIBRATION]] = True
            known = [i for i, c in zip(items, chosen, strict=True) if c]
            rest = [i for i, c in zip(items, chosen, strict=True) if not c]
            own = fit_scales(whole[t].of_frames(chosen), *labels(known), training.provisional)
            at_300 = own if t == "300 K" else at_300
            all_scales = {"none": one, "provisional": training.provisional, "of 300 K": at_300, "own": own}
            for name, scales in all_scales.items():
                if not (t == "300 K" and name == "of 300 K"):
                    judged = judge(whole[t].of_frames(~chosen), rest, scales)
                    found.setdefault(f"{t} | {name}", []).append(judged)
    return found


def _average(values: Sequence[float], digits: int = 2) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def table(found: dict[str, dict[str, list[Judged]]]) -> str:
    """A row a training, temperature and kind of scales; mean ± deviation of the draws."""
    lines = [
        "| training | tested at | scales | s, t, e | forces: RMSE (meV/Å) | mean z² | 90 % holds | ENCE "
        "| NLL | energy: RMSE (meV) | mean z² | 90 % holds | NLL |",
        "|---" * 13 + "|",
    ]
    for method, groups in found.items():
        for name, group in groups.items():
            f, e = ([getattr(j.evaluation, kind) for j in group] for kind in ("forces", "energy"))
            factors = np.exp(np.mean([np.log([j.scales.s, j.scales.t, j.scales.e]) for j in group], axis=0))
            lines.append(
                f"| {method} | {name} | {', '.join(f'{x:.2f}' for x in factors)} "
                f"| {1000 * np.mean([x.rmse_ev_per_ang for x in f]):.1f} "
                f"| {_average([x.mean_z2 for x in f])} | {_average([100 * x.coverage_90 for x in f], 1)} "
                f"| {_average([x.ence for x in f])} | {_average([x.nll for x in f])} "
                f"| {1000 * np.mean([x.rmse_ev for x in e]):.1f} | {_average([x.mean_z2 for x in e])} "
                f"| {_average([100 * x.coverage_90 for x in e], 1)} | {_average([x.nll for x in e])} |"
            )
    return "\n".join(lines)


def rank_table(found: dict[str, dict[str, list[Judged]]]) -> str:
    """A row a training and score, a column a temperature: AUROC / Spearman (of imagined errors)."""
    columns = {t: [f"{t} | own"] for t in TEMPERATURES}
    columns["all, scales of 300 K"] = ["300 K | own", "600 K | of 300 K", "1200 K | of 300 K"]
    lines = ["| training | score | " + " | ".join(columns) + " |", "|---" * (2 + len(columns)) + "|"]
    for method, groups in found.items():
        for score in groups["300 K | own"][0].scores:
            cells = [_ranks(score, [groups[k] for k in keys]) for keys in columns.values()]
            lines.append(f"| {method} | {score} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ranks(score: str, groups: Sequence[Sequence[Judged]]) -> str:
    """Average over draws; the frames of all groups together."""
    rows = []
    for draw in zip(*groups, strict=True):
        scores, largest, imagined = (
            np.concatenate([of(j) for j in draw])
            for of in (lambda j: j.scores[score], lambda j: j.largest, lambda j: j.imagined)
        )
        rows.append([f(x, scores) for x in (largest, imagined) for f in (auroc_worst_10_percent, spearman)])
    return "{:.2f} / {:.2f} ({:.2f} / {:.2f})".format(*np.mean(rows, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("calibration"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.folder / "trainings.json", Training, "method", "n_steps", "seed")
    for seed in arguments.seeds:
        for method in arguments.methods:
            if (method, arguments.steps, seed) not in results:
                results.add(train(method, arguments.steps, seed, arguments.folder))
    found = {}
    for p in results.points:
        ensemble = Ensemble.load(_file(arguments.folder, p.method, p.n_steps, p.seed), device="cpu")
        name = f"{p.method}, {p.n_steps} steps, seed {p.seed}, {p.cpu_s:.0f} CPU s"
        found[name] = draws(ensemble, p, arguments.draws)
    print(table(found), rank_table(found), sep="\n\n")


if __name__ == "__main__":
    main()
