"""The state of a batch of walkers: what one step of dynamics turns into the next."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from al_engine.step_forces import StepForces


class State(NamedTuple):
    """Where the walkers are.

    Attributes:
        positions: Shape (n_atoms, 3), Å.
        velocities: Shape (n_atoms, 3), Å/fs.
        scale: Factor on the cell of each walker since its force field was bound, shape (n_walkers,); None
            where cells do not change.
        memory: Running means that the integrator keeps of each walker, shape (n_walkers, 3); zeros at the
            start.
        step_forces: What the potential says of these positions.
    """

    positions: Tensor
    velocities: Tensor
    scale: Tensor | None
    memory: Tensor
    step_forces: StepForces

    def only(self, walkers: Tensor, atoms: Tensor) -> State:
        """Return the state of some walkers, given by their indices and those of their atoms."""
        found = self.step_forces
        return State(
            self.positions[atoms],
            self.velocities[atoms],
            _some(self.scale, walkers),
            self.memory[walkers],
            StepForces(
                found.energy[walkers],
                found.forces[atoms],
                found.energy_sd[walkers],
                found.force_sd[atoms],
                _some(found.bias, atoms),
                _some(found.virial, walkers),
            ),
        )

    @classmethod
    def joined(cls, one: State, other: State) -> State:
        """Return the walkers of both as one batch, in order."""
        found, more = one.step_forces, other.step_forces
        return cls(
            torch.cat([one.positions, other.positions]),
            torch.cat([one.velocities, other.velocities]),
            _both(one.scale, other.scale),
            torch.cat([one.memory, other.memory]),
            StepForces(
                torch.cat([found.energy, more.energy]),
                torch.cat([found.forces, more.forces]),
                torch.cat([found.energy_sd, more.energy_sd]),
                torch.cat([found.force_sd, more.force_sd]),
                _both(found.bias, more.bias),
                _both(found.virial, more.virial),
            ),
        )


def _some(values: Tensor | None, index: Tensor) -> Tensor | None:
    return None if values is None else values[index]


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return None if one is None or other is None else torch.cat([one, other])
