"""What a campaign would cost on this machine: what is left to do, and each kind of work timed once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from al_engine.config import CampaignConfig
from al_engine.errors import InputError
from al_engine.exploration.group import Group
from al_engine.frames import Frame, elements_of
from al_engine.labeling import Labeler, check_reference
from al_engine.lifecycle import GenerationState
from al_engine.model.checkpoint import Provenance
from al_engine.model.ensemble import Ensemble
from al_engine.records import Generation, Label, LabeledFrame, LabelFailure, Origin
from al_engine.samplers import Dynamics
from al_engine.seeds import Stage, torch_seed
from al_engine.stages.compute import configure
from al_engine.stages.initial import initial_stage
from al_engine.stages.samplers import Surroundings
from al_engine.stages.train import fresh_networks
from al_engine.training.crossfit import assign_folds
from al_engine.training.dataset import build_dataset
from al_engine.training.optimizer import Optimizer
from al_engine.training.step import GradientStep

_N_TIMED = 3
_BEFORE_LABELS = (GenerationState.OPEN, GenerationState.TRAINED, GenerationState.EXPLORED)


@dataclass(frozen=True)
class Work:
    """What a generation still needs; walker steps are those of all walkers together."""

    generation: int
    n_training_steps: int
    n_walker_steps: int
    n_labels: int


@dataclass(frozen=True)
class Estimate:
    """Measured seconds of one label (in its process), one training step, one step of one walker."""

    seconds_label: float
    seconds_training_step: float
    seconds_walker_step: float
    n_label_processes: int

    def seconds(self, work: Work) -> tuple[float, float, float]:
        """Return the seconds of training, exploring and labeling."""
        rounds = math.ceil(work.n_labels / self.n_label_processes)
        return (
            work.n_training_steps * self.seconds_training_step,
            work.n_walker_steps * self.seconds_walker_step,
            rounds * self.seconds_label,
        )


def work_left(
    config: CampaignConfig,
    starts: Sequence[Frame],
    newest: Generation | None,
    *,
    n_unlabeled: int = 0,
    n_labels: int = 0,
) -> list[Work]:
    """Say what each generation needs if the campaign goes on to `max_generations`, at most.

    Args:
        config: The campaign.
        starts: Its given structures.
        newest: Its newest generation, if any.
        n_unlabeled: Frames of that one which wait for their label.
        n_labels: Labels so far; `budget.labels` bounds the others.
    """
    is_open = newest is not None and newest.state is not GenerationState.CLOSED
    first = 0 if newest is None else newest.number + (not is_open)
    budget = math.inf if config.budget.labels is None else config.budget.labels - n_labels
    found = []
    dynamics = [s for s in config.exploration.samplers if isinstance(s, Dynamics)]
    for number in range(first, max(first, config.max_generations) + 1):
        state = newest.state if newest is not None and newest.number == number else GenerationState.OPEN
        wanted = n_unlabeled
        if state in _BEFORE_LABELS:
            wanted = config.selection.n_frames + config.audit.n_frames
            wanted = wanted if number else len(initial_stage(config, starts).frames)
        if number >= first + is_open and number and budget < max(1, config.audit.n_frames):
            break
        wanted = int(min(wanted, budget))
        budget -= wanted
        trains = number > 0 and state is GenerationState.OPEN
        walks = number > 0 and state in (GenerationState.OPEN, GenerationState.TRAINED)
        found.append(
            Work(
                number,
                config.training.n_steps if trains else 0,
                sum(d.n_steps * d.n_walkers for d in dynamics) if walks else 0,
                wanted,
            )
        )
    return found


def estimate(config: CampaignConfig, starts: Sequence[Frame], level: str) -> Estimate:
    """Time one label of the first structure, and steps of an untrained ensemble of the configured size.

    Args:
        config: The campaign, resolved.
        starts: Its given structures.
        level: The level of theory of its labels.

    Raises:
        InputError: The calculator cannot be used, or the first structure not labeled by it.
    """
    configure(config)
    check_reference(config.reference, starts)
    labeler = Labeler(config.reference, config.labeling, level)
    copies = initial_stage(config, starts).frames
    (label,) = labeler.label_all(copies[:1])
    if isinstance(label, LabelFailure):
        raise InputError(f"the first structure cannot be labeled ({label.reason}): {label.message}")
    seed = torch_seed(config.seed, 0, Stage.TRAIN)
    rng = np.random.default_rng(seed)
    labeled = [
        LabeledFrame(frame, _any_label(frame, rng), 0, Origin.INITIAL, frame.frame_id)
        for frame in copies
        if frame.n_atoms > 1 or frame.is_periodic
    ]
    energies = dict.fromkeys(elements_of(starts), 0.0)
    folds = assign_folds(labeled, {}, config.model.n_members)
    dataset = build_dataset(labeled, folds, energies, config.model.r_max_ang)
    net = fresh_networks(config, dataset, sorted(energies), seed)
    device, dtype = next(net.parameters()).device, next(net.parameters()).dtype
    optimizer = Optimizer(net)
    gradients = GradientStep(net, config.training, compiled=False)
    index = rng.permutation(len(dataset))[: config.training.batch_size].tolist()

    def train_once() -> None:
        batch = dataset.batch(index, device=device, dtype=dtype)
        gradients(batch, likelihood=True)
        optimizer.step(0.0)

    seconds_training = _seconds(train_once, config.device)
    ensemble = Ensemble(net, Provenance(energies, (1.0, 1.0, 1.0), "none", ""))
    around = Surroundings(config, 1, starts, ())
    seconds_step = [
        _seconds_step(around, ensemble, number, settings)
        for number, settings in enumerate(config.exploration.samplers)
        if isinstance(settings, Dynamics)
    ]
    seconds_walking = float(np.mean(seconds_step)) if seconds_step else 0.0
    return Estimate(label.seconds, seconds_training, seconds_walking, labeler.n_processes)


def _seconds_step(around: Surroundings, ensemble: Ensemble, number: int, settings: Dynamics) -> float:
    """Time a step of a walker, one of all of them together."""
    config = around.config
    begins = [around.begin(number, walker) for walker in range(settings.n_walkers)]
    group = Group(ensemble, begins, settings, config.exploration.exits)

    def walk_once() -> None:
        group.advance()
        group.watch.measure(group.state)

    return _seconds(walk_once, config.device) / settings.n_walkers


def _any_label(frame: Frame, rng: np.random.Generator) -> Label:
    """Return numbers of the right shape: they cost the same."""
    return Label(frame.frame_id, "none", 0.0, rng.normal(size=(frame.n_atoms, 3)))


def _seconds(once: Callable[[], None], device: str) -> float:
    """Return the mean time of a call, after a first one that is not counted."""
    once()
    _wait(device)
    started = time.perf_counter()
    for _ in range(_N_TIMED):
        once()
    _wait(device)
    return (time.perf_counter() - started) / _N_TIMED


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
