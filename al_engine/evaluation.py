"""Errors and calibration of a prediction on labeled frames it has not seen (math 8)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from al_engine.prediction import Array, Prediction
from al_engine.records import Metric

Json = dict[str, int | dict[str, float | None]]


@dataclass(frozen=True)
class Calibration:
    """How well an uncertainty (standard deviation sd, total) describes the errors r; NaN where undefined.

    Attributes:
        mean_z2: Mean of r² / sd²; 1 is the target.
        nll: Negative log-likelihood of a normal distribution, nats per energy or per force component
            (the 3x3 block of each atom, divided by 3).
        ence: Mean over bins of |RMV - RMSE| / RMV; bins of equal count, sorted by sd.
        spearman: Rank correlation of |r| with sd.
        coverage_90: Share of errors within the nominal 90 % interval, 1.645 sd.
    """

    mean_z2: float
    nll: float
    ence: float
    spearman: float
    coverage_90: float


@dataclass(frozen=True)
class EnergyScores(Calibration):
    """Errors of the energy, eV, and its calibration."""

    rmse_ev_per_atom: float
    mae_ev_per_atom: float
    rmse_ev: float


@dataclass(frozen=True)
class ForceScores(Calibration):
    """Errors of the force components, eV/Å, and their calibration.

    `auroc_worst_10_percent`: probability that a frame among the worst tenth, by its largest force
    error, has a larger maximum over atoms of the force sd than one that is not.
    """

    rmse_ev_per_ang: float
    mae_ev_per_ang: float
    auroc_worst_10_percent: float


@dataclass(frozen=True)
class Coherence:
    """Correlation of energy with force errors, observed and as the covariance predicts it."""

    correlation_observed: float
    correlation_predicted: float


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on a set of labeled frames."""

    n_frames: int
    n_atoms: int
    energy: EnergyScores
    forces: ForceScores
    coherence: Coherence

    def to_json(self) -> Json:
        """Return the structure of `evaluate --json`; a number that is not finite becomes None."""
        return {
            quantity: value
            if isinstance(value, int)
            else {name: v if math.isfinite(v) else None for name, v in value.items()}
            for quantity, value in asdict(self).items()
        }

    def metrics(self, split: str) -> list[Metric]:
        """Return each finite number as a record of the split."""
        return [
            Metric(split, quantity, name, value)
            for quantity, values in self.to_json().items()
            if isinstance(values, dict)
            for name, value in values.items()
            if value is not None
        ]


def evaluate(prediction: Prediction, energies: ArrayLike, forces: ArrayLike) -> Evaluation:
    """Compare a prediction with labels.

    Args:
        prediction: Of an ensemble that was not trained on these labels.
        energies: Shape (n_frames,), eV; NaN where a frame has no energy.
        forces: Shape (n_atoms, 3), eV/Å; NaN where a frame has no forces.

    Raises:
        ValueError: Labels of another shape than the prediction.
    """
    true_energy, true_forces = _labels(prediction, energies, forces)
    has_energy, has_forces = np.isfinite(true_energy), np.isfinite(true_forces.sum(axis=1))
    r_energy, r_forces = true_energy - prediction.energy, true_forces - prediction.forces
    with np.errstate(all="ignore"):  # a variance of zero or a network that diverged gives null
        return Evaluation(
            prediction.n_frames,
            len(true_forces),
            _energy_scores(prediction, r_energy, has_energy),
            _force_scores(prediction, r_forces, has_forces),
            _coherence(prediction, r_energy, r_forces),
        )


def max_force_errors(prediction: Prediction, forces: ArrayLike) -> Array:
    """Return the largest absolute error of a force component of each frame, shape (n_frames,), eV/Å."""
    _, true_forces = _labels(prediction, np.zeros(prediction.n_frames), forces)
    return _maximum(prediction, np.abs(true_forces - prediction.forces).max(axis=1))


def frame_coverage(
    prediction: Prediction, energies: ArrayLike, forces: ArrayLike, level: float = 0.9
) -> tuple[Array, Array]:
    """Return how much of each frame lies within its nominal central intervals.

    Returns:
        1 or 0 for the energy, and the share of force components, each of shape (n_frames,).
    """
    true_energy, true_forces = _labels(prediction, energies, forces)
    z = norm.ppf((1 + level) / 2)
    energy = np.abs(true_energy - prediction.energy) <= z * prediction.total.energy_sd
    inside = np.abs(true_forces - prediction.forces) <= z * _component_sd(prediction)
    return energy.astype(np.float64), _frame_sum(prediction, inside.mean(axis=1)) / _sizes(prediction)


def _energy_scores(prediction: Prediction, residual: Array, known: NDArray[np.bool_]) -> EnergyScores:
    error, sd = residual[known], prediction.total.energy_sd[known]
    per_atom = error / _sizes(prediction)[known]
    return EnergyScores(
        mean_z2=_mean((error / sd) ** 2),
        nll=_mean(0.5 * (error / sd) ** 2 + np.log(sd) + 0.5 * math.log(2 * math.pi)),
        ence=_ence(error, sd),
        spearman=_spearman(np.abs(error), sd),
        coverage_90=_coverage_90(error, sd),
        rmse_ev_per_atom=math.sqrt(_mean(per_atom**2)),
        mae_ev_per_atom=_mean(np.abs(per_atom)),
        rmse_ev=math.sqrt(_mean(error**2)),
    )


def _force_scores(prediction: Prediction, residual: Array, known: NDArray[np.bool_]) -> ForceScores:
    error, sd = residual[known].ravel(), _component_sd(prediction)[known].ravel()
    whole = _frame_sum(prediction, (~known).astype(np.float64)) == 0
    return ForceScores(
        mean_z2=_mean((error / sd) ** 2),
        nll=_block_nll(residual[known], prediction.total.force_covariance[known]),
        ence=_ence(error, sd),
        spearman=_spearman(np.abs(error), sd),
        coverage_90=_coverage_90(error, sd),
        rmse_ev_per_ang=math.sqrt(_mean(error**2)),
        mae_ev_per_ang=_mean(np.abs(error)),
        auroc_worst_10_percent=_auroc_worst_10_percent(
            _maximum(prediction, np.abs(residual).max(axis=1))[whole],
            _maximum(prediction, prediction.total.force_sd)[whole],
        ),
    )


def _coherence(prediction: Prediction, r_energy: Array, r_forces: Array) -> Coherence:
    """Correlation of r_E with its best linear trace in the forces.

    With V = Var E and c = Cov[E, F] = -1/2 grad V of the total, -(grad log sqrt(V) . r_F) = c . r_F / V.
    Its variance under the model is (c^T C_F c) / V², C_F with all its cross-atom terms (math 4):
    c^T C_F c = sum_a <tau_a²> |c_a|² + <(g_m . c)²> + <(dF_m . c)²>. Each factor is divided by its own
    predicted standard deviation, so that every frame counts alike and the dimension drops out,
        x = r_E / sqrt(V),   y = c . r_F / sqrt(c^T C_F c),   E[x y] = |c|² / sqrt(V c^T C_F c).
    Predicted is the mean of E[x y] over frames; observed is sum x y / sqrt(sum x² sum y²), about zero
    and not about the sample mean, since the model says that errors have mean zero. A common factor on
    all variances changes neither. Both are >= 0 where energy and forces err together.
    """
    total = prediction.total
    c, variance = total.energy_force_covariance, total.energy_variance

    def projected(vectors: Array) -> Array:
        return _frame_sum(prediction, (vectors * c).sum(axis=1))

    spread = _frame_sum(prediction, prediction.force_noise.mean(axis=0) * (c**2).sum(axis=1))
    for directions in (prediction.noise_scale_gradient, prediction.force_deviation):
        spread = spread + np.mean([projected(d) ** 2 for d in directions], axis=0)
    x, y = r_energy / np.sqrt(variance), projected(r_forces) / np.sqrt(spread)
    expected = projected(c) / np.sqrt(variance * spread)
    used = ~np.isnan(x) & ~np.isnan(y)
    if used.sum() < 2:
        return Coherence(math.nan, math.nan)
    x, y = x[used], y[used]
    observed = float(x @ y / np.sqrt((x @ x) * (y @ y)))
    return Coherence(observed, _mean(expected[used]))


def _labels(prediction: Prediction, energies: ArrayLike, forces: ArrayLike) -> tuple[Array, Array]:
    """Return the labels as arrays of the prediction's shapes."""
    energy, force = np.asarray(energies, dtype=np.float64), np.asarray(forces, dtype=np.float64)
    if energy.shape != prediction.energy.shape or force.shape != prediction.forces.shape:
        raise ValueError(
            f"labels must have shapes {prediction.energy.shape} and {prediction.forces.shape}, "
            f"got {energy.shape} and {force.shape}"
        )
    return energy, force


def _frame_sum(prediction: Prediction, values: Array) -> Array:
    """Sum of a number per atom over the atoms of each frame, shape (n_frames,)."""
    total: Array = np.bincount(prediction.frame_index, values, prediction.n_frames).astype(np.float64)
    return total


def _sizes(prediction: Prediction) -> Array:
    """Number of atoms of each frame, shape (n_frames,)."""
    return _frame_sum(prediction, np.ones(len(prediction.frame_index)))


def _maximum(prediction: Prediction, values: Array) -> Array:
    """Maximum of a number >= 0 per atom over the atoms of each frame, shape (n_frames,); NaN stays."""
    maximum = np.zeros(prediction.n_frames)
    with np.errstate(invalid="ignore"):
        np.maximum.at(maximum, prediction.frame_index, values)
    return maximum


def _component_sd(prediction: Prediction) -> Array:
    """Marginal standard deviation of each force component, shape (n_atoms, 3), eV/Å."""
    sd: Array = np.sqrt(np.diagonal(prediction.total.force_covariance, axis1=1, axis2=2))
    return sd


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan


def _coverage_90(error: Array, sd: Array) -> float:
    return _mean((np.abs(error) <= norm.ppf(0.95) * sd).astype(np.float64))


def _block_nll(residual: Array, blocks: Array) -> float:
    """Mean over atoms of -log N(r; 0, B) / 3, by the eigenvectors of the 3x3 blocks, nats."""
    if not (np.isfinite(blocks).all() and len(blocks)):
        return math.nan
    values, vectors = np.linalg.eigh(blocks)
    turned = np.einsum("aij,ai->aj", vectors, residual)
    return _mean(0.5 * (turned**2 / values + np.log(2 * math.pi * values)).ravel())


def _ence(error: Array, sd: Array) -> float:
    """Expected normalized calibration error: up to 10 bins of equal count, 20 errors each at least.

    It is biased upwards by about sqrt(n_bins / (pi n)), so a bin must not be small.
    """
    if len(error) == 0:
        return math.nan
    order = np.argsort(sd, kind="stable")
    bins = np.array_split(order, min(10, max(1, len(error) // 20)))
    rmv = np.array([math.sqrt(_mean(sd[b] ** 2)) for b in bins])
    rmse = np.array([math.sqrt(_mean(error[b] ** 2)) for b in bins])
    return _mean(np.abs(rmv - rmse) / rmv)


def _spearman(a: Array, b: Array) -> float:
    """Rank correlation; NaN with fewer than two values or where one of them is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0 or not np.isfinite(a + b).all():
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _auroc_worst_10_percent(errors: Array, scores: Array) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); positives: errors >= 90th percentile."""
    if len(errors) < 2 or not np.isfinite(errors + scores).all():
        return math.nan
    worst = errors >= np.quantile(errors, 0.9)
    n_worst, n_other = int(worst.sum()), int((~worst).sum())
    if n_other == 0:
        return math.nan
    rank_sum = float(rankdata(scores)[worst].sum())
    return (rank_sum - n_worst * (n_worst + 1) / 2) / (n_worst * n_other)
