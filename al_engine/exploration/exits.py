"""When a walker stops: what is watched at every step, for all walkers at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from al_engine.config import Exits
from al_engine.exploration.distances import Distances
from al_engine.exploration.layout import Layout
from al_engine.exploration.state import State
from al_engine.frames import Frame
from al_engine.records import ExitReason
from al_engine.units import FORCE_TO_ACCELERATION, KB


class Watched(IntEnum):
    """The rows of what is watched; where several limits are crossed at once, the first is the reason."""

    CLASH = 0
    BOND = 1
    FORCE_SD = 2
    ENERGY = 3
    TEMPERATURE = 4


_REASONS: Final = {
    Watched.CLASH: ExitReason.CLASH,
    Watched.BOND: ExitReason.BOND,
    Watched.FORCE_SD: ExitReason.UNCERTAINTY,
    Watched.ENERGY: ExitReason.ENERGY_DRIFT,
    Watched.TEMPERATURE: ExitReason.TEMPERATURE,
}


class Exit(NamedTuple):
    """A walker (by its place in the batch) that must stop, why, and the number that crossed its limit."""

    place: int
    reason: ExitReason
    value: float


class Watch:
    """Compares what each walker does with its limits.

    The instantaneous temperature is 2 E_kin / (3 n_mobile kB): the thermostat also moves the center of mass.
    """

    def __init__(self, layout: Layout, exits: Exits, starts: Sequence[Frame], start_energy: Tensor) -> None:
        """Prepare for a layout.

        Args:
            layout: The walkers.
            exits: Their limits.
            starts: Where they started: what is bonded there must stay so, if bonds must not break.
            start_energy: Their potential energies there, shape (n_walkers,), eV.
        """
        self._index, self._start_energy = layout.frame_index, start_energy
        self._distances = Distances(layout, starts)
        self._n_atoms = layout.floats(layout.counts)
        self._zeros = torch.zeros_like(layout.temperature)
        mobile = self._zeros.index_add(0, self._index, layout.inverse_mass.sign()[:, 0])
        weight = 1 / (KB * FORCE_TO_ACCELERATION * layout.inverse_mass[:, 0] * 3 * mobile[self._index])
        self._to_kelvin = weight.nan_to_num(posinf=0.0)  # a fixed atom has no temperature
        bond = math.inf if exits.bond_stretch is None else exits.bond_stretch
        limits = {
            Watched.CLASH: -exits.min_distance_ang + self._zeros,
            Watched.BOND: bond + self._zeros,
            Watched.FORCE_SD: exits.force_sd_ev_per_ang + self._zeros,
            Watched.ENERGY: exits.energy_drift_ev_per_atom + self._zeros,
            Watched.TEMPERATURE: exits.temperature_factor * layout.temperature,
        }
        self._limits = torch.stack([limits[row] for row in Watched])

    def measure(self, state: State) -> Tensor:
        """Measure the walkers; a row above its limit means that the walker must stop.

        Returns:
            Shape (5, n_walkers), rows as in `Watched`: minus the smallest distance (Å), the largest bond
            over the sum of its covalent radii, the largest atomic force sd (eV/Å), how far the potential
            energy is from that of the start (eV/atom), the instantaneous temperature (K).
        """
        found = state.step_forces
        nearest, stretch = self._distances(state.positions)
        kelvin = state.velocities.square().sum(1) * self._to_kelvin
        return torch.stack(
            [
                -nearest,
                stretch,
                self._zeros.scatter_reduce(0, self._index, found.force_sd, "amax"),
                (found.energy - self._start_energy).abs() / self._n_atoms,
                self._zeros.index_add(0, self._index, kelvin),
            ]
        )

    def exits(self, measured: Tensor) -> list[Exit]:
        """Return the walkers that cross a limit or are not finite; one number comes to the host a step."""
        fine = (measured <= self._limits) & measured.isfinite()
        if bool(fine.all()):
            return []
        crossed, values = (~fine).cpu().numpy(), measured.cpu().numpy()
        found = []
        for place in np.flatnonzero(crossed.any(axis=0)).tolist():
            row = Watched(int(crossed[:, place].argmax()))
            if np.isfinite(values[:, place]).all():
                found.append(Exit(place, _REASONS[row], abs(float(values[row, place]))))
            else:
                found.append(Exit(place, ExitReason.NOT_FINITE, math.nan))
        return found
