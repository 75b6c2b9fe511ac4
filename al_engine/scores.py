"""How well predicted deviations describe errors: the measures of math 8, on plain arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, norm, rankdata

Array = NDArray[np.float64]

LEVELS = tuple(np.linspace(0.05, 0.95, 19).round(2).tolist())
"""Nominal levels of a reliability curve."""


@dataclass(frozen=True)
class Calibration:
    """How well predicted deviations describe errors; NaN where undefined.

    Attributes:
        mean_z2: Mean of z² = (error / sd)²; 1 is the target.
        nll: Negative log-likelihood of the normal distribution, nats a number.
        ence: Mean over bins of |RMV - RMSE| / RMV; bins of equal count, sorted by the deviation.
        spearman: Rank correlation of the sizes of errors and deviations.
        coverage_90: Share of the errors within the nominal 90 % region.
        auroc_worst_10_percent: Probability that one of the worst tenth has a larger deviation than one
            of the others.
    """

    mean_z2: float
    nll: float
    ence: float
    spearman: float
    coverage_90: float
    auroc_worst_10_percent: float


@dataclass(frozen=True)
class Reliability:
    """What is drawn to see a calibration: promised beside observed.

    Attributes:
        nominal: Levels of central intervals.
        observed: Share of errors within them.
        rmv: Root of the mean predicted variance of each bin of `Calibration.ence`, in the errors' unit.
        rmse: Root mean square error of the bin.
    """

    nominal: tuple[float, ...]
    observed: tuple[float, ...]
    rmv: tuple[float, ...]
    rmse: tuple[float, ...]


@dataclass(frozen=True)
class NormalErrors:
    """Errors beside the normal distribution predicted for them: n vectors of d numbers.

    Deviations of zero give infinite scores, and NumPy's warnings.

    Attributes:
        error: Along the principal axes of the predicted covariance, shape (n, d).
        sd: The deviations along these axes, shape (n, d).
    """

    error: Array
    sd: Array

    @classmethod
    def of_numbers(cls, error: Array, sd: Array) -> NormalErrors:
        """Take numbers one by one (d = 1)."""
        return cls(error.reshape(-1, 1), sd.reshape(-1, 1))

    @classmethod
    def of_vectors(cls, error: Array, covariance: Array) -> NormalErrors:
        """Take vectors, shape (n, d), with their covariance, shape (n, d, d).

        A variance below 1e-12 of the largest is rounding: it is 0. A covariance that is not finite
        gives NaN.
        """
        broken = ~np.isfinite(covariance.sum(axis=(1, 2)))
        values, axes = np.linalg.eigh(np.where(broken[:, None, None], 0.0, covariance))
        values[values <= 1e-12 * values[:, -1:]] = 0.0
        values[broken] = np.nan
        return cls(np.einsum("aij,ai->aj", axes, error), np.sqrt(values))

    def of(self, chosen: NDArray[np.bool_]) -> NormalErrors:
        """Keep the vectors where `chosen`, shape (n,), is true."""
        return NormalErrors(self.error[chosen], self.sd[chosen])

    @cached_property
    def z2(self) -> Array:
        """Squared Mahalanobis distance of each vector, shape (n,); chi² with d degrees if all is right."""
        distance: Array = ((self.error / self.sd) ** 2).sum(axis=1)
        return distance

    @cached_property
    def log_det(self) -> Array:
        """Log-determinant of each covariance, shape (n,)."""
        value: Array = 2 * np.log(self.sd).sum(axis=1)
        return value

    @cached_property
    def size(self) -> Array:
        """Root mean square of the d errors, shape (n,)."""
        rms: Array = np.sqrt((self.error**2).mean(axis=1))
        return rms

    @cached_property
    def scale(self) -> Array:
        """Predicted root mean square of the d errors, shape (n,): sqrt(trace / d)."""
        rms: Array = np.sqrt((self.sd**2).mean(axis=1))
        return rms

    def calibration(self) -> Calibration:
        """Measure everything that has no unit."""
        d: int = self.error.shape[1]
        rmv, rmse = self._bins()
        return Calibration(
            mean_z2=mean(self.z2) / d,
            nll=mean(self.z2 + self.log_det) / (2 * d) + 0.5 * math.log(2 * math.pi),
            ence=mean(np.abs(rmv - rmse) / rmv),
            spearman=spearman(self.size, self.scale),
            coverage_90=self.coverage(0.9),
            auroc_worst_10_percent=auroc_worst_10_percent(self.size, self.scale),
        )

    def coverage(self, level: float) -> float:
        """Share of vectors within the region of highest density that holds `level` if all is right."""
        return mean((self.z2 <= chi2.ppf(level, self.error.shape[1])).astype(np.float64))

    def crps(self) -> float:
        """Mean continuous ranked probability score of the numbers along the axes, in their unit.

        sd [z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)] for a normal distribution; an error known
        exactly scores its size (Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007)).
        """
        z = self.error / self.sd
        score = z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi)
        return mean(np.where(self.sd == 0, np.abs(self.error), self.sd * score).ravel())

    def reliability(self) -> Reliability:
        """Return what a calibration plot shows."""
        rmv, rmse = self._bins()
        observed = tuple(self.coverage(level) for level in LEVELS)
        return Reliability(LEVELS, observed, tuple(rmv.tolist()), tuple(rmse.tolist()))

    def _bins(self) -> tuple[Array, Array]:
        """RMV and RMSE of up to 10 bins of equal count, 20 errors each at least.

        ENCE is biased upwards by about sqrt(n_bins / (pi n)), so a bin must not be small.
        """
        n = len(self.size)
        bins = np.array_split(np.argsort(self.scale, kind="stable"), min(10, max(1, n // 20)))
        rmv, rmse = ([math.sqrt(mean(x[b] ** 2)) for b in bins] for x in (self.scale, self.size))
        return np.array(rmv), np.array(rmse)


def mean(values: Array) -> float:
    """Mean; NaN of nothing."""
    return float(values.mean()) if len(values) else math.nan


def spearman(a: Array, b: Array) -> float:
    """Rank correlation; NaN with fewer than two values or where one of them is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0 or not np.isfinite(a + b).all():
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def auroc_worst_10_percent(sizes: ArrayLike, deviations: ArrayLike) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); positives: sizes >= 90th percentile."""
    error, score = np.asarray(sizes, np.float64), np.asarray(deviations, np.float64)
    if len(error) < 2 or not np.isfinite(error + score).all():
        return math.nan
    worst = error >= np.quantile(error, 0.9)
    n_worst, n_other = int(worst.sum()), int((~worst).sum())
    if n_other == 0:
        return math.nan
    rank_sum = float(rankdata(score)[worst].sum())
    return (rank_sum - n_worst * (n_worst + 1) / 2) / (n_worst * n_other)
