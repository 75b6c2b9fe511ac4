"""Scores of frames: what their labels would tell of the ensemble, and every uncertainty as a record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from al_engine.prediction import Prediction
from al_engine.records import Uncertainty

Array = NDArray[np.float64]


def information(prediction: Prediction) -> Array:
    """Information of a label (energy and all forces) about which member is right, in nats.

    I = 1/2 log det C_tot - 1/(2M) sum_m log det C_m (math 4), where C_m = diag(0, tau_m^2) + u_m u_m^T,
    u_m = (sigma_m, -g_m), and C_tot = diag(0, T) + U U^T, T = <tau_m^2>, with 2M columns u_m / sqrt(M)
    and (dE_m, dF_m) / sqrt(M). Exact: by the Schur complement of the energy and Woodbury's identity

        log det C_tot = sum log T + log det K + log(U_E K^-1 U_E^T),    K = 1 + U_F^T T^-1 U_F  (2M x 2M)
        log det C_m   = log sigma_m^2 + sum log tau_m^2

    Returns:
        Shape (n_frames,); never negative, 0 where all members say the same.
    """
    sum_atoms = _over_frames(prediction, np.add)
    root_m = np.sqrt(len(prediction.member_energy))
    noise = prediction.force_noise.mean(axis=0)
    of_energy = np.concatenate([np.sqrt(prediction.noise_variance), prediction.energy_deviation]) / root_m
    of_forces = np.concatenate([-prediction.noise_scale_gradient, prediction.force_deviation]) / root_m
    scaled = (of_forces / np.sqrt(noise)[:, None]).transpose(1, 0, 2)  # (n_atoms, 2M, 3)
    k = np.eye(len(of_energy)) + sum_atoms(scaled @ scaled.transpose(0, 2, 1))
    lower = np.linalg.cholesky(k)
    half = np.linalg.solve(lower, of_energy.T[:, :, None])[:, :, 0]
    log_det_total = (
        3 * sum_atoms(np.log(noise))
        + 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        + np.log((half**2).sum(axis=1))
    )
    log_det_members = np.log(prediction.noise_variance).mean(axis=0) + 3 * sum_atoms(
        np.log(prediction.force_noise).mean(axis=0)
    )
    nats: Array = np.maximum(0.5 * (log_det_total - log_det_members), 0.0)  # rounding may dip below zero
    return nats


def uncertainties(prediction: Prediction) -> list[Uncertainty]:
    """Return the record of each frame, in order."""
    largest, total = _over_frames(prediction, np.maximum), _over_frames(prediction, np.add)
    parts = (prediction.total, prediction.aleatoric, prediction.epistemic)
    n_atoms = total(np.ones(len(prediction.frame_index)))
    columns = [
        *(part.energy_sd for part in parts),
        *(largest(part.force_sd) for part in parts),
        total(prediction.total.force_sd) / n_atoms,
        information(prediction),
    ]
    return [Uncertainty(*row) for row in np.stack(columns, axis=1).tolist()]


def _over_frames(prediction: Prediction, ufunc: np.ufunc) -> Callable[[Array], Array]:
    """Return a reduction of per-atom values, atoms first, to one value a frame.

    Raises:
        ValueError: The atoms are not sorted by frame, or a frame has none.
    """
    first = np.flatnonzero(np.diff(prediction.frame_index, prepend=-1))
    if not np.array_equal(prediction.frame_index[first], np.arange(prediction.n_frames)):
        raise ValueError("the atoms of a prediction must be sorted by frame, and no frame may be empty")

    def reduce(values: Array) -> Array:
        reduced: Array = ufunc.reduceat(values, first, axis=0)
        return reduced

    return reduce
