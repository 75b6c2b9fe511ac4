"""Distances within each walker at every step: the smallest, and how far bonds are stretched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from al_engine.exploration.layout import Layout
from al_engine.frames import Frame

FAR: Final = 1e3
"""Å; what is returned for a lone atom, and the largest distance returned."""
BONDED: Final = 1.25
"""Atoms closer than so many times the sum of their covalent radii are bonded."""


class Distances:
    """Looks at all pairs of atoms of each walker: O(n_atoms^2) a walker, all walkers at once.

    In a periodic frame the nearest image is found by rounding fractional coordinates, which is exact for
    distances below half the cell's smallest height. An atom's own images do not count.
    """

    def __init__(self, layout: Layout, starts: Sequence[Frame]) -> None:
        """Prepare for a layout; the bonds are those of `starts`, one frame a walker."""
        counts = layout.counts
        pairs = [np.stack(np.triu_indices(count, 1)) for count in counts]
        first = np.cumsum(counts) - counts
        index = np.concatenate([pair + at for pair, at in zip(pairs, first, strict=True)], axis=1)
        self._i, self._j = torch.as_tensor(index, device=layout.device)
        self._walker = layout.frame_index.index_select(0, self._i)
        self._far = torch.full_like(layout.temperature, FAR**2)
        self._is_periodic = any(frame.is_periodic for frame in layout.frames)
        self._cell, self._to_fraction = self._cells(layout, layout.frames)
        radii = layout.floats(covalent_radii[np.concatenate([frame.numbers for frame in starts])])
        self._bond = radii[self._i] + radii[self._j]
        at_start = layout.floats(np.concatenate([frame.positions for frame in starts]))
        squares = self._squares(at_start, *self._cells(layout, starts))
        self._is_bond = squares.sqrt() < BONDED * self._bond

    def _cells(self, layout: Layout, frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
        """Return cell and what makes its fractions, for each pair, shape (n_pairs, 3, 3)."""
        inverse = [
            np.where(frame.pbc, np.linalg.inv(frame.cell), 0.0) if frame.is_periodic else frame.cell * 0
            for frame in frames
        ]
        cell, to_fraction = (layout.floats(np.stack(m)) for m in ([frame.cell for frame in frames], inverse))
        return cell.index_select(0, self._walker), to_fraction.index_select(0, self._walker)

    def _squares(self, positions: Tensor, cell: Tensor, to_fraction: Tensor) -> Tensor:
        """Return the squared distance of each pair, Å²."""
        between = positions.index_select(0, self._i) - positions.index_select(0, self._j)
        if self._is_periodic:
            images = torch.bmm(between[:, None], to_fraction).round_()
            between = between - torch.bmm(images, cell)[:, 0]
        return between.square().sum(1)

    def __call__(self, positions: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Measure each walker; NaN where a position is. `scale` is that of its cell, shape (n_walkers,).

        Returns:
            The smallest distance (Å), and the largest bond over the sum of its covalent radii (0 where
            there is no bond), both of shape (n_walkers,).
        """
        cell, to_fraction = self._cell, self._to_fraction
        if scale is not None:
            by = scale.index_select(0, self._walker)[:, None, None]
            cell, to_fraction = cell * by, to_fraction / by
        squares = self._squares(positions, cell, to_fraction)
        nearest = self._far.scatter_reduce(0, self._walker, squares, "amin").sqrt()
        stretch = torch.where(self._is_bond, squares.sqrt() / self._bond, torch.zeros_like(squares))
        return nearest, torch.zeros_like(self._far).scatter_reduce(0, self._walker, stretch, "amax")
