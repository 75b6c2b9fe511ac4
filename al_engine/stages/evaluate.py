"""Ensembles without a campaign: trained on a labeled file, judged on a labeled file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from al_engine.config import CampaignConfig
from al_engine.errors import InputError
from al_engine.evaluation import Evaluation
from al_engine.frames import elements_of
from al_engine.model.ensemble import Ensemble
from al_engine.progress import Progress, silent
from al_engine.records import LabeledFrame, Origin
from al_engine.seeds import Stage, generator
from al_engine.stages.close import evaluation
from al_engine.stages.compute import resolve_compute
from al_engine.stages.files import labeled_frames
from al_engine.stages.train import TrainingOutcome, atomic_energies, fit


def evaluate_file(weights: bytes, file: Path, device: str = "auto") -> Evaluation:
    """Judge an ensemble on a labeled file.

    Raises:
        InputError: No model, no labeled frame, or an element that the ensemble has never seen.
    """
    ensemble = Ensemble.from_bytes(weights, device=device)
    pairs = [(f, label) for f, label in labeled_frames(file, "evaluation") if f.n_atoms > 1 or f.is_periodic]
    if not pairs:
        raise InputError(f"{file}: no labeled frame but isolated atoms")
    return evaluation(ensemble, pairs)


def fit_file(config: CampaignConfig, file: Path, progress: Progress = silent) -> TrainingOutcome:
    """Train an ensemble on a labeled file; a held-out part (max(10, 5 %)) calibrates it.

    Single-atom frames of the file give the energies of isolated atoms.

    Raises:
        InputError: Too few labeled frames.
    """
    items = [
        LabeledFrame(frame, label, 0, Origin.IMPORTED, frame.frame_id)
        for frame, label in labeled_frames(file, "file")
    ]
    items.sort(key=lambda i: i.frame.frame_id)
    bonded = [i for i in items if i.frame.n_atoms > 1 or i.frame.is_periodic]
    if len(bonded) < 30:
        raise InputError(
            f"{file}: {len(bonded)} labeled frames are too few; 30 are needed to fit and hold out"
        )
    n_held_out = max(10, math.ceil(0.05 * len(bonded)))
    order = generator(config.seed, 0, Stage.SELECT).permutation(len(bonded))
    held_out = {bonded[k].frame.frame_id for k in order[:n_held_out]}
    unseen = [i for i in bonded if i.frame.frame_id in held_out]
    seen = [i for i in items if i.frame.frame_id not in held_out]
    energies = atomic_energies(seen, elements_of([i.frame for i in items]))
    if not all(np.isfinite(i.label.energy) and np.isfinite(i.label.forces).all() for i in bonded):
        raise InputError(f"{file}: every frame to train on needs an energy and forces")
    resolved = resolve_compute(config, max(i.frame.n_atoms for i in items))
    return fit(resolved, 0, seen, unseen, folds={}, energies=energies, progress=progress)
