"""Whether the newest model got worse on earlier audits (math 10)."""

from __future__ import annotations

from collections.abc import Sequence

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
    blocks: dict[int, list[LabeledFrame]] = {}
    for item in labeled:
        if item.origin is Origin.AUDIT:
            blocks.setdefault(item.generation, []).append(item)
    folds = {e.frame_id: e.fold for model in (before, now) for e in model.training_set}
    confidence = 1 - 0.05 / max(1, len(blocks))
    old, new = (Ensemble.from_bytes(model.weights, device=device) for model in (before, now))
    return [
        (
            f"audit of generation {generation}",
            got_worse(_errors(old, items, folds), _errors(new, items, folds), confidence),
        )
        for generation, items in sorted(blocks.items())
    ]


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
