"""The state of a batch of walkers: what one step of dynamics turns into the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from al_engine.step_forces import StepForces


class State(NamedTuple):
    """Where the walkers are.

    Attributes:
        positions: Shape (n_atoms, 3), Å.
        velocities: Shape (n_atoms, 3), Å/fs.
        memory: What the integrator remembers of each walker, shape (n_walkers, n); zeros at the start.
        step_forces: What the potential says of these positions.
    """

    positions: Tensor
    velocities: Tensor
    memory: Tensor
    step_forces: StepForces

    def only(self, walkers: Tensor, atoms: Tensor) -> State:
        """Return the state of some walkers, given by their indices and those of their atoms."""
        energy, forces, energy_sd, force_sd, gradient = self.step_forces
        return State(
            self.positions[atoms],
            self.velocities[atoms],
            self.memory[walkers],
            StepForces(
                energy[walkers],
                forces[atoms],
                energy_sd[walkers],
                force_sd[atoms],
                None if gradient is None else gradient[atoms],
            ),
        )

    @classmethod
    def joined(cls, states: Sequence[State]) -> State:
        """Return the walkers of all these states as one batch, in order."""
        positions, velocities, memory, found = zip(*states, strict=True)
        energy, forces, energy_sd, force_sd, gradient = zip(*found, strict=True)
        return cls(
            torch.cat(positions),
            torch.cat(velocities),
            torch.cat(memory),
            StepForces(
                torch.cat(energy),
                torch.cat(forces),
                torch.cat(energy_sd),
                torch.cat(force_sd),
                None if None in gradient else torch.cat(gradient),
            ),
        )
