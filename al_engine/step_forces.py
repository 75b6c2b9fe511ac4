"""What one step of dynamics needs to know of a batch of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class StepForces(NamedTuple):
    """Energies, forces and total standard deviations; float64, detached.

    Attributes:
        energy: Mean over members, shape (n_frames,), eV.
        forces: Mean over members, shape (n_atoms, 3), eV/Å.
        energy_sd: Shape (n_frames,), eV.
        force_sd: Per-atom sqrt(trace / 3) of the force covariance without the rank-one term g gᵀ,
            which would cost a second backward pass, shape (n_atoms,), eV/Å.
        bias: d / dx of the members' disagreement on the energy, sqrt(e var_m E_m), from their energies and
            forces alone (math 5), shape (n_atoms, 3), eV/Å; None where the potential has no members.
        virial: dE / d log(scale) where cell and positions of a frame are scaled, shape (n_frames,), eV;
            None where no scale was asked for.
    """

    energy: Tensor
    forces: Tensor
    energy_sd: Tensor
    force_sd: Tensor
    bias: Tensor | None = None
    virial: Tensor | None = None
