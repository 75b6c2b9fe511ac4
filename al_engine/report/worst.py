"""The frames that an ensemble got most wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from al_engine.report.judged import Judged
from al_engine.report.picture import Picture, picture

N_WORST = 6
"""Structures shown."""


@dataclass(frozen=True)
class WorstFrame:
    """A frame that the ensemble got most wrong."""

    title: str
    words: str
    alt: str
    picture: Picture


def largest_sd(judged: Judged) -> float:
    """Return the largest force sd of an atom in these frames, eV/Å."""
    return float(judged.max_force_sds[judged.worst(N_WORST)].max())


def worst_frames(judged: Judged) -> list[WorstFrame]:
    """Draw the frames with the largest force errors."""
    prediction, found = judged.residuals.prediction, []
    errors = np.abs(judged.residuals.forces).max(axis=1)
    for k in judged.worst(N_WORST):
        item, atoms = judged.items[k], prediction.frame_index == k
        sd, error = prediction.total.force_sd[atoms], errors[atoms]
        drawn = picture(item.frame, sd, error, largest_sd(judged))
        worst = f"{item.frame.to_ase().symbols[int(error.argmax())]} {int(error.argmax()) + 1}"
        words = (
            f"{item.origin.value.capitalize()}: force error {error.max():.3g} eV/Å on {worst}; "
            f"force sd {sd.min():.3g} to {sd.max():.3g} eV/Å; energy error "
            f"{1000 * judged.residuals.energy[k] / item.frame.n_atoms:.3g} meV/atom"
        )
        found.append(
            WorstFrame(
                f"{item.frame.formula}, {item.frame.frame_id[:12]}",
                words + (f"; the {len(drawn.atoms)} atoms around it are drawn" if drawn.is_part else ""),
                f"{item.frame.formula} in 3D, each atom in the color of its force sd. {words}.",
                drawn,
            )
        )
    return found
