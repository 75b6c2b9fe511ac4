"""Stages *confirm* and *close*: the exploring ensemble against the new labels, and whether to stop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from al_engine.config import CampaignConfig
from al_engine.convergence import AuditOutcome, audit_sizes, decide, doubts
from al_engine.evaluation import Evaluation, evaluate
from al_engine.frames import Frame
from al_engine.learning_curve import FRAME_ERROR
from al_engine.model.ensemble import Ensemble
from al_engine.records import (
    AuditDraw,
    Label,
    LabeledFrame,
    Metric,
    Origin,
    StopDecision,
    TrainedModel,
)
from al_engine.stages.backtest import worse_blocks
from al_engine.stages.compute import configure
from al_engine.stages.files import labeled_frames


@dataclass(frozen=True)
class CloseResult:
    """Errors of the generation and the decision."""

    metrics: tuple[Metric, ...]
    stop: StopDecision


def close_stage(
    config: CampaignConfig,
    generation: int,
    model: TrainedModel | None,
    labeled: Sequence[LabeledFrame],
    *,
    previous: TrainedModel | None,
    draws: Sequence[AuditDraw],
    rejected: Collection[str],
    earlier: Sequence[StopDecision],
) -> CloseResult:
    """Judge the ensemble that explored on labels it has not been trained on.

    The decision rests on the confirming audit where there is one, else on the small one. Errors are
    those on all audited frames: each of the audits is a uniform sample.

    Args:
        config: The campaign.
        generation: Its number.
        model: The ensemble that explored; None in generation 0.
        labeled: All labels of the campaign.
        previous: The campaign's ensemble before, if any (`convergence.promoted`).
        draws: The draws of this generation, those of the small audit first.
        rejected: Candidates that were not labeled.
        earlier: Decisions of the earlier generations, oldest first.
    """
    if model is None:
        return CloseResult((), StopDecision(False, (), "Not converged: the initial labels have no model."))
    configure(config)
    ensemble = Ensemble.from_bytes(model.weights, device=config.device)
    own = {i.frame.frame_id: i for i in labeled if i.generation == generation}
    selected = [i for i in own.values() if i.origin is Origin.SELECTED]
    metrics: list[Metric] = []
    for split, items in (("audit", _labeled(draws, own)), ("selected", selected)):
        if items:
            pairs = [(i.frame, i.label) for i in items]
            metrics += evaluation(ensemble, pairs).metrics(split)
    if config.test_set is not None:
        entries = labeled_frames(Path(config.test_set), "test set")
        metrics += evaluation(ensemble, entries).metrics("test")
    small, confirming = draws[: config.audit.n_frames], draws[config.audit.n_frames :]
    confirms = bool(confirming) and not any(d.frame_id in rejected for d in confirming)
    outcome = _outcome(ensemble, confirming if confirms else small, own)
    if outcome.n_labels:
        error = np.quantile(outcome.max_force_errors, config.stop.fraction, method="higher")
        metrics.append(Metric("audit", "forces", FRAME_ERROR, float(error)))
    past = [item for item in labeled if item.generation < generation]
    blocks = worse_blocks(model, previous, past, config.device)
    return CloseResult(tuple(metrics), decide(outcome, config.stop, audit_sizes(earlier), blocks))


def confirm_stage(
    config: CampaignConfig,
    generation: int,
    model: TrainedModel,
    labeled: Sequence[LabeledFrame],
    *,
    previous: TrainedModel | None,
    draws: Sequence[AuditDraw],
    n_labels: int,
) -> str:
    """Say what speaks against labeling the confirming audit; nothing where it is worth it.

    It is all or nothing: a part of it could promise nothing, so what the budget cannot pay is not begun.

    Args:
        config: The campaign.
        generation: Its number; its small audit has its labels.
        model: The ensemble that explored.
        labeled: All labels of the campaign.
        previous: The campaign's ensemble before, if any.
        draws: The draws of this generation, those of the small audit first.
        n_labels: Labels of the campaign so far, also those that were withdrawn.
    """
    small, confirming = draws[: config.audit.n_frames], draws[config.audit.n_frames :]
    n_wanted, budget = sum(d.frame_id is not None for d in confirming), config.budget.labels
    if budget is not None and n_labels + n_wanted > budget:
        return f"{n_wanted} labels more than the budget has"
    configure(config)
    own = {i.frame.frame_id: i for i in labeled if i.generation == generation}
    outcome = _outcome(Ensemble.from_bytes(model.weights, device=config.device), small, own)
    doubt = doubts(outcome, config.stop, [])
    if not doubt:  # only then the earlier labels are worth their predictions
        past = [item for item in labeled if item.generation < generation]
        doubt = doubts(outcome, config.stop, worse_blocks(model, previous, past, config.device))
    return doubt and f"the small audit does not look good: {doubt}"


def _labeled(draws: Sequence[AuditDraw], own: Mapping[str, LabeledFrame]) -> list[LabeledFrame]:
    """Return the labels of the draws; the same frame may be drawn twice over: each draw counts as drawn."""
    return [own[d.frame_id] for d in draws if d.frame_id is not None and d.frame_id in own]


def _outcome(ensemble: Ensemble, draws: Sequence[AuditDraw], own: Mapping[str, LabeledFrame]) -> AuditOutcome:
    """Say what became of the draws, given the labels of their generation by frame."""
    audit = _labeled(draws, own)
    n_exited = sum(d.frame_id is None for d in draws)
    n_unlabeled = len(draws) - n_exited - len(audit)
    if not audit:
        return AuditOutcome(n_exited=n_exited, n_unlabeled=n_unlabeled)
    return AuditOutcome.of_labels(
        ensemble.predict([i.frame for i in audit]),
        [i.label.energy for i in audit],
        np.concatenate([i.label.forces for i in audit]),
        n_exited=n_exited,
        n_unlabeled=n_unlabeled,
    )


def evaluation(ensemble: Ensemble, pairs: Sequence[tuple[Frame, Label]]) -> Evaluation:
    """Evaluate an ensemble on labeled frames."""
    prediction = ensemble.predict([frame for frame, _ in pairs])
    forces = np.concatenate([label.forces for _, label in pairs])
    missing = np.full((3, 3), np.nan)
    stresses = [missing if label.stress is None else label.stress for _, label in pairs]
    return evaluate(prediction, [label.energy for _, label in pairs], forces, stresses)
