"""The training loop: squared errors, then the coherent likelihood; averaged weights, best by fold."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from al_engine.config import Training
from al_engine.errors import AlEngineError
from al_engine.model.potential import StackedPotential
from al_engine.progress import Progress, silent
from al_engine.training.batches import batch_limits, frame_order
from al_engine.training.dataset import Dataset
from al_engine.training.fold import FoldResiduals, fold_residuals, start_noise
from al_engine.training.optimizer import Optimizer
from al_engine.training.readout import fit_readout
from al_engine.training.step import GradientStep

LOG_COLUMNS = ("step", "learning_rate", "loss", "fold_energy_rmse", "fold_force_rmse", "fold_nll")
"""Energy errors in eV/atom, forces in eV/Å, likelihoods in nats a label; `fold_`: out-of-fold member."""

COMPILE_FROM = 5e6
"""Atoms times members times steps from which a compiled step pays: about ten minutes of one core."""
_N_CHECKS = 20
_FRAMES_PER_CHECK = 100
"""Frames are in the order of their hashes, so the first ones are a sample at random."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves besides the weights in the network."""

    log: NDArray[np.float64]
    fold: FoldResiduals


def train(
    net: StackedPotential,
    dataset: Dataset,
    settings: Training,
    seed: int,
    progress: Progress = silent,
) -> TrainingResult:
    """Train all members in place; the weights kept are averaged ones, best by out-of-fold loss.

    Args:
        net: Fresh networks.
        dataset: Frames with folds; member m never learns from fold m.
        settings: Lengths and rates.
        seed: Of the order of the frames.
        progress: Told at each check.
    """
    device, dtype = next(net.parameters()).device, next(net.parameters()).dtype
    fit_readout(net, dataset, settings.energy_weight)
    optimizer = Optimizer(net)
    averaged = copy.deepcopy(net).requires_grad_(False)
    n_warmup = settings.n_steps
    if settings.objective != "mse":
        n_warmup = max(1, round(settings.warmup_share * settings.n_steps))
    check_every = max(1, settings.n_steps // _N_CHECKS)
    best, best_state = math.inf, net.state_dict()
    log: list[list[float]] = []
    running = torch.zeros((), device=device)
    limits = batch_limits(dataset.n_atoms, settings.batch_size, settings.max_atoms_per_batch)
    order = frame_order(dataset.n_atoms, limits, seed)
    is_long = settings.n_steps * limits.n_atoms * net.arch.n_members > COMPILE_FROM
    compiled = is_long if settings.compile is None else settings.compile
    shape = dataset.shape(limits.n_frames, limits.n_atoms) if compiled else None
    gradients = GradientStep(net, settings, compiled=compiled)
    for step in range(1, settings.n_steps + 1):
        if step == n_warmup + 1:
            net.load_state_dict(averaged.state_dict())
            start_noise(net, fold_residuals(net, dataset, with_noise=False), dataset)
            averaged.load_state_dict(net.state_dict())
        batch = dataset.batch(next(order), device=device, dtype=dtype, shape=shape)
        likelihood = step > n_warmup
        rate = settings.learning_rate * _schedule(step / settings.n_steps)
        loss = gradients(batch, likelihood=likelihood)
        optimizer.step(rate)
        _move_average(averaged, net, settings.ema_decay)
        running += loss
        if step % check_every == 0 or step == settings.n_steps:
            fold = fold_residuals(averaged, dataset, with_noise=likelihood, most=_FRAMES_PER_CHECK)
            energy_rmse = float(np.sqrt(np.mean((fold.energy / fold.frame_n_atoms) ** 2)))
            force_rmse = float(np.sqrt(np.mean(fold.coupled**2)))
            log.append([step, rate, float(running) / check_every, energy_rmse, force_rmse, fold.nll])
            running = torch.zeros((), device=device)
            criterion = fold.nll if likelihood else force_rmse
            if (likelihood or n_warmup == settings.n_steps) and criterion < best:
                best = criterion
                best_state = {k: v.clone() for k, v in averaged.state_dict().items()}
            news = f"out of fold: {1000 * energy_rmse:.1f} meV/atom, {1000 * force_rmse:.0f} meV/Å"
            progress(step, settings.n_steps, news)
    if not math.isfinite(best):
        raise AlEngineError(
            f"the training diverged: no finite out-of-fold loss in {settings.n_steps} steps; use a smaller "
            f"training.learning_rate than {settings.learning_rate}, or look for wrong labels"
        )
    net.load_state_dict(best_state)
    if n_warmup == settings.n_steps:
        start_noise(net, fold_residuals(net, dataset, with_noise=False), dataset)
    return TrainingResult(np.array(log), fold_residuals(net, dataset, with_noise=True))


def _schedule(share: float) -> float:
    """Linear rise over the first 2 %, then half a cosine to 2 %."""
    rise = min(1.0, share / 0.02)
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def _move_average(averaged: StackedPotential, net: StackedPotential, decay: float) -> None:
    """Move the averaged weights toward the newest ones."""
    torch._foreach_lerp_(list(averaged.parameters()), list(net.parameters()), 1 - decay)
