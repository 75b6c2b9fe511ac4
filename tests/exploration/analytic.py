"""Potentials with known answers, in the form that dynamics asks for, and exits that are never taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from al_engine.config import Exits
from al_engine.frames import Frame
from al_engine.step_forces import StepForces

SPACING = 3.0  # Å
CPU = torch.device("cpu")
NEVER = Exits(
    force_sd_ev_per_ang=1e9, min_distance_ang=1e-9, energy_drift_ev_per_atom=1e9, temperature_factor=1e9
)


def row(numbers: Sequence[int], **keywords) -> Frame:
    """Atoms along x, each on its anchor."""
    anchors = np.zeros((len(numbers), 3))
    anchors[:, 0] = SPACING * np.arange(len(numbers))
    return Frame(np.array(numbers, dtype=np.int32), anchors, **keywords)


@dataclass(frozen=True)
class Wells:
    """Independent atoms: E = k/2 d^2 + q/4 d^4 about anchors in a row; q by element.

    The sd of a force is d per Å; beyond `broken_beyond` these numbers are added to energy and force.
    """

    stiffness: float = 10.0
    quartic: dict[int, float] = field(default_factory=dict)
    broken_beyond: float = float("inf")
    broken: tuple[float, float] = (float("nan"), float("nan"))
    device: torch.device = CPU

    def bind(self, frames: Sequence[Frame], _n_calls: int = 1) -> Callable[..., StepForces]:
        counts = [frame.n_atoms for frame in frames]
        index = torch.as_tensor(np.repeat(np.arange(len(frames)), counts))
        anchor = torch.as_tensor(np.concatenate([row(frame.numbers).positions for frame in frames]))
        numbers = np.concatenate([frame.numbers for frame in frames])
        quartic = torch.as_tensor([self.quartic.get(int(z), 0.0) for z in numbers], dtype=torch.float64)

        def forces_at(positions: Tensor, _scale: Tensor | None = None) -> StepForces:
            d = positions - anchor
            square = d.square().sum(1)
            energy = self.stiffness / 2 * square + quartic / 4 * square**2
            forces = -(self.stiffness + quartic * square)[:, None] * d
            broken = square > self.broken_beyond**2
            energy = torch.where(broken, energy + self.broken[0], energy)
            forces = torch.where(broken[:, None], forces + self.broken[1], forces)
            zeros = torch.zeros(len(frames), dtype=torch.float64)
            return StepForces(
                zeros.index_add(0, index, energy),
                forces,
                zeros.index_add(0, index, square).sqrt(),
                square.sqrt(),
            )

        return forces_at


@dataclass(frozen=True)
class LennardJonesDimers:
    """Frames of two atoms; argon's parameters."""

    epsilon: float = 0.0104  # eV
    sigma: float = 3.4  # Å
    device: torch.device = CPU

    def bind(self, frames: Sequence[Frame], _n_calls: int = 1) -> Callable[..., StepForces]:
        assert all(frame.n_atoms == 2 for frame in frames)

        def forces_at(positions: Tensor, _scale: Tensor | None = None) -> StepForces:
            between = positions[1::2] - positions[::2]
            r2 = between.square().sum(1)
            s6 = (self.sigma**2 / r2) ** 3
            energy = 4 * self.epsilon * (s6**2 - s6)
            on_second = (24 * self.epsilon * (2 * s6**2 - s6) / r2)[:, None] * between
            forces = torch.stack([-on_second, on_second], dim=1).reshape(-1, 3)
            return StepForces(energy, forces, torch.zeros_like(energy), torch.zeros(len(positions)).double())

        return forces_at


@dataclass(frozen=True)
class Springs:
    """Copies of one frame: E = 1/2 (x - x0) K (x - x0) of all its coordinates."""

    matrix: np.ndarray
    rest: np.ndarray
    device: torch.device = CPU

    def bind(self, frames: Sequence[Frame], _n_calls: int = 1) -> Callable[..., StepForces]:
        matrix, rest = torch.tensor(self.matrix), torch.tensor(self.rest).reshape(1, -1)

        def forces_at(positions: Tensor, _scale: Tensor | None = None) -> StepForces:
            shift = positions.reshape(len(frames), -1) - rest
            pull = shift @ matrix
            energy = 0.5 * (shift * pull).sum(1)
            zeros = torch.zeros(len(positions), dtype=torch.float64)
            return StepForces(energy, -pull.reshape(-1, 3), torch.zeros_like(energy), zeros)

        return forces_at


@dataclass(frozen=True)
class Gas:
    """Atoms that feel nothing, in cells that cost energy: E = stiffness/2 (V/volume - 1)²."""

    stiffness: float = 0.0  # eV
    volume: float = 1.0  # Å³
    device: torch.device = CPU

    def bind(self, frames: Sequence[Frame], _n_calls: int = 1) -> Callable[..., StepForces]:
        at_bind = torch.tensor([abs(np.linalg.det(frame.cell)) for frame in frames])

        def forces_at(positions: Tensor, scale: Tensor) -> StepForces:
            over = at_bind * scale**3 / self.volume - 1
            zeros = torch.zeros(len(positions), dtype=torch.float64)
            energy = self.stiffness / 2 * over**2
            virial = 3 * self.stiffness * over * (over + 1)  # 3 V dE/dV
            return StepForces(energy, torch.zeros_like(positions), zeros[: len(frames)], zeros, None, virial)

        return forces_at


@dataclass(frozen=True)
class Slope:
    """Atoms in wells about the origin whose members disagree: var_m E_m = (a x)² + b, by walker."""

    stiffness: float = 5.0  # eV/Å²
    slope: float = 0.5  # eV/Å
    floor: float = 0.01  # eV²
    device: torch.device = CPU

    def bind(self, frames: Sequence[Frame], _n_calls: int = 1) -> Callable[..., StepForces]:
        index = torch.as_tensor(np.repeat(np.arange(len(frames)), [frame.n_atoms for frame in frames]))

        def forces_at(positions: Tensor, _scale: Tensor | None = None) -> StepForces:
            zeros = torch.zeros(len(frames), dtype=torch.float64)
            energy = zeros.index_add(0, index, self.stiffness / 2 * positions.square().sum(1))
            along = zeros.index_add(0, index, self.slope * positions[:, 0])
            sd = (along.square() + self.floor).sqrt()
            bias = torch.zeros_like(positions)
            bias[:, 0] = (self.slope * along / sd)[index]
            return StepForces(
                energy, -self.stiffness * positions, sd, torch.zeros(len(positions)).double(), bias
            )

        return forces_at
