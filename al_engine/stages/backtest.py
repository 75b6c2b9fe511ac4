"""Whether the newest model got worse on earlier audits (math 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from al_engine.convergence import got_worse
from al_engine.evaluation import max_force_errors
from al_engine.model.ensemble import Ensemble
from al_engine.records import LabeledFrame, Origin, TrainedModel

_Errors = NDArray[np.float64]


def worse_blocks(
    now: TrainedModel, before: TrainedModel | None, labeled: Sequence[LabeledFrame], device: str
) -> list[tuple[str, bool]]:
    """Judge the audit of each earlier generation by the newest model and the campaign's before it.

    A frame that either model was trained on is judged by the member that left out its fold, in both
    models; a frame that neither has seen by the mean of the ensembles.

    All of them together are called worse by mistake in at most one of twenty generations.

    Returns:
        One (name, whether the newest model is worse) for each earlier generation with audit labels.
    """
    if before is None:
        return []
    blocks = _audits(labeled)
    folds = _folds(before, now)
    confidence = 1 - 0.05 / max(1, len(blocks))
    old, new = (Ensemble.from_bytes(model.weights, device=device) for model in (before, now))
    return [
        (
            f"audit of generation {generation}",
            got_worse(_errors(old, items, folds), _errors(new, items, folds), confidence),
        )
        for generation, items in blocks.items()
    ]


@dataclass(frozen=True)
class JudgedAudit:
    """An audit as a model sees it now.

    Attributes:
        generation: Whose audit.
        n_learned: How many of its frames the model was trained on.
        max_force_errors: Largest error of a force component of each frame, shape (n_frames,), eV/Å.
    """

    generation: int
    n_learned: int
    max_force_errors: _Errors


def judged_audits(model: TrainedModel, labeled: Sequence[LabeledFrame], device: str) -> list[JudgedAudit]:
    """Judge all audits by one model; a frame that it was trained on by the member that left out its fold."""
    ensemble, folds = Ensemble.from_bytes(model.weights, device=device), _folds(model)
    return [
        JudgedAudit(
            generation,
            sum(item.frame.frame_id in folds for item in items),
            _errors(ensemble, items, folds),
        )
        for generation, items in _audits(labeled).items()
    ]


def _audits(labeled: Sequence[LabeledFrame]) -> dict[int, list[LabeledFrame]]:
    """Return the labels of each audit by its generation, in order."""
    found: dict[int, list[LabeledFrame]] = {}
    for item in sorted(labeled, key=lambda item: item.generation):
        if item.origin is Origin.AUDIT:
            found.setdefault(item.generation, []).append(item)
    return found


def _folds(*models: TrainedModel) -> dict[str, int]:
    return {e.frame_id: e.fold for model in models for e in model.training_set}


def _errors(ensemble: Ensemble, items: Sequence[LabeledFrame], folds: dict[str, int]) -> _Errors:
    """Largest force error of each frame, eV/Å, by its fold's member where it has a fold."""
    errors = []
    for item in items:
        prediction = ensemble.predict([item.frame])
        fold = folds.get(item.frame.frame_id)
        if fold is None:
            errors.append(max_force_errors(prediction, item.label.forces)[0])
        else:
            errors.append(np.abs(prediction.member_forces[fold] - item.label.forces).max())
    return np.array(errors)
