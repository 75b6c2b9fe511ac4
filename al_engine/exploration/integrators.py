"""How a batch of walkers advances by one time step: the kinds of dynamics."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from al_engine.exploration.bias import Biased
from al_engine.exploration.cell_rescaling import CellRescaling
from al_engine.exploration.forces import BoundForces
from al_engine.exploration.langevin import Baoab
from al_engine.exploration.layout import Layout
from al_engine.exploration.state import State
from al_engine.samplers import Dynamics, Langevin, Npt, Nve, UncertaintyBiased


class Integrator(Protocol):
    """Dynamics of the walkers of one layout."""

    def __call__(self, state: State, noise: Tensor, forces_at: BoundForces) -> State:
        """Advance by one time step; `noise` is standard normal: 3 numbers an atom.

        Where cells change, three more follow those of the atoms of each walker.
        """
        ...


def integrator(layout: Layout, settings: Dynamics) -> Integrator:
    """Return the integrator of a kind of dynamics."""
    match settings:
        case Nve():
            return Baoab(layout, settings.timestep_fs, 0.0)
        case Langevin():
            return Baoab(layout, settings.timestep_fs, settings.friction_per_fs)
        case UncertaintyBiased():
            return Biased(layout, settings)
        case Npt():
            return CellRescaling(layout, settings)
