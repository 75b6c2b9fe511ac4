"""The newest ensemble on the labels of its own generation, which it had not been trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from al_engine.evaluation import Evaluation, evaluate
from al_engine.model.ensemble import Ensemble
from al_engine.prediction import Array, Prediction
from al_engine.records import LabeledFrame, Origin
from al_engine.report.record import CampaignRecord, newest_audit
from al_engine.residuals import Residuals


@dataclass(frozen=True)
class Judged:
    """Labeled frames beside what was predicted of them.

    Attributes:
        generation: Whose ensemble and whose labels.
        items: The audited and selected frames.
        residuals: Their prediction and its errors, in the same order.
    """

    generation: int
    items: Sequence[LabeledFrame]
    residuals: Residuals

    @property
    def is_audit(self) -> NDArray[np.bool_]:
        """Frames drawn uniformly, shape (n_frames,)."""
        return np.array([item.origin is Origin.AUDIT for item in self.items])

    @property
    def max_force_errors(self) -> Array:
        """Largest error of a force component of each frame, shape (n_frames,), eV/Å."""
        return self.residuals.max_force_errors()

    @property
    def max_force_sds(self) -> Array:
        """Largest predicted force sd of an atom of each frame, shape (n_frames,), eV/Å."""
        prediction = self.residuals.prediction
        return prediction.max_over_atoms(prediction.total.force_sd)

    @cached_property
    def audit(self) -> tuple[Prediction, Array]:
        """Prediction and reference forces, shape (n_atoms, 3), eV/Å, of the audit frames."""
        prediction = self.residuals.prediction.of_frames(self.is_audit)
        forces = [item.label.forces for item in self.items if item.origin is Origin.AUDIT]
        return prediction, np.concatenate(forces)

    @cached_property
    def scores(self) -> Evaluation:
        """Errors and calibration on the audit frames."""
        prediction, forces = self.audit
        energies = [item.label.energy for item in self.items if item.origin is Origin.AUDIT]
        return evaluate(prediction, energies, forces)

    def worst(self, n: int) -> list[int]:
        """Return the frames with the largest force errors, the worst first."""
        return [int(k) for k in np.argsort(-self.max_force_errors, kind="stable")[:n]]


def judge(record: CampaignRecord) -> Judged | None:
    """Predict the labels of the newest audited generation by its ensemble; None without one."""
    number = newest_audit(record.labeled)
    if number is None or record.model is None:
        return None
    new = (Origin.AUDIT, Origin.SELECTED)
    items = [item for item in record.labeled if item.generation == number and item.origin in new]
    prediction = Ensemble.from_bytes(record.model.weights).predict([i.frame for i in items])
    forces = np.concatenate([item.label.forces for item in items])
    return Judged(number, items, Residuals.of(prediction, [item.label.energy for item in items], forces))
