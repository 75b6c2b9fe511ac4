"""What a prediction got wrong on labeled frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from al_engine.prediction import Array, Prediction, UncertaintyPart
from al_engine.scores import NormalErrors


@dataclass(frozen=True)
class Residuals:
    """A prediction and its errors, label minus predicted; NaN where a label is missing.

    Attributes:
        prediction: What was compared.
        energy: Shape (n_frames,), eV.
        forces: Shape (n_atoms, 3), eV/Å.
        has_energy: Frames with an energy, shape (n_frames,).
        has_forces: Atoms with forces, shape (n_atoms,).
    """

    prediction: Prediction
    energy: Array
    forces: Array
    has_energy: NDArray[np.bool_]
    has_forces: NDArray[np.bool_]

    @classmethod
    def of(cls, prediction: Prediction, energies: ArrayLike, forces: ArrayLike) -> Residuals:
        """Compare a prediction with labels of the shapes of its energies and forces.

        Raises:
            ValueError: Labels of another shape.
        """
        energy, force = np.asarray(energies, dtype=np.float64), np.asarray(forces, dtype=np.float64)
        if energy.shape != prediction.energy.shape or force.shape != prediction.forces.shape:
            raise ValueError(
                f"labels must have shapes {prediction.energy.shape} and {prediction.forces.shape}, "
                f"got {energy.shape} and {force.shape}"
            )
        has_forces = np.isfinite(force.sum(axis=1))
        r_energy, r_forces = energy - prediction.energy, force - prediction.forces
        return cls(prediction, r_energy, r_forces, np.isfinite(energy), has_forces)

    def of_sizes(self, low: int, high: int) -> Residuals:
        """Keep the frames of this range of sizes."""
        frames = (self.prediction.n_atoms >= low) & (self.prediction.n_atoms <= high)
        atoms = frames[self.prediction.frame_index]
        return Residuals(
            self.prediction.of_frames(frames),
            self.energy[frames],
            self.forces[atoms],
            self.has_energy[frames],
            self.has_forces[atoms],
        )

    def has_all_forces(self) -> NDArray[np.bool_]:
        """Frames that have forces on every atom, shape (n_frames,)."""
        missing = self.prediction.sum_over_atoms((~self.has_forces).astype(np.float64))
        whole: NDArray[np.bool_] = missing == 0
        return whole

    def max_force_errors(self) -> Array:
        """Largest absolute error of a component of each frame, shape (n_frames,), eV/Å."""
        return self.prediction.max_over_atoms(np.abs(self.forces).max(axis=1))

    def energy_errors(self, part: UncertaintyPart) -> NormalErrors:
        """Take the known energies."""
        return NormalErrors.of_numbers(self.energy[self.has_energy], part.energy_sd[self.has_energy])

    def component_errors(self, part: UncertaintyPart) -> NormalErrors:
        """Take the known force components."""
        return NormalErrors.of_numbers(self.forces[self.has_forces], part.component_sd[self.has_forces])
