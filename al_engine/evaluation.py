"""Errors and calibration of a prediction on labeled frames it has not seen (math 8)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from al_engine.joint import Coherence, Joint, LowRankCovariance, coherence
from al_engine.prediction import Array, Prediction, UncertaintyPart
from al_engine.records import Metric
from al_engine.residuals import Residuals
from al_engine.scores import Calibration, NormalErrors, Reliability, auroc_worst_10_percent, mean

Json = int | float | str | list["Json"] | dict[str, "Json"] | None

MAX_SIZE_BINS = 4


@dataclass(frozen=True)
class EnergyCalibration(Calibration):
    """Of the energy of a frame."""

    crps_ev: float


@dataclass(frozen=True)
class ForceCalibration(Calibration):
    """Of forces."""

    crps_ev_per_ang: float


@dataclass(frozen=True)
class PartScores:
    """What one part of the uncertainty says of the errors; math 8.

    Attributes:
        energy: Of each frame.
        forces: Of each component, but `auroc_worst_10_percent` is about frames: their largest force
            error against the largest force sd of an atom.
        atoms: Of each atom by its 3x3 block: errors along its principal axes, z² is the Mahalanobis
            distance / 3, the 90 % region an ellipsoid; rms error and force sd are what is ranked.
        joint_low_rank: Of energy and all forces by the exact covariance. It has width for few directions
            only, those of the members: with M <= 10 it is overconfident outside of them, d² too large
            (math 4). None for the epistemic part alone, which has no width at all outside of them.
        joint_blocks: The same by energy and 3x3 blocks as if they were independent. The one to trust
            with few members; but where atoms err together, d² spreads more than chi² even if all is
            right, and the likelihood misses the link.
    """

    energy: EnergyCalibration
    forces: ForceCalibration
    atoms: ForceCalibration
    joint_low_rank: Joint | None
    joint_blocks: Joint


@dataclass(frozen=True)
class Parts:
    """The parts of the uncertainty, each taken for the whole: only the total should meet the targets."""

    aleatoric: PartScores
    epistemic: PartScores
    total: PartScores


@dataclass(frozen=True)
class EnergyScores(EnergyCalibration):
    """Errors of the energy and the calibration of its total uncertainty."""

    rmse_ev_per_atom: float
    mae_ev_per_atom: float
    rmse_ev: float


@dataclass(frozen=True)
class ForceScores(ForceCalibration):
    """Errors of the force components and the calibration of their total uncertainty.

    `nll` is that of the 3x3 block of each atom, which no rotation changes, divided by 3.
    """

    rmse_ev_per_ang: float
    mae_ev_per_ang: float


@dataclass(frozen=True)
class StressScores(Calibration):
    """Errors of the Mandel components of the stress (`prediction.mandel`) and their total uncertainty."""

    rmse_ev_per_ang3: float
    mae_ev_per_ang3: float


@dataclass(frozen=True)
class Scores:
    """Everything measured on a set of labeled frames; `n_atoms` of all frames together.

    `stress` is None where no frame has one in its label and three periodic directions.
    """

    n_frames: int
    n_atoms: int
    energy: EnergyScores
    forces: ForceScores
    coherence: Coherence
    parts: Parts
    stress: StressScores | None


@dataclass(frozen=True)
class SizeBin(Scores):
    """The same for the frames of a range of sizes, both ends included."""

    smallest_n_atoms: int
    largest_n_atoms: int


@dataclass(frozen=True)
class Curves:
    """What a reliability plot shows of the total uncertainty."""

    energy_ev: Reliability
    forces_ev_per_ang: Reliability


@dataclass(frozen=True)
class Evaluation(Scores):
    """Everything measured on a set of labeled frames, also by size where sizes differ."""

    by_size: tuple[SizeBin, ...]
    reliability: Curves

    def to_json(self) -> dict[str, Json]:
        """Return the structure of `evaluate --json`; a number that is not finite becomes None."""
        return {name: plain(value) for name, value in asdict(self).items()}

    def metrics(self, split: str) -> list[Metric]:
        """Return each finite number of all frames as a record of the split ("parts.total.atoms", "nll")."""
        return _metrics(split, (), self.to_json())


def evaluate(
    prediction: Prediction, energies: ArrayLike, forces: ArrayLike, stresses: ArrayLike | None = None
) -> Evaluation:
    """Compare a prediction with labels.

    Args:
        prediction: Of an ensemble that was not trained on these labels.
        energies: Shape (n_frames,), eV; NaN where a frame has no energy.
        forces: Shape (n_atoms, 3), eV/Å; NaN where a frame has no forces.
        stresses: Shape (n_frames, 3, 3), eV/Å³, positive in tension; NaN where a frame has no stress.

    Raises:
        ValueError: Labels of another shape than the prediction.
    """
    residuals = Residuals.of(prediction, energies, forces, stresses)
    with np.errstate(all="ignore"):  # a variance of zero or a network that diverged gives null
        bins = tuple(
            SizeBin(
                **vars(_scores(residuals.of_sizes(low, high))), smallest_n_atoms=low, largest_n_atoms=high
            )
            for low, high in _size_ranges(prediction.n_atoms)
        )
        curves = Curves(
            residuals.energy_errors(prediction.total).reliability(),
            residuals.component_errors(prediction.total).reliability(),
        )
        return Evaluation(**vars(_scores(residuals)), by_size=bins, reliability=curves)


def max_force_errors(prediction: Prediction, forces: ArrayLike) -> Array:
    """Return the largest absolute error of a force component of each frame, shape (n_frames,), eV/Å."""
    return Residuals.of(prediction, np.zeros(prediction.n_frames), forces).max_force_errors()


def frame_coverage(
    prediction: Prediction, energies: ArrayLike, forces: ArrayLike, level: float = 0.9
) -> tuple[Array, Array]:
    """Return how much of each frame lies within its nominal central intervals.

    Returns:
        1 or 0 for the energy, and the share of force components, each of shape (n_frames,).
    """
    residuals = Residuals.of(prediction, energies, forces)
    z = norm.ppf((1 + level) / 2)
    energy = np.abs(residuals.energy) <= z * prediction.total.energy_sd
    inside = np.abs(residuals.forces) <= z * prediction.total.component_sd
    share = prediction.sum_over_atoms(inside.mean(axis=1)) / prediction.n_atoms
    return energy.astype(np.float64), share


def _scores(residuals: Residuals) -> Scores:
    """Measure everything."""
    prediction = residuals.prediction
    parts = Parts(
        _part(residuals, prediction.aleatoric, LowRankCovariance(prediction, members=False)),
        _part(residuals, prediction.epistemic, None),
        _part(residuals, prediction.total, LowRankCovariance(prediction)),
    )
    energy, force = residuals.energy[residuals.has_energy], residuals.forces[residuals.has_forces].ravel()
    per_atom = energy / prediction.n_atoms[residuals.has_energy]
    return Scores(
        n_frames=prediction.n_frames,
        n_atoms=len(residuals.forces),
        energy=EnergyScores(
            **vars(parts.total.energy),
            rmse_ev_per_atom=_rms(per_atom),
            mae_ev_per_atom=mean(np.abs(per_atom)),
            rmse_ev=_rms(energy),
        ),
        forces=ForceScores(
            **vars(replace(parts.total.forces, nll=parts.total.atoms.nll)),
            rmse_ev_per_ang=_rms(force),
            mae_ev_per_ang=mean(np.abs(force)),
        ),
        coherence=coherence(prediction, residuals.energy, residuals.forces),
        parts=parts,
        stress=_stress(residuals.stress_errors()),
    )


def _stress(errors: NormalErrors | None) -> StressScores | None:
    """Measure the stress, if any is known."""
    if errors is None:
        return None
    size = np.abs(errors.error)
    return StressScores(**vars(errors.calibration()), rmse_ev_per_ang3=_rms(size), mae_ev_per_ang3=mean(size))


def _part(residuals: Residuals, part: UncertaintyPart, low_rank: LowRankCovariance | None) -> PartScores:
    """Take one part of the uncertainty for the whole, and compare it with the errors."""
    prediction = residuals.prediction
    energy, components = residuals.energy_errors(part), residuals.component_errors(part)
    every_atom = NormalErrors.of_vectors(residuals.forces, part.force_covariance)
    atoms = every_atom.of(residuals.has_forces)
    whole = residuals.has_all_forces()
    of_components = replace(
        components.calibration(),
        auroc_worst_10_percent=auroc_worst_10_percent(
            residuals.max_force_errors()[whole], prediction.max_over_atoms(part.force_sd)[whole]
        ),
    )
    both = whole & residuals.has_energy
    n_atoms = prediction.n_atoms[both]
    distance = residuals.energy**2 / part.energy_variance + prediction.sum_over_atoms(every_atom.z2)
    log_det = np.log(part.energy_variance) + prediction.sum_over_atoms(every_atom.log_det)
    joint = None
    if low_rank is not None:
        exact = low_rank.distance(residuals.energy, residuals.forces)
        joint = Joint.of_distances(exact[both], low_rank.log_det[both], n_atoms)
    return PartScores(
        energy=EnergyCalibration(**vars(energy.calibration()), crps_ev=energy.crps()),
        forces=ForceCalibration(**vars(of_components), crps_ev_per_ang=components.crps()),
        atoms=ForceCalibration(**vars(atoms.calibration()), crps_ev_per_ang=atoms.crps()),
        joint_low_rank=joint,
        joint_blocks=Joint.of_distances(distance[both], log_det[both], n_atoms),
    )


def _size_ranges(n_atoms: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut the sizes of frames into a few ranges with about as many frames each; none if all are equal."""
    sizes = np.unique(n_atoms)
    if len(sizes) > MAX_SIZE_BINS:
        shares = np.arange(MAX_SIZE_BINS) / MAX_SIZE_BINS
        sizes = np.unique(np.quantile(n_atoms, shares, method="higher"))
    elif len(sizes) == 1:
        return []
    ends = [*(int(n_atoms[n_atoms < size].max()) for size in sizes[1:]), int(n_atoms.max())]
    return list(zip(sizes.tolist(), ends, strict=True))


def _rms(values: Array) -> float:
    return math.sqrt(mean(values**2))


def plain(value: object) -> Json:
    """Turn what `asdict` gives into what JSON has; a number that is not finite becomes None."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str) else None


def _metrics(split: str, path: tuple[str, ...], values: dict[str, Json]) -> list[Metric]:
    """List the numbers of nested objects; lists and counts are left out."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _metrics(split, (*path, name), value)
        elif isinstance(value, float):
            found.append(Metric(split, ".".join(path), name, value))
    return found
