"""Random numbers of the walkers, each from a generator of its own: initial velocities, noise of each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from al_engine.exploration.layout import inverse_masses
from al_engine.frames import Frame
from al_engine.units import FORCE_TO_ACCELERATION, KB


class Noise:
    """Standard normal numbers for each step, drawn for many steps at a time.

    A walker's numbers come from its own generator, so they depend neither on the other walkers nor on
    the number of steps drawn at a time.
    """

    def __init__(
        self,
        generators: Sequence[np.random.Generator],
        n_rows: Sequence[int],
        device: torch.device,
        n_ahead: int = 64,
    ) -> None:
        """Prepare; `n_rows` are the rows of three numbers that each walker needs in a step."""
        self._generators, self._n_rows = list(generators), list(n_rows)
        self._device, self._n_ahead = device, n_ahead
        self._drawn, self._used = self._draw(0), 0

    def _draw(self, n_steps: int) -> Tensor:
        drawn = [
            rng.standard_normal((n_steps, n, 3))
            for rng, n in zip(self._generators, self._n_rows, strict=True)
        ]
        return torch.as_tensor(np.concatenate(drawn, axis=1), device=self._device)

    def next(self) -> Tensor:
        """Return the numbers of the next step, shape (sum of the rows, 3)."""
        if self._used == len(self._drawn):
            self._drawn, self._used = self._draw(self._n_ahead), 0
        self._used += 1
        return self._drawn[self._used - 1]

    def keep(self, walkers: Sequence[int]) -> None:
        """Go on for some walkers only, given by their places."""
        last = np.cumsum(self._n_rows)
        rows = [np.arange(last[w] - self._n_rows[w], last[w]) for w in walkers]
        index = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
        self._drawn = self._drawn[:, torch.as_tensor(index, device=self._device)]
        self._generators = [self._generators[w] for w in walkers]
        self._n_rows = [self._n_rows[w] for w in walkers]

    def join(self, other: Noise) -> None:
        """Go on with the walkers of `other`, which has given no numbers yet, after these."""
        left = self._drawn[self._used :]
        self._drawn, self._used = torch.cat([left, other._draw(len(left))], dim=1), 0
        self._generators += other._generators
        self._n_rows += other._n_rows


def initial_velocities(frame: Frame, temperature: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw Maxwell-Boltzmann velocities, shape (n_atoms, 3), Å/fs.

    Fixed atoms stand still. Where no atom is fixed, the motion of the center of mass is removed (a lone
    atom keeps it).
    """
    inverse = inverse_masses(frame)[:, None]
    noise = rng.standard_normal((frame.n_atoms, 3))
    velocities: NDArray[np.float64] = np.sqrt(KB * temperature * FORCE_TO_ACCELERATION * inverse) * noise
    if frame.n_atoms > 1 and not frame.fixed_mask.any():
        mass = 1.0 / inverse
        velocities -= (mass * velocities).sum(axis=0) / mass.sum()
    return velocities
