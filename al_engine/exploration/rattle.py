"""Frames made by chance: each atom displaced, each cell strained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from al_engine.exploration.group import Start
from al_engine.exploration.sampler import Sampled, Visit
from al_engine.frames import Frame, minimum_distance
from al_engine.samplers import Rattle

MIN_DISTANCE_ANG = 0.5
"""Rattled atoms do not come closer."""


@dataclass(frozen=True)
class RattleSampler:
    """Rattled copies of frames; `starts(k)` gives the frame and the seed of the k-th copy."""

    settings: Rattle
    starts: Callable[[int], Start]

    @property
    def planned(self) -> Sequence[int]:
        """No step of any dynamics."""
        return []

    def __call__(self, _audit: Sequence[tuple[int, int]]) -> Sampled:
        """Rattle, by amplitudes spread evenly from the first to the second."""
        s = self.settings
        visits = []
        for k, amplitude in enumerate(np.linspace(*s.rattle_ang, s.n_frames)):
            start = self.starts(k)
            rng = np.random.default_rng(start.seed)
            visits.append(Visit(rattled(strained(start.frame, s.strain, rng), float(amplitude), rng)))
        return Sampled(tuple(visits))


def rattled(frame: Frame, amplitude: float, rng: np.random.Generator) -> Frame:
    """Displace each free atom by a normal vector, sd in Å of a component; halved until no two atoms clash."""
    shift = rng.normal(0.0, amplitude, (frame.n_atoms, 3))
    shift[frame.fixed_mask] = 0.0
    while True:
        moved = frame.moved_to(frame.positions + shift)
        if minimum_distance(moved) > min(MIN_DISTANCE_ANG, 0.9 * minimum_distance(frame)):
            return moved
        shift /= 2


def strained(frame: Frame, amplitude: float, rng: np.random.Generator) -> Frame:
    """Strain the periodic directions of a cell and all that is in it: r -> r (1 + eta), cell vectors as rows.

    eta is symmetric and each of its components uniform between plus and minus `amplitude`. A frame that
    is not periodic, or has fixed atoms, stays as it is.
    """
    if not frame.is_periodic or frame.fixed_mask.any():
        return frame
    eta: NDArray[np.float64] = np.triu(rng.uniform(-amplitude, amplitude, (3, 3)))
    eta += np.triu(eta, 1).T
    fractional = frame.positions @ np.linalg.inv(frame.cell)
    cell = np.where(frame.pbc[:, None], frame.cell @ (np.eye(3) + eta), frame.cell)
    return replace(frame, positions=fractional @ cell, cell=cell)
