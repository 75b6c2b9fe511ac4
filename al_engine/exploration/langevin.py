"""Langevin dynamics by the BAOAB splitting; each walker with a stream of noise of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from al_engine.config import Langevin
from al_engine.exploration.forces import BoundForces
from al_engine.exploration.layout import Layout, inverse_masses
from al_engine.frames import Frame
from al_engine.step_forces import StepForces
from al_engine.units import FORCE_TO_ACCELERATION, KB


class State(NamedTuple):
    """Where the walkers are: positions (Å), velocities (Å/fs), both (n_atoms, 3), and the forces there."""

    positions: Tensor
    velocities: Tensor
    step_forces: StepForces

    def only(self, walkers: Tensor, atoms: Tensor) -> State:
        """Return the state of some walkers, given by their indices and those of their atoms."""
        energy, forces, energy_sd, force_sd = self.step_forces
        return State(
            self.positions[atoms],
            self.velocities[atoms],
            StepForces(energy[walkers], forces[atoms], energy_sd[walkers], force_sd[atoms]),
        )


class Baoab:
    """One step: half kick, half drift, thermostat, half drift, half kick.

    v <- v + (dt/2) F/m;  x <- x + (dt/2) v;  v <- c v + sqrt((1 - c^2) kB T/m) N(0, 1), c = exp(-friction dt)
    (Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34). In a harmonic well <x^2> is exact at
    any stable time step, and <v^2> = (kB T/m) (1 - (omega dt)^2 / 4).
    """

    def __init__(self, layout: Layout, settings: Langevin) -> None:
        dt, friction = settings.timestep_fs, settings.friction_per_fs
        acceleration = FORCE_TO_ACCELERATION * layout.inverse_mass
        temperature = layout.temperature.index_select(0, layout.frame_index)[:, None]
        self._half = 0.5 * dt
        self._kick = 0.5 * dt * acceleration
        self._keep = math.exp(-friction * dt)
        self._noise = torch.sqrt(-math.expm1(-2 * friction * dt) * KB * temperature * acceleration)

    def __call__(self, state: State, noise: Tensor, forces_at: BoundForces) -> State:
        """Advance by one time step; `noise` is standard normal, shape (n_atoms, 3)."""
        velocities = torch.addcmul(state.velocities, self._kick, state.step_forces.forces)
        positions = torch.add(state.positions, velocities, alpha=self._half)
        velocities = torch.addcmul(velocities * self._keep, self._noise, noise)
        positions = torch.add(positions, velocities, alpha=self._half)
        found = forces_at(positions)
        return State(positions, torch.addcmul(velocities, self._kick, found.forces), found)


class Noise:
    """Standard normal numbers for each step, drawn for many steps at a time.

    A walker's numbers come from its own generator, so they depend neither on the other walkers nor on
    the number of steps drawn at a time.
    """

    def __init__(
        self,
        generators: Sequence[np.random.Generator],
        n_atoms: Sequence[int],
        device: torch.device,
        n_ahead: int = 64,
    ) -> None:
        self._generators, self._n_atoms = list(generators), list(n_atoms)
        self._device, self._n_ahead = device, n_ahead
        self._drawn, self._used = torch.empty(0), 0

    def next(self) -> Tensor:
        """Return the numbers of the next step, shape (n_atoms, 3)."""
        if self._used == len(self._drawn):
            drawn = [
                rng.standard_normal((self._n_ahead, n, 3))
                for rng, n in zip(self._generators, self._n_atoms, strict=True)
            ]
            self._drawn = torch.as_tensor(np.concatenate(drawn, axis=1), device=self._device)
            self._used = 0
        self._used += 1
        return self._drawn[self._used - 1]

    def keep(self, walkers: Sequence[int], atoms: Tensor) -> None:
        """Go on for some walkers only, given by their indices and those of their atoms."""
        self._generators = [self._generators[w] for w in walkers]
        self._n_atoms = [self._n_atoms[w] for w in walkers]
        self._drawn = self._drawn[:, atoms] if len(self._drawn) else self._drawn


def initial_velocities(frame: Frame, temperature: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw Maxwell-Boltzmann velocities, shape (n_atoms, 3), Å/fs.

    Fixed atoms stand still. Where no atom is fixed, the motion of the center of mass is removed (a lone
    atom keeps it).
    """
    inverse = inverse_masses(frame)[:, None]
    noise = rng.standard_normal((frame.n_atoms, 3))
    velocities: NDArray[np.float64] = np.sqrt(KB * temperature * FORCE_TO_ACCELERATION * inverse) * noise
    if frame.n_atoms > 1 and not frame.fixed_mask.any():
        mass = 1.0 / inverse
        velocities -= (mass * velocities).sum(axis=0) / mass.sum()
    return velocities
