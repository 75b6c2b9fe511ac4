"""What one step of dynamics needs to know of a batch of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class StepForces(NamedTuple):
    """Energies, forces and total standard deviations; float64, detached.

    The last is there where the potential gives it; only some samplers ask for it.

    Attributes:
        energy: Mean over members, shape (n_frames,), eV.
        forces: Mean over members, shape (n_atoms, 3), eV/Å.
        energy_sd: Shape (n_frames,), eV.
        force_sd: Per-atom sqrt(trace / 3) of the force covariance without the rank-one term g gᵀ,
            which would cost a second backward pass, shape (n_atoms,), eV/Å.
        energy_sd_gradient: Of the members' disagreement on the energy, sqrt(e var_m E_m): d / dx, shape
            (n_atoms, 3), eV/Å (math 5).
    """

    energy: Tensor
    forces: Tensor
    energy_sd: Tensor
    force_sd: Tensor
    energy_sd_gradient: Tensor | None = None
