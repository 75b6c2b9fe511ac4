"""Predictions made up from factors, and labels drawn from their own total covariance."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from al_engine.prediction import Array, Prediction


def prediction_of(
    rng: np.random.Generator, sizes: Sequence[int], n_members: int = 4, gradient: float = 1.0
) -> Prediction:
    """Random factors of varied size; `gradient` scales grad sigma² and the members' disagreement."""
    frame = np.repeat(np.arange(len(sizes)), sizes)
    n_frames, n_atoms = len(sizes), len(frame)
    sigma = 0.1 * np.exp(0.5 * rng.normal(size=(n_members, n_frames)))
    g = 0.1 * gradient * rng.normal(size=(n_members, n_atoms, 3))
    spread = gradient * np.exp(0.7 * rng.normal(size=n_frames))
    return Prediction(
        frame_index=frame,
        member_energy=-50 + 0.2 * spread * rng.normal(size=(n_members, n_frames)),
        member_forces=0.2 * spread[frame, None] * rng.normal(size=(n_members, n_atoms, 3)),
        noise_variance=sigma**2,
        noise_gradient=2 * sigma[:, frame, None] * g,
        force_noise=0.15**2 * np.exp(0.7 * rng.normal(size=(n_members, n_atoms))),
        epistemic_scale=1.0,
        features=np.zeros((n_frames, 1)),
    )


def scaled(prediction: Prediction, s: float, t: float, e: float) -> Prediction:
    """The prediction as an ensemble with the scales (s, t, e) would give it."""
    return replace(
        prediction,
        noise_variance=s * prediction.noise_variance,
        noise_gradient=s * prediction.noise_gradient,
        force_noise=t * prediction.force_noise,
        epistemic_scale=e,
    )


def labels_of(prediction: Prediction, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw energies and forces from the joint normal of mean and total covariance, by its factors."""
    n_members, n_frames = prediction.member_energy.shape
    noise, member = rng.normal(size=(2, n_members, n_frames)) / np.sqrt(n_members)
    frame = prediction.frame_index
    energy = (noise * np.sqrt(prediction.noise_variance) + member * prediction.energy_deviation).sum(axis=0)
    forces = np.sqrt(prediction.force_noise.mean(axis=0))[:, None] * rng.normal(size=(len(frame), 3))
    forces -= (noise[:, frame, None] * prediction.noise_scale_gradient).sum(axis=0)
    forces += (member[:, frame, None] * prediction.force_deviation).sum(axis=0)
    return prediction.energy + energy, prediction.forces + forces


def turned(prediction: Prediction, rotation: Array) -> Prediction:
    """The prediction for the same frames turned in space."""
    return replace(
        prediction,
        member_forces=prediction.member_forces @ rotation.T,
        noise_gradient=prediction.noise_gradient @ rotation.T,
    )


def two_frames() -> Prediction:
    """One atom and two atoms; energies 0, sd 0.2 eV; forces 0, sd 0.1 eV/Å; no gradient, no spread."""
    return Prediction(
        frame_index=np.array([0, 1, 1]),
        member_energy=np.zeros((2, 2)),
        member_forces=np.zeros((2, 3, 3)),
        noise_variance=np.full((2, 2), 0.04),
        noise_gradient=np.zeros((2, 3, 3)),
        force_noise=np.full((2, 3), 0.01),
        epistemic_scale=1.0,
        features=np.zeros((2, 1)),
    )
