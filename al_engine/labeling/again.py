"""Labels computed again: whether a database still says what the reference method says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_engine.labeling.labeler import Labeler
from al_engine.records import Label, LabeledFrame

ENERGY_EV = 1e-4
FORCE_EV_PER_ANG = 1e-3
"""What may differ between machines: far above what an SCF leaves open, far below what a model resolves."""


def differences(labeler: Labeler, items: Sequence[LabeledFrame]) -> list[str]:
    """Compute labels again and return what differs, one line each; an empty list is the proof."""
    stored, problems = {item.frame.frame_id: item.label for item in items}, []
    for result in labeler.label_all([item.frame for item in items]):
        old = stored[result.frame_id]
        if not isinstance(result, Label):
            problems.append(f"label of {result.frame_id}: computed again it fails, {result.reason.value}")
            continue
        energy = abs(result.energy - old.energy)
        force = float(np.abs(result.forces - old.forces).max())
        if not (energy <= ENERGY_EV and force <= FORCE_EV_PER_ANG):
            problems.append(
                f"label of {result.frame_id}: computed again it differs by {energy:.3g} eV and "
                f"{force:.3g} eV/Å in a force component"
            )
    return sorted(problems)
