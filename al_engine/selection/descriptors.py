"""Descriptors that make distances between frames comparable: projected at random, whitened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist

Features = NDArray[np.float32]

RIDGE = 1e-3
"""Added to each variance, relative to their mean: a direction that the training set does not span counts
at most about 30 times as much as an average one."""
_CHUNK = 2048


def whitened(
    training: NDArray[np.float64], features: NDArray[np.float64], rng: np.random.Generator, n: int = 32
) -> tuple[Features, Features]:
    """Project descriptors at random and whiten them by the covariance of the training set.

    Args:
        training: Descriptors of the training set (`Prediction.features`), shape (n_training, n_features).
        features: Those of the candidates, shape (n_candidates, n_features).
        rng: Draws the Gaussian projection.
        n: Components to keep at most; also at most half as many as training frames, so that their
            covariance can be estimated.

    Returns:
        Whitened training set and candidates, shapes (n_training, k) and (n_candidates, k), float32.

    Raises:
        ValueError: No training frame.
    """
    if len(training) == 0:
        raise ValueError("whitening needs at least one training frame")
    k = max(1, min(n, training.shape[1], len(training) // 2))
    projection = rng.standard_normal((training.shape[1], k)) / np.sqrt(training.shape[1])
    center = training.mean(axis=0)
    known, new = (training - center) @ projection, (features - center) @ projection
    covariance = known.T @ known / len(known)
    scale = np.trace(covariance) / k or 1.0
    lower = np.linalg.cholesky(covariance + RIDGE * scale * np.eye(k))

    def whiten(x: NDArray[np.float64]) -> Features:
        white: Features = solve_triangular(lower, x.T, lower=True).T.astype(np.float32)
        return white

    return whiten(known), whiten(new)


def nearest(features: Features, known: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return distance and number of the row of `known` that is nearest to each row of `features`.

    Where there is none, or a descriptor is NaN, the distance is infinite and the number -1.
    """
    distances, rows = np.full(len(features), np.inf), np.full(len(features), -1)
    for at in range(0, len(features) if len(known) else 0, _CHUNK):
        table = np.nan_to_num(cdist(features[at : at + _CHUNK], known), nan=np.inf)
        rows[at : at + _CHUNK] = table.argmin(axis=1)
        distances[at : at + _CHUNK] = table.min(axis=1)
    rows[np.isinf(distances)] = -1
    return distances, rows
