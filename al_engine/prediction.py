"""What an ensemble says of a batch of frames: means, members, and covariances in factor form (math 4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mandel(tensors: Array) -> Array:
    """Return xx, yy, zz, sqrt(2) yz, sqrt(2) xz, sqrt(2) xy of symmetric tensors, (..., 3, 3) to (..., 6).

    The sum of their squares is that of all nine components, whatever the axes.
    """
    shear = np.sqrt(2) * np.stack([tensors[..., 1, 2], tensors[..., 0, 2], tensors[..., 0, 1]], axis=-1)
    return np.concatenate([np.diagonal(tensors, axis1=-2, axis2=-1), shear], axis=-1)


@dataclass(frozen=True)
class UncertaintyPart:
    """One part (aleatoric, epistemic or total) of the joint covariance of energy and forces.

    Attributes:
        energy_variance: Shape (n_frames,), eV².
        energy_force_covariance: Cov[E, F] = -1/2 d energy_variance / dx, shape (n_atoms, 3), eV²/Å.
        force_covariance: The 3x3 block of each atom, shape (n_atoms, 3, 3), (eV/Å)².
    """

    energy_variance: Array
    energy_force_covariance: Array
    force_covariance: Array

    @property
    def energy_sd(self) -> Array:
        """Standard deviation of the energy, shape (n_frames,), eV."""
        sd: Array = np.sqrt(self.energy_variance)
        return sd

    @property
    def force_sd(self) -> Array:
        """Per-atom sqrt(trace / 3) of the block, shape (n_atoms,), eV/Å; comparable to a component's RMSE."""
        sd: Array = np.sqrt(np.trace(self.force_covariance, axis1=1, axis2=2) / 3)
        return sd

    @property
    def component_sd(self) -> Array:
        """Standard deviation of each force component, shape (n_atoms, 3), eV/Å."""
        sd: Array = np.sqrt(np.diagonal(self.force_covariance, axis1=1, axis2=2))
        return sd

    def __add__(self, other: UncertaintyPart) -> UncertaintyPart:
        return UncertaintyPart(
            self.energy_variance + other.energy_variance,
            self.energy_force_covariance + other.energy_force_covariance,
            self.force_covariance + other.force_covariance,
        )


@dataclass(frozen=True)
class Prediction:
    """Energies, forces and their coherent uncertainty for the frames of a batch, in order.

    The scales (s, t, e) of the calibration are already applied to the noise terms; the members'
    energies and forces are as the networks give them, and `epistemic_scale` is e.

    Attributes:
        frame_index: Frame of each atom, shape (n_atoms,).
        member_energy: Shape (n_members, n_frames), eV.
        member_forces: Shape (n_members, n_atoms, 3), eV/Å.
        noise_variance: sigma_m² (scaled by s), shape (n_members, n_frames), eV².
        noise_gradient: d sigma_m² / dx (scaled by s), shape (n_members, n_atoms, 3), eV²/Å.
        force_noise: tau_m,a² (scaled by t), shape (n_members, n_atoms), (eV/Å)².
        epistemic_scale: e, the factor on the members' covariance.
        features: Mean over atoms of the last invariants, all members, shape (n_frames, n_features).
        member_stress: Shape (n_members, n_frames, 3, 3), eV/Å³, positive in tension; NaN where a
            direction is not periodic; None where no frame has a stress.
        stress_noise: Variance of a Mandel component from the noise (scaled by s), math 6, shape
            (n_members, n_frames), (eV/Å³)²; None as above.
    """

    frame_index: NDArray[np.int64]
    member_energy: Array
    member_forces: Array
    noise_variance: Array
    noise_gradient: Array
    force_noise: Array
    epistemic_scale: float
    features: Array
    member_stress: Array | None = None
    stress_noise: Array | None = None

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.member_energy.shape[1])

    @cached_property
    def n_atoms(self) -> NDArray[np.int64]:
        """Number of atoms of each frame, shape (n_frames,)."""
        return np.diff(self._first, append=len(self.frame_index))

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """First atom of each frame, shape (n_frames,)."""
        first = np.flatnonzero(np.diff(self.frame_index, prepend=-1))
        if not np.array_equal(self.frame_index[first], np.arange(self.n_frames)):
            raise ValueError("the atoms of a prediction must be sorted by frame, and no frame may be empty")
        return first

    def sum_over_atoms(self, values: Array) -> Array:
        """Sum of values, atoms first, over the atoms of each frame, shape (n_frames, ...)."""
        total: Array = np.add.reduceat(values, self._first, axis=0)
        return total

    def max_over_atoms(self, values: Array) -> Array:
        """Maximum of values, atoms first, over the atoms of each frame, shape (n_frames, ...); NaN stays."""
        largest: Array = np.maximum.reduceat(values, self._first, axis=0)
        return largest

    def of_frames(self, chosen: NDArray[np.bool_]) -> Prediction:
        """Return the prediction of the frames where `chosen`, shape (n_frames,), is true."""
        atoms = chosen[self.frame_index]
        return Prediction(
            frame_index=(np.cumsum(chosen) - 1)[self.frame_index[atoms]],
            member_energy=self.member_energy[:, chosen],
            member_forces=self.member_forces[:, atoms],
            noise_variance=self.noise_variance[:, chosen],
            noise_gradient=self.noise_gradient[:, atoms],
            force_noise=self.force_noise[:, atoms],
            epistemic_scale=self.epistemic_scale,
            features=self.features[chosen],
            member_stress=None if self.member_stress is None else self.member_stress[:, chosen],
            stress_noise=None if self.stress_noise is None else self.stress_noise[:, chosen],
        )

    @cached_property
    def energy(self) -> Array:
        """Mean over members, shape (n_frames,), eV."""
        mean: Array = self.member_energy.mean(axis=0)
        return mean

    @cached_property
    def forces(self) -> Array:
        """Mean over members, shape (n_atoms, 3), eV/Å."""
        mean: Array = self.member_forces.mean(axis=0)
        return mean

    @cached_property
    def stress(self) -> Array | None:
        """Mean over members, shape (n_frames, 3, 3), eV/Å³; None where no frame has a stress."""
        return None if self.member_stress is None else self.member_stress.mean(axis=0)

    @cached_property
    def stress_variance(self) -> Array | None:
        """Total variance of each Mandel component, shape (n_frames, 6), (eV/Å³)²; None as `stress`."""
        if self.member_stress is None or self.stress_noise is None:
            return None
        spread = mandel(self.member_stress - self.member_stress.mean(axis=0)) ** 2
        variance: Array = (self.stress_noise[..., None] + self.epistemic_scale * spread).mean(axis=0)
        return variance

    @cached_property
    def stress_sd(self) -> Array | None:
        """Total deviation of a Mandel component, rms over the six, shape (n_frames,), eV/Å³."""
        return None if self.stress_variance is None else np.sqrt(self.stress_variance.mean(axis=1))

    @cached_property
    def energy_deviation(self) -> Array:
        """sqrt(e) (mu_m - <mu>), shape (n_members, n_frames), eV."""
        deviation: Array = np.sqrt(self.epistemic_scale) * (self.member_energy - self.energy)
        return deviation

    @cached_property
    def force_deviation(self) -> Array:
        """sqrt(e) (F_m - <F>), shape (n_members, n_atoms, 3), eV/Å."""
        deviation: Array = np.sqrt(self.epistemic_scale) * (self.member_forces - self.forces)
        return deviation

    @cached_property
    def noise_scale_gradient(self) -> Array:
        """g_m = grad sigma_m = grad sigma_m² / (2 sigma_m), shape (n_members, n_atoms, 3), eV/Å."""
        sigma = np.sqrt(self.noise_variance)[:, self.frame_index, None]
        gradient: Array = self.noise_gradient / (2 * sigma)
        return gradient

    @cached_property
    def aleatoric(self) -> UncertaintyPart:
        """Noise of the labels as the members learned it: mean_m [g g^T + tau² I]."""
        g = self.noise_scale_gradient
        blocks = np.einsum("mai,maj->aij", g, g) / len(g)
        blocks += self.force_noise.mean(axis=0)[:, None, None] * np.eye(3)
        return UncertaintyPart(
            self.noise_variance.mean(axis=0), -0.5 * self.noise_gradient.mean(axis=0), blocks
        )

    @cached_property
    def epistemic(self) -> UncertaintyPart:
        """Disagreement of the members, with 1/M (the mixture's moments)."""
        energy, forces = self.energy_deviation, self.force_deviation
        return UncertaintyPart(
            (energy**2).mean(axis=0),
            np.einsum("ma,mai->ai", energy[:, self.frame_index], forces) / len(energy),
            np.einsum("mai,maj->aij", forces, forces) / len(forces),
        )

    @cached_property
    def total(self) -> UncertaintyPart:
        """Aleatoric plus epistemic."""
        return self.aleatoric + self.epistemic
