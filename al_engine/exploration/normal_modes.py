"""Frames displaced along the normal modes of the current potential, the way ANI-1x's molecules were made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from al_engine.exploration.forces import ForceField
from al_engine.exploration.layout import inverse_masses
from al_engine.exploration.rattle import MIN_DISTANCE_ANG
from al_engine.exploration.sampler import Sampled, Visit
from al_engine.frames import Frame, minimum_distance
from al_engine.samplers import NormalModes
from al_engine.units import FORCE_TO_ACCELERATION, KB

Array = NDArray[np.float64]

STEP_ANG: Final = 0.01
"""Of the finite differences."""
MIN_FREQUENCY_PER_FS: Final = 2 * math.pi * 2.998e-5 * 50
"""Angular, of 50 cm⁻¹: slower modes are rigid motions, or too flat to be followed in a straight line."""


@dataclass(frozen=True)
class NormalModeSampler:
    """Displaced copies of frames, several to each; `rng(k)` gives the generator of the k-th copy."""

    settings: NormalModes
    force_field: ForceField
    frames: Sequence[Frame]
    rng: Callable[[int], np.random.Generator]

    @property
    def planned(self) -> Sequence[int]:
        """No step of any dynamics."""
        return []

    def __call__(self, _audit: Sequence[tuple[int, int]]) -> Sampled:
        """Find the modes of each frame once, then displace; copies take frames, then temperatures in turn."""
        s = self.settings
        modes = [normal_modes(frame, hessian(self.force_field, frame)) for frame in self.frames]
        visits = []
        for k in range(s.n_frames):
            of, turn = k % len(self.frames), k // len(self.frames)
            kelvin = s.temperatures_k[turn % len(s.temperatures_k)]
            frame = displaced(self.frames[of], *modes[of], kelvin, self.rng(k))
            if minimum_distance(frame) > MIN_DISTANCE_ANG:
                visits.append(Visit(frame, temperature=kelvin))
        return Sampled(tuple(visits))


def hessian(force_field: ForceField, frame: Frame) -> Array:
    """Second derivatives of the energy by central differences of the forces, shape (3n, 3n), eV/Å²."""
    forces_at = force_field.bind([frame] * 6)
    here = torch.tensor(frame.positions, device=force_field.device).repeat(6, 1, 1)
    n = frame.n_atoms
    rows = []
    for atom in range(n):
        moved = here.clone()
        for axis in range(3):
            moved[axis, atom, axis] += STEP_ANG
            moved[3 + axis, atom, axis] -= STEP_ANG
        forces = forces_at(moved.view(-1, 3)).forces.view(2, 3, 3 * n)
        rows.append((forces[1] - forces[0]) / (2 * STEP_ANG))
    matrix: Array = torch.cat(rows).cpu().numpy()
    return 0.5 * (matrix + matrix.T)


def normal_modes(frame: Frame, second: Array) -> tuple[Array, Array]:
    """Return angular frequencies (1/fs) and modes from a Hessian (3n, 3n), eV/Å².

    Returns:
        Squared frequencies, shape (n_modes,), ascending, negative where the energy has a maximum; and
        the modes in Å sqrt(amu), shape (n_modes, n_atoms, 3): a displacement q (Å sqrt(amu)) along mode k is
        q modes[k] in Å. Fixed atoms stand still.
    """
    root = np.sqrt(np.repeat(inverse_masses(frame), 3))
    squares, vectors = np.linalg.eigh(root[:, None] * second * root * FORCE_TO_ACCELERATION)
    modes: Array = (vectors.T * root).reshape(-1, frame.n_atoms, 3)
    return squares, modes


def displaced(
    frame: Frame, squares: Array, modes: Array, temperature: float, rng: np.random.Generator
) -> Frame:
    """Displace a frame along all its modes by random energies.

    Mode k gets c_k 3/2 N kB T, with c_k >= 0 and their sum uniform between 0 and 1, and a random sign
    (Smith, Isayev and Roitberg, Chem. Sci. 8, 3192 (2017)): q_k = +-sqrt(2 E_k) / |omega_k| in harmonic
    approximation. Modes below `MIN_FREQUENCY_PER_FS` are left out.
    """
    used = np.abs(squares) > MIN_FREQUENCY_PER_FS**2
    n = int(used.sum())
    shares = rng.random() * rng.dirichlet(np.ones(n)) if n else np.zeros(0)
    energies = 1.5 * frame.n_atoms * KB * temperature * shares * FORCE_TO_ACCELERATION
    q = rng.choice([-1.0, 1.0], n) * np.sqrt(2 * energies / np.abs(squares[used]))
    return frame.moved_to(frame.positions + np.tensordot(q, modes[used], axes=1))
