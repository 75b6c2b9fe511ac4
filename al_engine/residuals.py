"""What a prediction got wrong on labeled frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from al_engine.prediction import Array, Prediction, UncertaintyPart, mandel
from al_engine.scores import NormalErrors


@dataclass(frozen=True)
class Residuals:
    """A prediction and its errors, label minus predicted; NaN where a label is missing.

    Attributes:
        prediction: What was compared.
        energy: Shape (n_frames,), eV.
        forces: Shape (n_atoms, 3), eV/Å.
        stress: Mandel components, shape (n_frames, 6), eV/Å³; NaN also where no stress is predicted.
        has_energy: Frames with an energy, shape (n_frames,).
        has_forces: Atoms with forces, shape (n_atoms,).
    """

    prediction: Prediction
    energy: Array
    forces: Array
    stress: Array
    has_energy: NDArray[np.bool_]
    has_forces: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        prediction: Prediction,
        energies: ArrayLike,
        forces: ArrayLike,
        stresses: ArrayLike | None = None,
    ) -> Residuals:
        """Compare a prediction with labels of the shapes of its energies, forces and stresses.

        Raises:
            ValueError: Labels of another shape.
        """
        energy, force = np.asarray(energies, dtype=np.float64), np.asarray(forces, dtype=np.float64)
        if energy.shape != prediction.energy.shape or force.shape != prediction.forces.shape:
            raise ValueError(
                f"labels must have shapes {prediction.energy.shape} and {prediction.forces.shape}, "
                f"got {energy.shape} and {force.shape}"
            )
        stress = np.full((prediction.n_frames, 3, 3), np.nan)
        if stresses is not None and prediction.stress is not None:
            stress = np.asarray(stresses, dtype=np.float64) - prediction.stress
        has_forces = np.isfinite(force.sum(axis=1))
        r_energy, r_forces = energy - prediction.energy, force - prediction.forces
        return cls(prediction, r_energy, r_forces, mandel(stress), np.isfinite(energy), has_forces)

    def of_sizes(self, low: int, high: int) -> Residuals:
        """Keep the frames of this range of sizes."""
        frames = (self.prediction.n_atoms >= low) & (self.prediction.n_atoms <= high)
        atoms = frames[self.prediction.frame_index]
        return Residuals(
            self.prediction.of_frames(frames),
            self.energy[frames],
            self.forces[atoms],
            self.stress[frames],
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

    def stress_errors(self) -> NormalErrors | None:
        """Take the Mandel components of the known stresses by their total variance; None without any."""
        known = np.isfinite(self.stress)
        if self.prediction.stress_variance is None or not known.any():
            return None
        return NormalErrors.of_numbers(self.stress[known], np.sqrt(self.prediction.stress_variance[known]))

    def component_errors(self, part: UncertaintyPart) -> NormalErrors:
        """Take the known force components."""
        return NormalErrors.of_numbers(self.forces[self.has_forces], part.component_sd[self.has_forces])
