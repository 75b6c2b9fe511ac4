"""The training loop: squared errors, then the coherent likelihood; averaged weights, best by fold."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from al_engine.config import Training
from al_engine.errors import AlEngineError
from al_engine.model.potential import StackedPotential
from al_engine.progress import Progress, silent
from al_engine.training.dataset import Dataset, TrainingBatch
from al_engine.training.fold import FoldResiduals, fold_residuals, start_noise
from al_engine.training.objective import coherent_nll, fold_weights, residuals, squared_error
from al_engine.training.optimizer import Optimizer
from al_engine.training.readout import fit_readout

LOG_COLUMNS = ("step", "learning_rate", "loss", "fold_energy_rmse", "fold_force_rmse", "fold_nll")
"""Energy errors in eV/atom, forces in eV/Å, likelihoods in nats a label; `fold_`: out-of-fold member."""

_N_CHECKS = 20


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
        net: Fresh or warm networks.
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
    if settings.objective == "coherent":
        n_warmup = max(1, round(settings.warmup_share * settings.n_steps))
    check_every = max(1, settings.n_steps // _N_CHECKS)
    best, best_state = math.inf, net.state_dict()
    log: list[list[float]] = []
    running = 0.0
    order = _frame_order(len(dataset), settings.batch_size, seed)
    for step in range(1, settings.n_steps + 1):
        if step == n_warmup + 1:
            net.load_state_dict(averaged.state_dict())
            start_noise(net, fold_residuals(net, dataset, with_noise=False), dataset)
            averaged.load_state_dict(net.state_dict())
        batch = dataset.batch(next(order), device=device, dtype=dtype)
        likelihood = step > n_warmup
        rate = settings.learning_rate * _schedule(step / settings.n_steps)
        optimizer.zero_grad()
        loss = batch_loss(net, batch, settings, likelihood=likelihood)
        torch.autograd.backward(loss)
        optimizer.step(rate)
        _move_average(averaged, net, settings.ema_decay)
        running += float(loss.detach())
        if step % check_every == 0 or step == settings.n_steps:
            fold = fold_residuals(averaged, dataset, with_noise=likelihood)
            energy_rmse = float(np.sqrt(np.mean((fold.energy / fold.frame_n_atoms) ** 2)))
            force_rmse = float(np.sqrt(np.mean(fold.coupled**2)))
            log.append([step, rate, running / check_every, energy_rmse, force_rmse, fold.nll])
            running = 0.0
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


def batch_loss(
    net: StackedPotential, batch: TrainingBatch, settings: Training, *, likelihood: bool
) -> Tensor:
    """Sum over members of the mean over the frames each may learn from."""
    res = residuals(net, batch, with_noise=likelihood)
    weights = fold_weights(batch.fold, net.arch.n_members).to(batch.energy)
    if likelihood:
        values = coherent_nll(res, batch) / batch.n_labels
    else:
        values = squared_error(res, batch, settings.energy_weight) / net.arch.force_scale**2
    return ((values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)).sum()


def _schedule(share: float) -> float:
    """Linear rise over the first 2 %, then half a cosine to 2 %."""
    rise = min(1.0, share / 0.02)
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def _frame_order(n_frames: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Yield batches of one size from an endless row of permutations."""
    rng = np.random.default_rng(seed)
    size = min(batch_size, n_frames)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += rng.permutation(n_frames).tolist()
        yield waiting[:size]
        waiting = waiting[size:]


@torch.no_grad()
def _move_average(averaged: StackedPotential, net: StackedPotential, decay: float) -> None:
    """Move the averaged weights toward the newest ones."""
    for mean, value in zip(averaged.parameters(), net.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
