"""Dynamics that is drawn to where the members of an ensemble disagree."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from al_engine.exploration.forces import BoundForces
from al_engine.exploration.langevin import Baoab
from al_engine.exploration.layout import Layout
from al_engine.exploration.state import State
from al_engine.samplers import UncertaintyBiased
from al_engine.step_forces import StepForces

MEMORY_FS: Final = 100.0
"""Of the running means by which the strength is adapted: longer than vibrations, shorter than a walk."""
CAP: Final = 3.0
"""The bias on an atom is at most so many times what it should be in root mean square."""
_TINY: Final = 1e-12


class Biased:
    """Langevin dynamics on U = E - kappa sd, sd = sqrt(e var_m E_m): a force +kappa grad sd (math 5).

    kappa is found on the way, for each walker, from running means (`State.memory`) of the squared forces,
    of the squared gradients of sd, and of the temperature, so that

    - the bias has the wanted share of the force: kappa = strength rms(F) / rms(grad sd);
    - it is bounded: no atom feels more than `CAP` strength rms(F);
    - the set temperature T stays: kappa is multiplied by 2 - <T_now> / T, from 0 to 1, so that a walker that
      the changes of kappa have heated is left to the thermostat.
    """

    def __init__(self, layout: Layout, settings: UncertaintyBiased) -> None:
        self._baoab = Baoab(layout, settings.timestep_fs, settings.friction_per_fs)
        self._layout, self._strength, self._kelvin = layout, settings.strength, layout.kelvin
        self._n_atoms = layout.floats(layout.counts)
        self._keep = math.exp(-settings.timestep_fs / MEMORY_FS)

    def __call__(self, state: State, noise: Tensor, forces_at: BoundForces) -> State:
        """Advance by one time step; the forces of the new state hold the bias."""
        positions, velocities = self._baoab.move(state, noise)
        found = forces_at(positions)
        biased = found._replace(forces=found.forces + self.bias(state.memory, found))
        velocities = self._baoab.kick(velocities, biased)
        now = [
            self._mean_square(found.forces),
            self._mean_square(_direction(found)),
            self._layout.sum(velocities.square().sum(1) * self._kelvin),
        ]
        memory = self._keep * state.memory + (1 - self._keep) * torch.stack(now, dim=1)
        return state._replace(positions=positions, velocities=velocities, memory=memory, step_forces=biased)

    def bias(self, memory: Tensor, found: StepForces) -> Tensor:
        """Return the extra force on each atom, shape (n_atoms, 3), eV/Å."""
        force, gradient = memory[:, :2].sqrt().unbind(1)
        calm = (2 - memory[:, 2] / self._layout.temperature).clamp(0, 1)
        kappa = self._strength * calm * force / gradient.clamp_min(_TINY)
        direction = _direction(found)
        largest = self._layout.largest(direction.square().sum(1)).sqrt()
        kappa = torch.minimum(kappa, CAP * self._strength * force / largest.clamp_min(_TINY))
        return kappa.index_select(0, self._layout.frame_index)[:, None] * direction

    def _mean_square(self, per_atom: Tensor) -> Tensor:
        return self._layout.sum(per_atom.square().sum(1)) / self._n_atoms


def _direction(found: StepForces) -> Tensor:
    """Return the gradient of the members' disagreement.

    Raises:
        ValueError: The potential has no members.
    """
    if found.bias is None:
        raise ValueError("the potential does not say how its members disagree")
    return found.bias
