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
    """Compares what each walker does with its limits."""

    def __init__(
        self,
        layout: Layout,
        exits: Exits,
        starts: Sequence[Frame],
        start_energy: Tensor,
        max_force_sds: Sequence[float | None] = (),
    ) -> None:
        """Prepare for a layout.

        Args:
            layout: The walkers.
            exits: Their limits.
            starts: Where they started: what is bonded there must stay so, if bonds must not break.
            start_energy: Their potential energies there, shape (n_walkers,), eV.
            max_force_sds: Ceiling of the force sd of each walker, eV/Å; that of `exits` where there is none.
        """
        self._layout, self._start_energy = layout, start_energy
        self._distances = Distances(layout, starts)
        self._n_atoms, self._kelvin = layout.floats(layout.counts), layout.kelvin
        bond = math.inf if exits.bond_stretch is None else exits.bond_stretch
        ceilings = max_force_sds or [None] * len(starts)
        same = torch.ones_like(layout.temperature)
        limits = {
            Watched.CLASH: -exits.min_distance_ang * same,
            Watched.BOND: bond * same,
            Watched.FORCE_SD: layout.floats([own or exits.max_force_sd for own in ceilings]),
            Watched.ENERGY: exits.energy_drift_ev_per_atom * same,
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
        nearest, stretch = self._distances(state.positions, state.scale)
        return torch.stack(
            [
                -nearest,
                stretch,
                self._layout.largest(found.force_sd),
                (found.energy - self._start_energy).abs() / self._n_atoms,
                self._layout.sum(state.velocities.square().sum(1) * self._kelvin),
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
