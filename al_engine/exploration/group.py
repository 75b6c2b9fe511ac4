"""The walkers that walk: everything that must change together when one of them stops or starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from al_engine.config import Exits
from al_engine.exploration.exits import Watch, Watched
from al_engine.exploration.forces import BoundForces, ForceField
from al_engine.exploration.integrators import integrator
from al_engine.exploration.layout import Layout
from al_engine.exploration.noise import Noise, initial_velocities
from al_engine.exploration.state import State
from al_engine.frames import Frame
from al_engine.samplers import Dynamics, Npt


@dataclass(frozen=True)
class Start:
    """Where a walker starts, its set temperature (K), and the seed of its velocities and noise.

    `max_force_sd` is its ceiling of the force sd, eV/Å, if it has one of its own.
    """

    frame: Frame
    temperature: float
    seed: int
    max_force_sd: float | None = None


class Group:
    """Walkers bound together to a force field; `numbers` are their places among all starts."""

    def __init__(
        self,
        force_field: ForceField,
        starts: Sequence[Start],
        settings: Dynamics,
        exits: Exits,
        first: int = 0,
        *,
        n_calls: int | None = None,
    ) -> None:
        """Put all walkers at their starts, with velocities, and evaluate the forces there.

        The walkers are numbered from `first`. The force field is told how often it will be called: default,
        once a step.
        """
        self._force_field, self._settings, self._exits = force_field, settings, exits
        self._n_calls = settings.n_steps if n_calls is None else n_calls
        frames = [start.frame for start in starts]
        generators = [np.random.default_rng(start.seed) for start in starts]
        velocities = [
            initial_velocities(start.frame, start.temperature, rng)
            for start, rng in zip(starts, generators, strict=True)
        ]
        device = force_field.device
        self.numbers = list(range(first, first + len(starts)))
        self._starts = list(starts)
        with_cell = isinstance(settings, Npt)
        self._noise = Noise(generators, [frame.n_atoms + with_cell for frame in frames], device)
        self._bind(frames)
        positions = torch.as_tensor(np.concatenate([frame.positions for frame in frames]), device=device)
        scale = positions.new_ones(len(starts)) if with_cell else None
        self.state = State(
            positions,
            torch.as_tensor(np.concatenate(velocities), device=device),
            scale,
            positions.new_zeros(len(starts), 3),
            self._forces(positions, scale),
        )
        self._start_energy = self.state.step_forces.energy
        self.watch = self._watch()

    def _bind(self, frames: Sequence[Frame]) -> None:
        temperatures = [start.temperature for start in self._starts]
        self.layout = Layout.of(frames, temperatures, self._force_field.device)
        self._forces: BoundForces = self._force_field.bind(frames, self._n_calls)
        self._integrator = integrator(self.layout, self._settings)

    def _watch(self) -> Watch:
        frames = [start.frame for start in self._starts]
        ceilings = [start.max_force_sd for start in self._starts]
        return Watch(self.layout, self._exits, frames, self._start_energy, ceilings)

    def advance(self) -> None:
        """Let all walkers do one step."""
        self.state = self._integrator(self.state, self._noise.next(), self._forces)

    def frames(self, state: State) -> list[Frame]:
        """Return the frames of the walkers in a state of this group."""
        places = self.layout.split(state.positions)
        scales = [1.0] * len(places) if state.scale is None else state.scale.tolist()
        return [
            replace(frame, positions=at, cell=frame.cell * scale)
            for frame, at, scale in zip(self.layout.frames, places, scales, strict=True)
        ]

    def change(self, stay: Sequence[int], starts: Sequence[Start], first: int) -> None:
        """Go on with the walkers at some places (ascending) and, after them, new ones, numbered from `first`.

        What those that stay do next does not change.
        """
        index = torch.as_tensor(stay, dtype=torch.int64, device=self.layout.device)
        atoms = torch.isin(self.layout.frame_index, index).nonzero()[:, 0]
        frames = [self.frames(self.state)[place] for place in stay] if stay else []
        self.numbers = [self.numbers[place] for place in stay]
        self._starts = [self._starts[place] for place in stay]
        self._noise.keep(stay)
        self.state = self.state.only(index, atoms)
        if self.state.scale is not None:  # the force field is bound anew
            self.state = self.state._replace(scale=torch.ones_like(self.state.scale))
        self._start_energy = self._start_energy[index]
        if starts:
            new = Group(self._force_field, starts, self._settings, self._exits, first, n_calls=1)
            frames += new.layout.frames
            self.numbers += new.numbers
            self._starts += starts
            self._noise.join(new._noise)
            self.state = State.joined(self.state, new.state)
            self._start_energy = torch.cat([self._start_energy, new._start_energy])
        self._bind(frames)
        self.watch = self._watch()

    def rows(self, steps: Sequence[int], measured: Tensor) -> list[list[float]]:
        """Return a row of the trace for each walker, from what the watch measured; `steps` are their own."""
        found = self.state.step_forces
        own = torch.as_tensor(steps, dtype=found.energy.dtype, device=found.energy.device)
        kelvin, force_sd = measured[Watched.TEMPERATURE], measured[Watched.FORCE_SD]
        columns = [own, found.energy, kelvin, found.energy_sd, force_sd]
        rows: list[list[float]] = torch.stack(columns, dim=1).tolist()
        return rows
