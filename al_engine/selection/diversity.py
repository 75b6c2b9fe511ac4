"""Greedy choice of a batch that is uncertain, varied, and not yet known (math 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from al_engine.config import Diversity
from al_engine.selection.descriptors import nearest

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Pick(NamedTuple):
    """A chosen row, the merit it was chosen for, and its distance at that time."""

    row: int
    merit: float
    distance: float


@dataclass(frozen=True)
class Pool:
    """Frames to choose from.

    Attributes:
        scores: Not negative, finite, shape (n_rows,).
        features: Whitened descriptors, shape (n_rows, n_features); NaN where there are none.
        distances: To the nearest known frame, shape (n_rows,); inf where there is none.
        nearest: Number of that frame, shape (n_rows,); -1 where it is not known which.
        free: Rows that may be chosen, shape (n_rows,).
    """

    scores: Array
    features: NDArray[np.float32]
    distances: Array
    nearest: NDArray[np.int64]
    free: Mask


class Choice(NamedTuple):
    """The picks in order, the merit of each row after the last, and which free rows are near-duplicates."""

    picks: list[Pick]
    merit: Array
    too_near: Mask


def choose(pool: Pool, n: int, diversity: Diversity, min_distance: float = 0.0) -> Choice:
    """Choose up to n rows, one after the other; O(n_rows n).

    The distance of a row is that to the nearest known or chosen one; where it is below `min_distance`, the
    row is a near-duplicate and cannot be chosen. Merit by diversity:

    - `distance`: score times distance;
    - `none`: the score;
    - `farthest`: the distance, whatever the score;
    - `lcmd`: the distance, within the largest cluster: free rows belong to their nearest known or chosen
      frame, and the size of a cluster is the sum of their squared distances (largest cluster maximum
      distance, Holzmueller et al., JMLR 24, 164 (2023), with the training set among the centers).

    Where merits are equal the farther row comes first, then the earlier one. A distance that is not
    finite (nothing known, no descriptor) counts as 1.
    """
    distances, center = np.where(np.isnan(pool.distances), np.inf, pool.distances), pool.nearest.copy()
    free, too_near = pool.free.copy(), np.zeros_like(pool.free)
    picks: list[Pick] = []
    while True:
        near = free & (distances < min_distance)
        free, too_near = free & ~near, too_near | near
        weight = np.where(np.isinf(distances), 1.0, distances)
        match diversity:
            case "distance":
                merit = pool.scores * weight
            case "none":
                merit = pool.scores
            case "farthest" | "lcmd":
                merit = weight
        if len(picks) >= n or not free.any():
            return Choice(picks, merit, too_near)
        among = free & _largest_cluster(center, weight, free) if diversity == "lcmd" else free
        best = np.flatnonzero(among & (merit == merit[among].max()))
        row = int(best[weight[best].argmax()])
        picks.append(Pick(row, float(merit[row]), float(distances[row])))
        free[row] = False
        to_row, _ = nearest(pool.features, pool.features[row : row + 1])
        closer = to_row < distances
        distances[closer], center[closer] = to_row[closer], pool.nearest.max(initial=-1) + len(picks)


def _largest_cluster(center: NDArray[np.int64], distances: Array, free: Mask) -> Mask:
    """Return the rows whose center has the largest sum of squared distances of free rows."""
    names, place = np.unique(center, return_inverse=True)
    sizes = np.bincount(place, np.where(free, distances, 0.0) ** 2, len(names))
    here: Mask = place == np.argmax(np.where(np.bincount(place, free, len(names)) > 0, sizes, -1.0))
    return here
