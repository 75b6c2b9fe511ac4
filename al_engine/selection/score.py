"""Scores of frames: what their labels would tell of the ensemble, and every uncertainty as a record."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from al_engine.joint import LowRankCovariance
from al_engine.prediction import Prediction
from al_engine.records import Uncertainty

Array = NDArray[np.float64]


def information(prediction: Prediction) -> Array:
    """Information of a label (energy and all forces) about which member is right, in nats.

    I = 1/2 log det C_tot - 1/(2M) sum_m log det C_m (math 4), where C_m = diag(0, tau_m^2) + u_m u_m^T,
    u_m = (sigma_m, -g_m), and C_tot is that of `LowRankCovariance`:

        log det C_m = log sigma_m^2 + sum log tau_m^2

    Returns:
        Shape (n_frames,); never negative, 0 where all members say the same.
    """
    log_det_members = np.log(prediction.noise_variance).mean(axis=0) + 3 * prediction.sum_over_atoms(
        np.log(prediction.force_noise).mean(axis=0)
    )
    log_det_total = LowRankCovariance(prediction).log_det
    nats: Array = np.maximum(0.5 * (log_det_total - log_det_members), 0.0)  # rounding may dip below zero
    return nats


def uncertainties(prediction: Prediction) -> list[Uncertainty]:
    """Return the record of each frame, in order."""
    parts = (prediction.total, prediction.aleatoric, prediction.epistemic)
    columns = [
        *(part.energy_sd for part in parts),
        *(prediction.max_over_atoms(part.force_sd) for part in parts),
        prediction.sum_over_atoms(prediction.total.force_sd) / prediction.n_atoms,
        information(prediction),
    ]
    return [Uncertainty(*row) for row in np.stack(columns, axis=1).tolist()]
