"""Stage *close*: the exploring ensemble against the new labels, and whether the campaign may stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from al_engine.config import CampaignConfig
from al_engine.convergence import AuditOutcome, decide
from al_engine.evaluation import Evaluation, evaluate
from al_engine.frames import Frame
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
    earlier: Sequence[StopDecision],
) -> CloseResult:
    """Judge the ensemble that explored on labels it has not been trained on.

    Args:
        config: The campaign.
        generation: Its number.
        model: The ensemble that explored; None in generation 0.
        labeled: All labels of the campaign.
        previous: The ensemble of the generation before, if any.
        draws: The audit's draws of this generation.
        earlier: Decisions of the earlier generations, oldest first.
    """
    if model is None:
        return CloseResult((), StopDecision(False, (), "Not converged: the initial labels have no model."))
    configure(config)
    ensemble = Ensemble.from_bytes(model.weights, device=config.device)
    own = {i.frame.frame_id: i for i in labeled if i.generation == generation}
    selected = [i for i in own.values() if i.origin is Origin.SELECTED]
    metrics: list[Metric] = []
    # the same frame may be drawn twice over; each draw counts once, as drawn
    audit = [own[d.frame_id] for d in draws if d.frame_id is not None and d.frame_id in own]
    for split, items in (("audit", audit), ("selected", selected)):
        if items:
            pairs = [(i.frame, i.label) for i in items]
            metrics += evaluation(ensemble, pairs).metrics(split)
    if config.test_set is not None:
        entries = labeled_frames(Path(config.test_set), "test set")
        metrics += evaluation(ensemble, entries).metrics("test")
    n_exited = sum(d.frame_id is None for d in draws)
    n_unlabeled = len(draws) - n_exited - len(audit)
    outcome = AuditOutcome(n_exited=n_exited, n_unlabeled=n_unlabeled)
    if audit:
        outcome = AuditOutcome.of_labels(
            ensemble.predict([i.frame for i in audit]),
            [i.label.energy for i in audit],
            np.concatenate([i.label.forces for i in audit]),
            n_exited=n_exited,
            n_unlabeled=n_unlabeled,
        )
    past = [item for item in labeled if item.generation < generation]
    blocks = worse_blocks(model, previous, past, config.device)
    return CloseResult(tuple(metrics), decide(outcome, config.stop, _audit_sizes(earlier), blocks))


def evaluation(ensemble: Ensemble, pairs: Sequence[tuple[Frame, Label]]) -> Evaluation:
    """Evaluate an ensemble on labeled frames."""
    prediction = ensemble.predict([frame for frame, _ in pairs])
    forces = np.concatenate([label.forces for _, label in pairs])
    missing = np.full((3, 3), np.nan)
    stresses = [missing if label.stress is None else label.stress for _, label in pairs]
    return evaluate(prediction, [label.energy for _, label in pairs], forces, stresses)


def _audit_sizes(decisions: Sequence[StopDecision]) -> list[int]:
    """Numbers of draws of earlier audits."""
    return [int(c.value) for d in decisions for c in d.criteria if c.name == "audit_draws"]
