"""The smallest distance between two atoms of each walker, at every step."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from al_engine.exploration.layout import Layout

FAR: Final = 1e3
"""Å; what is returned for a lone atom, and the largest distance returned."""


class NearestDistance:
    """Looks at all pairs of atoms of each walker: O(n_atoms^2) a walker, all walkers at once.

    In a periodic frame the nearest image is found by rounding fractional coordinates, which is exact for
    distances below half the cell's smallest height. An atom's own images do not count: cells do not change.
    """

    def __init__(self, layout: Layout) -> None:
        counts = layout.counts
        pairs = [np.stack(np.triu_indices(count, 1)) for count in counts]
        first = np.cumsum(counts) - counts
        index = np.concatenate([pair + at for pair, at in zip(pairs, first, strict=True)], axis=1)
        self._i, self._j = torch.as_tensor(index, device=layout.frame_index.device)
        self._walker = layout.frame_index.index_select(0, self._i)
        self._far = torch.full_like(layout.temperature, FAR**2)
        self._is_periodic = any(frame.is_periodic for frame in layout.frames)
        if self._is_periodic:
            inverse = [
                np.where(frame.pbc, np.linalg.inv(frame.cell), 0.0) if frame.is_periodic else frame.cell * 0
                for frame in layout.frames
            ]
            cells = np.stack([frame.cell for frame in layout.frames])
            self._cell = layout.floats(cells).index_select(0, self._walker)
            self._to_fraction = layout.floats(np.stack(inverse)).index_select(0, self._walker)

    def __call__(self, positions: Tensor) -> Tensor:
        """Return the smallest distance of each walker, shape (n_walkers,), Å; NaN where a position is."""
        between = positions.index_select(0, self._i) - positions.index_select(0, self._j)
        if self._is_periodic:
            images = torch.bmm(between[:, None], self._to_fraction).round_()
            between = between - torch.bmm(images, self._cell)[:, 0]
        return self._far.scatter_reduce(0, self._walker, between.square().sum(1), "amin").sqrt()
