"""The training loop: squared errors, then the coherent likelihood; averaged weights, best by fold."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from al_engine.config import Training
from al_engine.errors import AlEngineError, StoppedError
from al_engine.model.potential import StackedPotential
from al_engine.progress import Progress, silent
from al_engine.training.batches import batch_limits, frame_order
from al_engine.training.dataset import Dataset
from al_engine.training.fold import FoldResiduals, fold_residuals, start_noise
from al_engine.training.state import Checkpoints, TrainingState, fingerprint
from al_engine.training.step import GradientStep

LOG_COLUMNS = ("step", "learning_rate", "loss", "fold_energy_rmse", "fold_force_rmse", "fold_nll")
"""Energy errors in eV/atom, forces in eV/Å, likelihoods in nats a label; `fold_`: out-of-fold member."""

_FORCE_RMSE = LOG_COLUMNS.index("fold_force_rmse")

COMPILE_FROM = 2.5e6
"""Atoms times members times steps from which a compiled step pays: about five minutes of one core."""
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
    *,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> TrainingResult:
    """Train all members in place; the weights kept are averaged ones, best by out-of-fold loss.

    Args:
        net: Fresh networks, or trained ones.
        dataset: Frames with folds; member m never learns from fold m.
        settings: Lengths and rates.
        seed: Of the order of the frames.
        progress: Told at the start and at each check.
        checkpoints: Where the state is kept; one that this same training stored is gone on with.

    Raises:
        StoppedError: `checkpoints.until` came first; the state is kept.
        AlEngineError: The training diverged.
    """
    device, dtype = next(net.parameters()).device, next(net.parameters()).dtype
    key = fingerprint(net, dataset, settings, seed)
    state = _begin(net, key, checkpoints)
    n_warmup = settings.n_steps
    if settings.objective != "mse":
        n_warmup = max(1, round(settings.warmup_share * settings.n_steps))
    check_every = max(1, settings.n_steps // _N_CHECKS)
    limits = batch_limits(dataset.n_atoms, settings.batch_size, settings.max_atoms_per_batch)
    order = islice(frame_order(dataset.n_atoms, limits, seed), state.step, None)
    is_long = settings.n_steps * limits.n_atoms * net.arch.n_members > COMPILE_FROM
    compiled = is_long if settings.compile is None else settings.compile
    shape = dataset.shape(limits.n_frames, limits.n_atoms) if compiled else None
    gradients = GradientStep(net, settings, compiled=compiled)
    progress(state.step, settings.n_steps, "")
    kept = time.monotonic()
    while state.step < settings.n_steps and not _has_diverged(state):
        if state.step == n_warmup:
            net.load_state_dict(state.averaged.state_dict())
            start_noise(net, fold_residuals(net, dataset, with_noise=False), dataset)
            state.averaged.load_state_dict(net.state_dict())
        state.step += 1
        likelihood = state.step > n_warmup
        batch = dataset.batch(next(order), device=device, dtype=dtype, shape=shape)
        rate = settings.learning_rate * _schedule(state.step / settings.n_steps)
        state.running += gradients(batch, likelihood=likelihood)
        state.optimizer.step(rate)
        _move_average(state.averaged, net, settings.ema_decay)
        if state.step % check_every == 0 or state.step == settings.n_steps:
            energy, force, nll = _fold_errors(state.averaged, dataset, likelihood=likelihood)
            state.log.append([state.step, rate, float(state.running) / check_every, energy, force, nll])
            state.running.zero_()
            if likelihood or n_warmup == settings.n_steps:
                state.keep_best(nll if likelihood else force)
            news = f"out of fold: {1000 * energy:.1f} meV/atom, {1000 * force:.0f} meV/Å"
            progress(state.step, settings.n_steps, news)
        is_over = checkpoints is not None and time.time() >= checkpoints.until
        if checkpoints and (is_over or time.monotonic() - kept >= checkpoints.every_s):
            checkpoints.save(state.to_bytes(key))
            kept = time.monotonic()
        if is_over and state.step < settings.n_steps:
            raise StoppedError(f"stopped at step {state.step} of {settings.n_steps}, to go on from there")
    if not state.best:
        raise AlEngineError(
            f"the training diverged: no finite out-of-fold loss in {state.step} steps; use a smaller "
            f"training.learning_rate than {settings.learning_rate}, or look for wrong labels"
        )
    net.load_state_dict(state.best)
    if n_warmup == settings.n_steps:
        start_noise(net, fold_residuals(net, dataset, with_noise=False), dataset)
    return TrainingResult(np.array(state.log), fold_residuals(net, dataset, with_noise=True))


def _begin(net: StackedPotential, key: str, checkpoints: Checkpoints | None) -> TrainingState:
    """Return the stored state of this training, else a new one."""
    if checkpoints and checkpoints.stored:
        state = TrainingState.from_bytes(checkpoints.stored, key, net)
        if state is not None:
            return state
    return TrainingState(net)


def _fold_errors(net: StackedPotential, dataset: Dataset, *, likelihood: bool) -> tuple[float, float, float]:
    """Return out-of-fold errors of energy (eV/atom) and forces (eV/Å), and the likelihood, as in the log."""
    fold = fold_residuals(net, dataset, with_noise=likelihood, most=_FRAMES_PER_CHECK)
    energy_rmse = float(np.sqrt(np.mean((fold.energy / fold.frame_n_atoms) ** 2)))
    return energy_rmse, float(np.sqrt(np.mean(fold.coupled**2))), fold.nll


def _has_diverged(state: TrainingState) -> bool:
    """Whether there is no way back: errors that are not finite.

    Nothing finer: the rate falls to the end, and the likelihood out of fold improves with it to the end,
    after checks without improvement in between (BENCHMARKS.md).
    """
    return bool(state.log) and not math.isfinite(state.log[-1][_FORCE_RMSE])


def _schedule(share: float) -> float:
    """Linear rise over the first 2 %, then half a cosine to 2 %."""
    rise = min(1.0, share / 0.02)
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def _move_average(averaged: StackedPotential, net: StackedPotential, decay: float) -> None:
    """Move the averaged weights toward the newest ones."""
    torch._foreach_lerp_(list(averaged.parameters()), list(net.parameters()), 1 - decay)
