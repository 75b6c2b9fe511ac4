"""Greedy choice: the largest score times distance to whatever is known or already chosen (math 11)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from al_engine.selection.descriptors import nearest_distance

Array = NDArray[np.float64]


class Pick(NamedTuple):
    """A chosen row, the merit it was chosen for, and its distance at that time."""

    row: int
    merit: float
    distance: float


def pick(
    scores: Array, features: NDArray[np.float32] | None, distances: Array, free: NDArray[np.bool_], n: int
) -> tuple[list[Pick], Array]:
    """Choose up to n rows, one after the other; O(n_rows n).

    Where merits are equal the farther row comes first, then the earlier one: with scores of zero this is
    farthest-point sampling. A distance that is not finite (nothing known, no descriptor) counts as 1.

    Args:
        scores: Not negative, finite, shape (n_rows,).
        features: Shape (n_rows, n_features); None to go by the score alone.
        distances: To the nearest known frame, shape (n_rows,).
        free: Rows that may be chosen, shape (n_rows,).
        n: How many.

    Returns:
        The picks in order, and the merit of each row after the last of them, shape (n_rows,).
    """
    nearest, free = np.where(np.isnan(distances), np.inf, distances), free.copy()
    picks: list[Pick] = []
    while True:
        weight = np.ones_like(scores) if features is None else np.where(np.isinf(nearest), 1.0, nearest)
        merit = scores * weight
        if len(picks) >= n or not free.any():
            return picks, merit
        best = np.flatnonzero(free & (merit == merit[free].max()))
        row = int(best[weight[best].argmax()])
        picks.append(Pick(row, float(merit[row]), float(nearest[row])))
        free[row] = False
        if features is not None:
            nearest = np.fmin(nearest, nearest_distance(features, features[row : row + 1]))
