"""Energy and forces of a frame as one vector: its likelihood, and whether they err together (math 4, 8)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from al_engine.prediction import Array, Prediction
from al_engine.scores import mean


@dataclass(frozen=True)
class Joint:
    """How the squared Mahalanobis distances d² of (E, F) compare with chi² of 3N + 1 degrees of freedom.

    Attributes:
        mean_z2: Mean over frames of d² / (3N + 1); 1 is the target.
        nll_per_label: Negative log-likelihood of a label (energy and all forces of a frame), nats.
        coverage_90: Share of frames within the nominal 90 % region.
        ks_distance: Largest gap between the share of frames below a quantile of chi² and its level.
    """

    mean_z2: float
    nll_per_label: float
    coverage_90: float
    ks_distance: float

    @classmethod
    def of_distances(cls, distance: Array, log_det: Array, n_atoms: NDArray[np.int64]) -> Joint:
        """Compare d² of labeled frames, shape (n_frames,), with its law."""
        degrees = 3 * n_atoms + 1
        level = np.sort(chi2.cdf(distance, degrees))
        steps = np.arange(len(level) + 1) / max(len(level), 1)
        gaps = np.maximum(steps[1:] - level, level - steps[:-1])
        return cls(
            mean_z2=mean(distance / degrees),
            nll_per_label=mean(distance + log_det + degrees * math.log(2 * math.pi)) / 2,
            coverage_90=mean((distance <= chi2.ppf(0.9, degrees)).astype(np.float64)),
            ks_distance=float(gaps.max(initial=0.0)) if len(gaps) else math.nan,
        )


@dataclass(frozen=True)
class Coherence:
    """Correlation of energy with force errors, observed and as the covariance predicts it."""

    correlation_observed: float
    correlation_predicted: float


class LowRankCovariance:
    """The joint covariance of (E, F) of each frame, exact: diag(0, T) + U U^T.

    T = <tau_m²>, U has the columns (sigma_m, -g_m) / sqrt(M) of the noise and, for the total,
    (dE_m, dF_m) / sqrt(M) of the members. All at O(N M²), by K = 1 + U_F^T T^-1 U_F and

        E | F ~ N(U_E m, U_E K^-1 U_E^T),    m = K^-1 U_F^T T^-1 r_F
        d² = |T^-1/2 (r_F - U_F m)|² + |m|² + (r_E - U_E m)² / (U_E K^-1 U_E^T)
        log det = sum log T + log det K + log(U_E K^-1 U_E^T)
    """

    def __init__(self, prediction: Prediction, *, members: bool = True) -> None:
        """Factorize the total covariance, or, without `members`, the aleatoric one."""
        noise = prediction.force_noise.mean(axis=0)[:, None]
        of_energy = np.sqrt(prediction.noise_variance)
        of_forces = -prediction.noise_scale_gradient
        if members:
            of_energy = np.concatenate([of_energy, prediction.energy_deviation])
            of_forces = np.concatenate([of_forces, prediction.force_deviation])
        root_m = math.sqrt(len(prediction.member_energy))
        self._prediction, self._root_noise = prediction, np.sqrt(noise)
        self._of_energy = of_energy.T / root_m  # (n_frames, k)
        self._of_forces = (of_forces / (root_m * self._root_noise)).transpose(1, 0, 2)  # (n_atoms, k, 3)
        k = np.eye(len(of_energy)) + prediction.sum_over_atoms(
            self._of_forces @ self._of_forces.transpose(0, 2, 1)
        )
        broken = ~np.isfinite(k.sum(axis=(1, 2)))
        k[broken] = np.eye(len(of_energy))
        values, self._axes = np.linalg.eigh(k)
        self._values = np.maximum(values, 1.0)  # below 1 by rounding, where T is next to nothing
        half = self._half(self._of_energy)
        self._variance = np.where(broken, np.nan, (half**2).sum(axis=1))
        self.log_det: Array = (
            3 * prediction.sum_over_atoms(np.log(noise[:, 0]))
            + np.log(self._values).sum(axis=1)
            + np.log(self._variance)
        )

    def distance(self, r_energy: Array, r_forces: Array) -> Array:
        """Squared Mahalanobis distance of the errors of each frame, shape (n_frames,)."""
        whitened = r_forces / self._root_noise
        total = self._prediction.sum_over_atoms
        half = self._half(total((self._of_forces @ whitened[:, :, None])[:, :, 0]))
        m = np.einsum("fkj,fj->fk", self._axes, half / np.sqrt(self._values))
        rest = whitened - np.einsum("aki,ak->ai", self._of_forces, m[self._prediction.frame_index])
        of_energy = r_energy - (self._of_energy * m).sum(axis=1)
        squares = total((rest**2).sum(axis=1)) + (m**2).sum(axis=1)
        distance: Array = squares + of_energy**2 / self._variance
        return distance

    def _half(self, vectors: Array) -> Array:
        """Return K^-1/2 of vectors in the axes of K, shape (n_frames, k)."""
        turned: Array = np.einsum("fkj,fk->fj", self._axes, vectors) / np.sqrt(self._values)
        return turned


def coherence(prediction: Prediction, r_energy: Array, r_forces: Array) -> Coherence:
    """Correlation of r_E with its best linear trace in the forces.

    With V = Var E and c = Cov[E, F] = -1/2 grad V of the total, -(grad log sqrt(V) . r_F) = c . r_F / V.
    Its variance under the model is (c^T C_F c) / V², C_F with all its cross-atom terms (math 4):
    c^T C_F c = sum_a <tau_a²> |c_a|² + <(g_m . c)²> + <(dF_m . c)²>. Each factor is divided by its own
    predicted standard deviation, so that every frame counts alike and the dimension drops out,
        x = r_E / sqrt(V),   y = c . r_F / sqrt(c^T C_F c),   E[x y] = |c|² / sqrt(V c^T C_F c).
    Predicted is the mean of E[x y] over frames; observed is sum x y / sqrt(sum x² sum y²), about zero
    and not about the sample mean, since the model says that errors have mean zero. A common factor on
    all variances changes neither. Both are >= 0 where energy and forces err together.
    """
    total = prediction.total
    c, variance = total.energy_force_covariance, total.energy_variance

    def projected(vectors: Array) -> Array:
        return prediction.sum_over_atoms((vectors * c).sum(axis=1))

    spread = prediction.sum_over_atoms(prediction.force_noise.mean(axis=0) * (c**2).sum(axis=1))
    for directions in (prediction.noise_scale_gradient, prediction.force_deviation):
        spread = spread + np.mean([projected(d) ** 2 for d in directions], axis=0)
    x, y = r_energy / np.sqrt(variance), projected(r_forces) / np.sqrt(spread)
    expected = projected(c) / np.sqrt(variance * spread)
    used = ~np.isnan(x) & ~np.isnan(y)
    if used.sum() < 2:
        return Coherence(math.nan, math.nan)
    x, y = x[used], y[used]
    observed = float(x @ y / np.sqrt((x @ x) * (y @ y)))
    return Coherence(observed, mean(expected[used]))
