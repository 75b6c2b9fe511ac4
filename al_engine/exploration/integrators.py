"""How a batch of walkers advances by one time step: the kinds of dynamics."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from al_engine.config import Dynamics, Langevin, Nve
from al_engine.exploration.forces import BoundForces
from al_engine.exploration.langevin import Baoab
from al_engine.exploration.layout import Layout
from al_engine.exploration.state import State


class Integrator(Protocol):
    """Dynamics of the walkers of one layout."""

    def __call__(self, state: State, noise: Tensor, forces_at: BoundForces) -> State:
        """Advance by one time step; `noise` is standard normal, shape (n_atoms, 3)."""
        ...


def integrator(layout: Layout, settings: Dynamics) -> Integrator:
    """Return the integrator of a kind of dynamics."""
    match settings:
        case Langevin():
            return Baoab(layout, settings.timestep_fs, settings.friction_per_fs)
        case Nve():
            return Baoab(layout, settings.timestep_fs, 0.0)
