"""When a walker stops: what is watched at every step, for all walkers at once."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from al_engine.config import Exits
from al_engine.exploration.distances import NearestDistance
from al_engine.exploration.langevin import State
from al_engine.exploration.layout import Layout
from al_engine.records import ExitReason
from al_engine.units import FORCE_TO_ACCELERATION, KB

_ROWS: Final = (
    ExitReason.CLASH, ExitReason.UNCERTAINTY, ExitReason.ENERGY_DRIFT, ExitReason.TEMPERATURE,
)  # fmt: skip
"""The rows of what is watched; where several limits are crossed at once, the first is the reason."""


class Exit(NamedTuple):
    """A walker (by its place in the batch) that must stop, why, and the number that crossed its limit."""

    place: int
    reason: ExitReason
    value: float


class Watch:
    """Compares what each walker does with its limits.

    The instantaneous temperature is 2 E_kin / (3 n_mobile kB): the thermostat also moves the center of mass.
    """

    def __init__(self, layout: Layout, exits: Exits, start_energy: Tensor) -> None:
        """Prepare for a layout; `start_energy`, shape (n_walkers,), eV, is what drift is measured from."""
        self._index, self._start_energy = layout.frame_index, start_energy
        self._nearest = NearestDistance(layout)
        self._n_atoms = layout.floats(layout.counts)
        self._zeros = torch.zeros_like(layout.temperature)
        mobile = self._zeros.index_add(0, self._index, layout.inverse_mass.sign()[:, 0])
        weight = 1 / (KB * FORCE_TO_ACCELERATION * layout.inverse_mass[:, 0] * 3 * mobile[self._index])
        self._to_kelvin = weight.nan_to_num(posinf=0.0)  # a fixed atom has no temperature
        self._limits = torch.stack(
            [
                torch.full_like(self._zeros, -exits.min_distance_ang),
                torch.full_like(self._zeros, exits.force_sd_ev_per_ang),
                torch.full_like(self._zeros, exits.energy_drift_ev_per_atom),
                exits.temperature_factor * layout.temperature,
            ]
        )

    def measure(self, state: State) -> Tensor:
        """Measure the walkers; a row above its limit means that the walker must stop.

        Returns:
            Shape (4, n_walkers): minus the smallest distance (Å), largest atomic force sd (eV/Å),
            potential energy above that of the start (eV/atom), instantaneous temperature (K).
        """
        found = state.step_forces
        kelvin = state.velocities.square().sum(1) * self._to_kelvin
        return torch.stack(
            [
                -self._nearest(state.positions),
                self._zeros.scatter_reduce(0, self._index, found.force_sd, "amax"),
                (found.energy - self._start_energy) / self._n_atoms,
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
            row = int(crossed[:, place].argmax())
            if np.isfinite(values[:, place]).all():
                found.append(Exit(place, _ROWS[row], abs(float(values[row, place]))))
            else:
                found.append(Exit(place, ExitReason.NOT_FINITE, math.nan))
        return found
