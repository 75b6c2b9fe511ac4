"""Dynamics at constant pressure: isotropic stochastic cell rescaling."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from al_engine.exploration.forces import BoundForces
from al_engine.exploration.langevin import Baoab
from al_engine.exploration.layout import Layout
from al_engine.exploration.state import State
from al_engine.samplers import Npt
from al_engine.units import FORCE_TO_ACCELERATION, GPA, KB

COMPRESSIBILITY: Final = 0.02 / GPA
"""Å³/eV, between a metal's and a liquid's; only how fast the volume follows depends on it."""


class CellRescaling:
    """BAOAB in a cell whose volume V follows the pressure.

    With lambda = sqrt(V) and P = (2 E_kin - dE/d log s) / 3V,

        d lambda = -(beta lambda / 2 tau) (P0 - P - kB T / 2V) dt + sqrt(kB T beta / 2 tau) dW

    (Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020)). Positions and cell are multiplied by s and
    velocities divided by it, once a step before the forces are evaluated; the virial is that of the step
    before. The isothermal-isobaric ensemble is exact as the time step goes to 0, whatever beta and tau are.
    """

    def __init__(self, layout: Layout, settings: Npt) -> None:
        self._baoab = Baoab(layout, settings.timestep_fs, settings.friction_per_fs)
        self._layout = layout
        counts, places = layout.counts, np.arange(len(layout.frames))
        self._atom_rows = torch.as_tensor(
            np.arange(counts.sum()) + np.repeat(places, counts), device=layout.device
        )
        self._cell_rows = torch.as_tensor(np.cumsum(counts) + places, device=layout.device)
        self._volume = layout.floats([abs(np.linalg.det(frame.cell)) for frame in layout.frames])
        self._twice_kinetic = (1 / (FORCE_TO_ACCELERATION * layout.inverse_mass[:, 0])).nan_to_num(posinf=0.0)
        self._pressure = settings.pressure_gpa * GPA
        self._rate = COMPRESSIBILITY * settings.timestep_fs / (2 * settings.barostat_fs)
        self._thermal = KB * layout.temperature

    def __call__(self, state: State, noise: Tensor, forces_at: BoundForces) -> State:
        """Advance by one time step; three normal numbers for each cell follow those of its atoms."""
        if state.scale is None or state.step_forces.virial is None:
            raise ValueError("dynamics at constant pressure needs a cell and its virial")
        positions, velocities = self._baoab.move(state, noise[self._atom_rows])
        volume = self._volume * state.scale**3
        twice_kinetic = self._layout.sum(velocities.square().sum(1) * self._twice_kinetic)
        pressure = (twice_kinetic - state.step_forces.virial) / (3 * volume)
        drift = -self._rate * (self._pressure - pressure - self._thermal / (2 * volume))
        kick = (self._rate * self._thermal / volume).sqrt() * noise[self._cell_rows, 0]
        factor = (1 + drift + kick) ** (2 / 3)
        scale = state.scale * factor
        by_atom = factor.index_select(0, self._layout.frame_index)[:, None]
        positions, velocities = positions * by_atom, velocities / by_atom
        found = forces_at(positions, scale)
        velocities = self._baoab.kick(velocities, found)
        return state._replace(positions=positions, velocities=velocities, scale=scale, step_forces=found)
