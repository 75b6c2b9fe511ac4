"""Up to which predicted force sd a walker may go, by the errors on labels that no member has seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_engine.calibration import force_sd_threshold
from al_engine.config import Exits
from al_engine.evaluation import max_force_errors
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.records import LabeledFrame, Origin, TrainedModel
from al_engine.stages.samplers import system_of


def newest_audit(model: TrainedModel, labeled: Sequence[LabeledFrame], generation: int) -> list[LabeledFrame]:
    """Return the labels of the audit before a generation, which its model was not trained on."""
    seen = {entry.frame_id for entry in model.training_set}
    audit = (i for i in labeled if i.origin is Origin.AUDIT and i.generation == generation - 1)
    return [i for i in audit if i.frame.frame_id not in seen]


def sd_ceilings(
    exits: Exits, ensemble: Ensemble, audit: Sequence[LabeledFrame], starts: Sequence[Frame]
) -> list[float]:
    """Ceiling of the largest atomic force sd of each system, eV/Å.

    Below it, nine in ten frames have no force component wrong by more than `exits.force_error_ev_per_ang`
    (`force_sd_threshold`, split conformal). A system with too few audited frames for that level takes the
    ceiling of all of them together; where these are too few as well, an sd is taken for an error.
    The promise is about frames exchangeable with the audit's: new walks go a little farther, and the three
    scales of the ensemble were fitted on the same labels.

    Args:
        exits: What the user wants; a ceiling given there is the answer.
        ensemble: Predicts.
        audit: Labels that no member was trained on.
        starts: The given structure of each system.
    """
    if exits.force_sd_ev_per_ang is not None or not audit:
        return [exits.max_force_sd] * len(starts)
    prediction = ensemble.predict([item.frame for item in audit])
    errors = max_force_errors(prediction, np.concatenate([item.label.forces for item in audit]))
    sds = prediction.max_over_atoms(prediction.total.force_sd)
    systems = [system_of(item.frame, any_cell=True) for item in audit]
    everyone = np.ones(len(audit), dtype=bool)
    ceilings = []
    for start in starts:
        own = np.array([system == system_of(start, any_cell=True) for system in systems])
        wish = exits.force_error_ev_per_ang
        found = (force_sd_threshold(errors[rows], sds[rows], wish) for rows in (own, everyone))
        ceilings.append(next((ceiling for ceiling in found if ceiling > 0), wish))
    return ceilings
