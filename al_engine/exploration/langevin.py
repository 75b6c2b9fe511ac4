"""Langevin dynamics by the BAOAB splitting; without friction it is velocity Verlet at constant energy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from al_engine.exploration.forces import BoundForces
from al_engine.exploration.layout import Layout
from al_engine.exploration.state import State
from al_engine.step_forces import StepForces
from al_engine.units import FORCE_TO_ACCELERATION, KB


class Baoab:
    """One step: half kick, half drift, thermostat, half drift, half kick.

    v <- v + (dt/2) F/m;  x <- x + (dt/2) v;  v <- c v + sqrt((1 - c^2) kB T/m) N(0, 1), c = exp(-friction dt)
    (Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34). In a harmonic well <x^2> is exact at
    any stable time step, and <v^2> = (kB T/m) (1 - (omega dt)^2 / 4).
    """

    def __init__(self, layout: Layout, timestep_fs: float, friction_per_fs: float) -> None:
        dt, friction = timestep_fs, friction_per_fs
        acceleration = FORCE_TO_ACCELERATION * layout.inverse_mass
        temperature = layout.temperature.index_select(0, layout.frame_index)[:, None]
        self._half = 0.5 * dt
        self._kick = 0.5 * dt * acceleration
        self._keep = math.exp(-friction * dt)
        self._noise = torch.sqrt(-math.expm1(-2 * friction * dt) * KB * temperature * acceleration)

    def move(self, state: State, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and velocities before the last half kick; `noise` is normal, (n_atoms, 3)."""
        velocities = torch.addcmul(state.velocities, self._kick, state.step_forces.forces)
        positions = torch.add(state.positions, velocities, alpha=self._half)
        velocities = torch.addcmul(velocities * self._keep, self._noise, noise)
        return torch.add(positions, velocities, alpha=self._half), velocities

    def kick(self, velocities: Tensor, found: StepForces) -> Tensor:
        """Return the velocities after a half kick by these forces."""
        return torch.addcmul(velocities, self._kick, found.forces)

    def __call__(self, state: State, noise: Tensor, forces_at: BoundForces) -> State:
        """Advance by one time step."""
        positions, velocities = self.move(state, noise)
        found = forces_at(positions)
        return state._replace(positions=positions, velocities=self.kick(velocities, found), step_forces=found)
