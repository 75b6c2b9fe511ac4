"""Recalibration: the three scales of the covariance, and conformal quantiles (math 8, 9)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from al_engine.prediction import Array, Prediction

PRIOR_VARIANCE = (7.0, 7.0, 2.0)
"""Of log s, log t, log e about their start, beside the squared standard error of the start.

A provisional s or t holds one member's whole error. Labels of a deterministic method have next to no
noise, so the share u of it that stays noise lies anywhere between all and a hundredth: u log-uniform
on (0.01, 1) has <(log u)²> = (log 100)² / 3 = 7. For e, M members about the truth give 1 / (M - 1) and
a truth that is one more member (M + 1) / (M - 1), 0.33 and 1.7 for M = 4, and frames far from the data
needed up to 10: a factor exp(sqrt(2)) = 4 either way.
"""


@dataclass(frozen=True)
class Scales:
    """Factors on the ensemble's covariance: C = C_al(s, t) + e C_ep.

    Attributes:
        s: On sigma², the energy noise (and with it on g g^T and Cov[E, F]).
        t: On tau², the local force noise.
        e: On the members' covariance.
        errors: Standard errors of log s, log t, log e.
        source: What they rest on: "uncalibrated", "out-of-fold", "audit", ...
    """

    s: float
    t: float
    e: float
    errors: tuple[float, float, float]
    source: str


@dataclass(frozen=True)
class _Terms:
    """Independent normal terms N(residual; 0, sum_p scale_p part_p), d numbers each.

    Attributes:
        residual: Shape (n_terms, d).
        parts: Covariance that s, t and e multiply, shape (3, n_terms, d, d).
        weight: Of each term in the likelihood, shape (n_terms,).
        frame: Frame of each term, shape (n_terms,).
    """

    residual: Array
    parts: Array
    weight: Array
    frame: NDArray[np.int64]

    def value(self, theta: Array) -> float:
        """Weighted log-likelihood at theta = log(s, t, e), without constants."""
        covariance = np.tensordot(np.exp(theta), self.parts, axes=1)
        whitened = np.linalg.solve(covariance, self.residual[..., None])[..., 0]
        mahalanobis = (self.residual * whitened).sum(axis=1)
        return float(self.weight @ (mahalanobis + np.linalg.slogdet(covariance)[1])) / -2

    def derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Weighted scores of each term, shape (n_terms, 3), and the Fisher information, shape (3, 3)."""
        scaled = np.exp(theta)[:, None, None, None] * self.parts
        inverse = np.linalg.inv(scaled.sum(axis=0))
        whitened = np.einsum("nij,nj->ni", inverse, self.residual)
        relative = inverse @ scaled  # C^-1 dC/dtheta_p
        score = np.einsum("ni,pnij,nj->np", whitened, scaled, whitened)
        score -= np.einsum("pnii->np", relative)
        information = np.einsum("n,pnij,qnji->pq", self.weight, relative, relative)
        return self.weight[:, None] * score / 2, information / 2


def fit_scales(
    prediction: Prediction, energies: ArrayLike, forces: ArrayLike, start: Scales, source: str = "audit"
) -> Scales:
    """Fit (s, t, e) by the likelihood of the ensemble's total covariance about its mean (math 9).

    Energies are N(r_E; 0, s <sigma²> + e P), the forces of each atom
    N(r_F,a; 0, s <g g^T> + t <tau²> I + e Cov_ep F_a), each parameter a logarithm with a normal prior
    about `start` of variance PRIOR_VARIANCE + (its standard error)². Atoms of one frame err together,
    so the frame is the unit: its force terms are averaged over its atoms and weigh as much as one
    atom's three components. That errs on the side of `start` where frames are few; frames of every
    size then count alike, and large ones do not drown the energies.

    The standard errors are robust to what the likelihood leaves out, with frames as clusters:
    B^-1 (J + W) B^-1 with B = I + W, I the expected Hessian, W the prior's precision and J the variance
    of the score: n / (n - 1) times the sum over the n frames of the outer product of their scores,
    averaged with I as if that were three more frames (with few frames the sum alone is far too small).
    Without information they are the prior's width.

    Args:
        prediction: With s = t = e = 1 applied, on frames that no member was trained on.
        energies: Shape (n_frames,), eV; NaN where missing.
        forces: Shape (n_atoms, 3), eV/Å; NaN where missing.
        start: Provisional scales.
        source: What the new scales will be said to rest on.

    Raises:
        ValueError: The prediction is already scaled or not finite, or a start is not positive.
    """
    if prediction.epistemic_scale != 1.0 or min(start.s, start.t, start.e) <= 0:
        raise ValueError(f"scales need e = 1 and a positive start, got {prediction.epistemic_scale}, {start}")
    terms = _terms(prediction, np.asarray(energies, np.float64), np.asarray(forces, np.float64))
    n_frames = len(np.unique(np.concatenate([term.frame for term in terms])))
    if n_frames == 0:
        return start
    center = np.log([start.s, start.t, start.e])
    precision = np.diag(1 / (np.array(PRIOR_VARIANCE) + np.square(start.errors)))

    def loss(theta: Array) -> float:
        prior = (theta - center) @ precision @ (theta - center) / 2
        return float(prior) - sum(term.value(theta) for term in terms)

    def gradient(theta: Array) -> Array:
        score = sum(term.derivatives(theta)[0].sum(axis=0) for term in terms)
        slope: Array = precision @ (theta - center) - score
        return slope

    def hessian(theta: Array) -> Array:
        return precision + sum(term.derivatives(theta)[1] for term in terms)

    options = {"initial_trust_radius": 1.0, "max_trust_radius": 4.0}
    theta = minimize(loss, center, jac=gradient, hess=hessian, method="trust-exact", options=options).x
    by_frame = np.zeros((prediction.n_frames, 3))
    for term in terms:
        np.add.at(by_frame, term.frame, term.derivatives(theta)[0])
    clusters = by_frame.T @ by_frame * n_frames / max(n_frames - 1, 1)
    curvature = hessian(theta)
    variance = (n_frames * clusters + 3 * (curvature - precision)) / (n_frames + 3)
    inverse = np.linalg.inv(curvature)
    errors = np.sqrt(np.diag(inverse @ (variance + precision) @ inverse))
    s_error, t_error, e_error = errors.tolist()
    s, t, e = np.exp(theta).tolist()
    return Scales(s, t, e, (s_error, t_error, e_error), source)


def conformal_quantile(errors: ArrayLike, sds: ArrayLike, level: float) -> float:
    """Factor q such that |error| <= q sd for a new frame with probability >= `level`.

    Split conformal: the ceil((n + 1) level)-th smallest of |error| / sd of n frames that are
    exchangeable with the new one; inf where n is too small for the level. A ratio that is not a number
    counts as the largest.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.abs(np.asarray(errors, np.float64)) / np.asarray(sds, np.float64)
    ratios = np.sort(np.nan_to_num(ratios, nan=np.inf, posinf=np.inf))
    k = math.ceil((len(ratios) + 1) * level - 1e-9)
    return float(ratios[k - 1]) if k <= len(ratios) else math.inf


def force_sd_threshold(errors: ArrayLike, sds: ArrayLike, tolerance: float, level: float = 0.9) -> float:
    """Largest predicted force sd of a frame whose largest force error is promised to be in the tolerance.

    tolerance / q with q of `conformal_quantile`. For a new frame that is exchangeable with these, to be
    above the tolerance although its sd is within the threshold has a probability <= 1 - `level`,
    whatever the distributions are. 0, so no frame at all, where the frames are too few for the level.

    Args:
        errors: Largest error of a force component of each audited frame (`max_force_errors`), eV/Å.
        sds: Largest force sd of its atoms, by the same ensemble, eV/Å.
        tolerance: What the user wants the largest force error to be, eV/Å.
        level: Of the promise.

    Returns:
        Threshold on the largest force sd of a frame, eV/Å.
    """
    factor = conformal_quantile(errors, sds, level)
    return tolerance / factor if factor > 0 else math.inf


def _terms(prediction: Prediction, energies: Array, forces: Array) -> tuple[_Terms, _Terms]:
    """Build the terms of the labels that are there: energies (d = 1) and atoms (d = 3)."""
    aleatoric, epistemic = prediction.aleatoric, prediction.epistemic
    noise = prediction.force_noise.mean(axis=0)[:, None, None] * np.eye(3)
    zero = np.zeros(prediction.n_frames)
    energy_parts = np.stack([aleatoric.energy_variance, zero, epistemic.energy_variance])
    force_parts = np.stack([aleatoric.force_covariance - noise, noise, epistemic.force_covariance])
    has_energy, has_forces = np.isfinite(energies), np.isfinite(forces.sum(axis=1))
    frame = prediction.frame_index[has_forces]
    n_atoms = np.bincount(frame, minlength=prediction.n_frames)
    terms = (
        _Terms(
            (energies - prediction.energy)[has_energy, None],
            energy_parts[:, has_energy, None, None],
            np.ones(int(has_energy.sum())),
            np.flatnonzero(has_energy),
        ),
        _Terms(
            (forces - prediction.forces)[has_forces],
            force_parts[:, has_forces],
            1 / n_atoms[frame],
            frame,
        ),
    )
    if not all(np.isfinite(term.residual).all() and np.isfinite(term.parts).all() for term in terms):
        raise ValueError("the prediction holds a value that is not finite")
    return terms
