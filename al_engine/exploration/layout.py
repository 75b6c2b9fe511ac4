"""The walkers of a batch as tensors: the atoms of all of them in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase.data import atomic_masses
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from al_engine.frames import Frame
from al_engine.units import FORCE_TO_ACCELERATION, KB


@dataclass(frozen=True)
class Layout:
    """Which atom belongs to which walker, and what does not change while they walk.

    Attributes:
        frames: One a walker, as it was when the force field was bound to it.
        temperature: Set temperature, shape (n_walkers,), K.
        frame_index: Walker of each atom, shape (n_atoms,).
        inverse_mass: 1/amu, 0 for a fixed atom, shape (n_atoms, 1).
    """

    frames: tuple[Frame, ...]
    temperature: Tensor
    frame_index: Tensor
    inverse_mass: Tensor

    @classmethod
    def of(cls, frames: Sequence[Frame], temperatures: Sequence[float], device: torch.device) -> Layout:
        """Lay out one frame a walker."""
        counts = [frame.n_atoms for frame in frames]
        inverse = np.concatenate([inverse_masses(frame) for frame in frames])[:, None]
        return cls(
            frames=tuple(frames),
            temperature=torch.tensor(temperatures, dtype=torch.float64, device=device),
            frame_index=torch.as_tensor(np.repeat(np.arange(len(frames)), counts), device=device),
            inverse_mass=torch.as_tensor(inverse, device=device),
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """Atoms of each walker, shape (n_walkers,)."""
        return np.array([frame.n_atoms for frame in self.frames])

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.frame_index.device

    @property
    def kelvin(self) -> Tensor:
        """Temperature that each atom adds to its walker's for a unit of v², shape (n_atoms,), K fs²/Å².

        The instantaneous temperature is 2 E_kin / (3 n_mobile kB): the thermostat also moves the center of
        mass; a fixed atom has none.
        """
        mobile = torch.zeros_like(self.temperature).index_add(
            0, self.frame_index, self.inverse_mass.sign()[:, 0]
        )
        weight = 1 / (KB * FORCE_TO_ACCELERATION * self.inverse_mass[:, 0] * 3 * mobile[self.frame_index])
        return weight.nan_to_num(posinf=0.0)

    def sum(self, per_atom: Tensor) -> Tensor:
        """Sum a per-atom tensor over each walker, shape (n_walkers,)."""
        return torch.zeros_like(self.temperature).index_add(0, self.frame_index, per_atom)

    def largest(self, per_atom: Tensor) -> Tensor:
        """Return the largest of a per-atom tensor of each walker, at least 0, shape (n_walkers,)."""
        return torch.zeros_like(self.temperature).scatter_reduce(0, self.frame_index, per_atom, "amax")

    def floats(self, values: ArrayLike) -> Tensor:
        """Put numbers beside the other tensors, float64."""
        return torch.as_tensor(values, dtype=torch.float64, device=self.device)

    def split(self, per_atom: Tensor) -> list[NDArray[np.float64]]:
        """Bring a per-atom tensor to the host, one array a walker."""
        return np.split(per_atom.cpu().numpy(), np.cumsum(self.counts)[:-1])


def inverse_masses(frame: Frame) -> NDArray[np.float64]:
    """Return 1/amu of each atom and 0 for a fixed one, shape (n_atoms,)."""
    return np.where(frame.fixed_mask, 0.0, 1.0 / atomic_masses[frame.numbers])
