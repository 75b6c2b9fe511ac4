"""Stage *train*: an ensemble on the labels so far, calibrated on labels it has not seen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from al_engine.calibration import Scales, fit_scales
from al_engine.config import CampaignConfig, Training
from al_engine.errors import InputError
from al_engine.frames import Frame, elements_of
from al_engine.model.checkpoint import Provenance, from_bytes
from al_engine.model.ensemble import Ensemble
from al_engine.model.potential import Architecture, StackedPotential
from al_engine.model.repulsion import bond_lengths
from al_engine.progress import Progress, silent
from al_engine.records import LabeledFrame, Metric, Origin, TrainedModel
from al_engine.seeds import Stage, torch_seed
from al_engine.stages.compute import configure
from al_engine.stages.files import without_test_set
from al_engine.training.crossfit import assign_folds
from al_engine.training.dataset import Dataset, build_dataset
from al_engine.training.fold import FoldResiduals
from al_engine.training.state import Checkpoints
from al_engine.training.trainer import LOG_COLUMNS, train

WARM_STEPS, WARM_RATE = 0.5, 0.5
"""A training from the campaign's networks: share of the steps, and of the learning rate."""


@dataclass(frozen=True)
class TrainingOutcome:
    """The model of a generation and what the training said of it."""

    model: TrainedModel
    metrics: tuple[Metric, ...]


def train_stage(
    config: CampaignConfig,
    generation: int,
    labeled: Sequence[LabeledFrame],
    folds: Mapping[str, int],
    *,
    starts: Sequence[Frame] = (),
    previous: TrainedModel | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> TrainingOutcome:
    """Train and calibrate the ensemble of a generation.

    The newest audit is not trained on: no member has seen it, so the final scales are fitted on it
    (math 9). It enters the training set one generation later. Frames of the test set are left out.

    Args:
        config: The campaign.
        generation: Its number; seeds depend on it.
        labeled: All labels so far.
        folds: Folds given earlier; they never change.
        starts: Given structures, for elements that have no label yet.
        previous: The campaign's ensemble so far, for a warm start.
        progress: Told at each check.
        checkpoints: Where the state of the training is kept.

    Raises:
        InputError: Fewer labels than members.
    """
    labeled = without_test_set(config, labeled)
    unseen = [i for i in labeled if i.origin is Origin.AUDIT and i.generation == generation - 1]
    unseen_ids = {i.frame.frame_id for i in unseen}
    seen = [i for i in labeled if i.frame.frame_id not in unseen_ids]
    energies = atomic_energies(seen, elements_of([*(i.frame for i in labeled), *starts]))
    return fit(
        config, generation, seen, unseen, folds=folds, energies=energies, previous=previous,
        progress=progress, checkpoints=checkpoints,
    )  # fmt: skip


def fit(
    config: CampaignConfig,
    generation: int,
    seen: Sequence[LabeledFrame],
    unseen: Sequence[LabeledFrame],
    *,
    folds: Mapping[str, int],
    energies: Mapping[int, float],
    progress: Progress,
    previous: TrainedModel | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainingOutcome:
    """Train on `seen`, calibrate on `unseen`; as `train_stage`."""
    configure(config)
    bonded = [i for i in seen if i.frame.n_atoms > 1 or i.frame.is_periodic]
    if len(bonded) < config.model.n_members:
        raise InputError(
            f"{len(bonded)} labeled frames are too few to train {config.model.n_members} members; "
            "label more frames (initial.n_frames) or look at the failures (al-engine status)"
        )
    training_set = assign_folds(bonded, folds, config.model.n_members)
    seed = torch_seed(config.seed, generation, Stage.TRAIN)
    warm = _warm_networks(config, previous, sorted(energies))
    if warm is not None:
        energies = warm[1].atomic_energies  # the zero that the networks were trained with
    dataset = build_dataset(bonded, training_set, energies, config.model.r_max_ang)
    net = _moved(warm[0], dataset) if warm else fresh_networks(config, dataset, sorted(energies), seed)
    settings = _settings(config.training, is_warm=warm is not None)
    result = train(net, dataset, settings, seed, progress=progress, checkpoints=checkpoints)
    provisional = _provisional(result.fold)
    level = bonded[0].label.level_of_theory
    ensemble = Ensemble(net, Provenance(dict(energies), (1.0, 1.0, 1.0), level, data_hash(bonded)))
    scales = provisional
    if unseen:
        prediction = ensemble.predict([i.frame for i in unseen])
        forces = np.concatenate([i.label.forces for i in unseen])
        scales = fit_scales(prediction, [i.label.energy for i in unseen], forces, provisional)
    model = TrainedModel(
        weights=ensemble.with_scales(scales.s, scales.t, scales.e).to_bytes(),
        n_members=config.model.n_members,
        seed=seed,
        scales=(scales.s, scales.t, scales.e),
        scale_errors=scales.errors,
        calibration=scales.source,
        log=result.log,
        log_columns=LOG_COLUMNS,
        training_set=training_set,
    )
    fold = result.fold
    metrics = (
        Metric("fold", "energy", "rmse_ev_per_atom", _rms(fold.energy / fold.frame_n_atoms)),
        Metric("fold", "forces", "rmse_ev_per_ang", _rms(fold.coupled)),
    )
    return TrainingOutcome(model, metrics)


def atomic_energies(labeled: Sequence[LabeledFrame], elements: Sequence[int]) -> dict[int, float]:
    """Energy of each isolated atom, eV: from its label, else by least squares over the other frames."""
    known: dict[int, float] = {}
    for i in labeled:
        if i.frame.n_atoms == 1 and not i.frame.is_periodic and i.frame.charge == 0:
            z = int(i.frame.numbers[0])
            known[z] = min(i.label.energy, known.get(z, i.label.energy))  # the ground state
    missing = [z for z in elements if z not in known]
    if missing:
        frames = [i for i in labeled if i.frame.n_atoms > 1 or i.frame.is_periodic]
        counts = np.array([[np.sum(i.frame.numbers == z) for z in missing] for i in frames])
        rest = [i.label.energy - sum(known.get(int(z), 0.0) for z in i.frame.numbers) for i in frames]
        solution = np.linalg.lstsq(counts.astype(np.float64), np.array(rest), rcond=None)[0]
        known |= dict(zip(missing, solution.tolist(), strict=True))
    return {z: known[z] for z in sorted(elements)}


def data_hash(labeled: Sequence[LabeledFrame]) -> str:
    """SHA-256 (hex) of frame ids, energies and forces, in the order of the ids."""
    digest = hashlib.sha256()
    for item in sorted(labeled, key=lambda i: i.frame.frame_id):
        digest.update(bytes.fromhex(item.frame.frame_id))
        digest.update(np.float64(item.label.energy).astype("<f8").tobytes())
        digest.update(item.label.forces.astype("<f8").tobytes())
    return digest.hexdigest()


def fresh_networks(
    config: CampaignConfig, dataset: Dataset, elements: Sequence[int], seed: int
) -> StackedPotential:
    """Draw new networks from their own stream."""
    neighbors = np.concatenate([(~g.table.is_pad).sum(axis=1) for g in dataset.graphs])
    force_scale = max(1e-3, _rms(np.concatenate(dataset.forces)))
    shortest = dataset.shortest_distances(bond_lengths(elements))
    arch = _architecture(config, elements, max(1.0, float(neighbors.mean())), force_scale, shortest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = StackedPotential(arch)
    return net.to(torch.device(config.device), torch.float32)


def _warm_networks(
    config: CampaignConfig, previous: TrainedModel | None, elements: Sequence[int]
) -> tuple[StackedPotential, Provenance] | None:
    """Return the campaign's networks; None where none are wanted, there, or of this form.

    The fold of a frame never changes, so in no generation has member m learned from fold m: its residuals
    there stay out of fold. The scales of the architecture stay those of the first training set.
    """
    if config.training.start != "warm" or previous is None:
        return None
    net, provenance = from_bytes(previous.weights, device=torch.device(config.device), dtype=torch.float32)
    old = net.arch
    arch = _architecture(config, elements, old.mean_neighbors, old.force_scale, old.shortest)
    return (net, provenance) if old == arch else None


def _moved(net: StackedPotential, dataset: Dataset) -> StackedPotential:
    """Return the same weights where nuclei repel below the shortest distances of this training set too."""
    again = StackedPotential(replace(net.arch, shortest=dataset.shortest_distances(net.arch.shortest)))
    again.load_state_dict(net.state_dict())
    return again.to(net.basis.frequency.device, torch.float32)


def _settings(training: Training, *, is_warm: bool) -> Training:
    """Return the settings of a warm start or of a fresh one."""
    if not is_warm:
        return training.model_copy(update={"start": "fresh"})
    n_steps, rate = math.ceil(WARM_STEPS * training.n_steps), WARM_RATE * training.learning_rate
    return training.model_copy(update={"n_steps": n_steps, "learning_rate": rate})


def _architecture(
    config: CampaignConfig,
    elements: Sequence[int],
    mean_neighbors: float,
    force_scale: float,
    shortest: tuple[float, ...],
) -> Architecture:
    return Architecture(
        n_members=config.model.n_members,
        elements=tuple(elements),
        n_channels=config.model.n_channels,
        n_layers=config.model.n_layers,
        n_radial=config.model.n_radial,
        r_max=config.model.r_max_ang,
        mean_neighbors=mean_neighbors,
        force_scale=force_scale,
        noise="white" if config.training.objective == "white" else config.training.length_scale,
        shortest=shortest,
    )


def _provisional(fold: FoldResiduals) -> Scales:
    """S and t from out-of-fold residuals, with standard errors of their logarithms (math 9)."""
    energy = fold.energy**2 / fold.energy_variance
    force = (fold.coupled**2).sum(axis=1) / (3 * fold.force_noise)
    frame = np.repeat(np.arange(len(energy)), fold.frame_n_atoms)
    by_frame = np.bincount(frame, force) / fold.frame_n_atoms
    s, t = float(energy.mean()), float(force.mean())
    errors = (_relative_error(energy), _relative_error(by_frame), 0.0)
    return Scales(s, t, 1.0, errors, "uncalibrated")


def _relative_error(values: np.ndarray) -> float:
    """Standard error of the mean over the mean."""
    return float(values.std(ddof=1) / (values.mean() * np.sqrt(len(values))))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
