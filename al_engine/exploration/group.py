"""The walkers that still walk: everything that must change together when one of them stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_engine.config import Exits, Langevin
from al_engine.exploration.exits import Watch
from al_engine.exploration.forces import BoundForces, ForceField
from al_engine.exploration.langevin import Baoab, Noise, State, initial_velocities
from al_engine.exploration.layout import Layout
from al_engine.frames import Frame


@dataclass(frozen=True)
class Start:
    """Where a walker starts, its set temperature (K), and the seed of its velocities and noise."""

    frame: Frame
    temperature: float
    seed: int


class Group:
    """Walkers bound together to a force field; `numbers` are their places among all starts."""

    def __init__(
        self, force_field: ForceField, starts: Sequence[Start], settings: Langevin, exits: Exits
    ) -> None:
        """Put all walkers at their starts, with velocities, and evaluate the forces there."""
        self._force_field, self._settings, self._exits = force_field, settings, exits
        frames = [start.frame for start in starts]
        generators = [np.random.default_rng(start.seed) for start in starts]
        velocities = [
            initial_velocities(start.frame, start.temperature, rng)
            for start, rng in zip(starts, generators, strict=True)
        ]
        device = force_field.device
        self.numbers = list(range(len(starts)))
        self._noise = Noise(generators, [frame.n_atoms for frame in frames], device)
        self._bind(Layout.of(frames, [start.temperature for start in starts], device))
        positions = torch.as_tensor(np.concatenate([frame.positions for frame in frames]), device=device)
        self.state = State(
            positions, torch.as_tensor(np.concatenate(velocities), device=device), self._forces(positions)
        )
        self._start_energy = self.state.step_forces.energy
        self.watch = Watch(self.layout, exits, self._start_energy)

    def _bind(self, layout: Layout) -> None:
        self.layout = layout
        self._forces: BoundForces = self._force_field.bind(layout.frames)
        self._integrator = Baoab(layout, self._settings)

    def advance(self) -> None:
        """Let all walkers do one step."""
        self.state = self._integrator(self.state, self._noise.next(), self._forces)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the walkers at these places only; what they do next does not change."""
        index = torch.as_tensor(places, device=self.layout.frame_index.device)
        atoms = torch.isin(self.layout.frame_index, index).nonzero()[:, 0]
        at = self.layout.split(self.state.positions)
        frames = [self.layout.frames[place].moved_to(at[place]) for place in places]
        temperatures = self.layout.temperature[index].tolist()
        self.numbers = [self.numbers[place] for place in places]
        self.state = self.state.only(index, atoms)
        self._start_energy = self._start_energy[index]
        self._noise.keep(places, atoms)
        self._bind(Layout.of(frames, temperatures, index.device))
        self.watch = Watch(self.layout, self._exits, self._start_energy)

    def rows(self, step: int, measured: Tensor) -> list[list[float]]:
        """Return a row of the trace for each walker, from what the watch measured at this step."""
        found = self.state.step_forces
        steps = torch.full_like(found.energy, step)
        _, force_sd, _, temperature = measured
        rows: list[list[float]] = torch.stack(
            [steps, found.energy, temperature, found.energy_sd, force_sd], dim=1
        ).tolist()
        return rows
