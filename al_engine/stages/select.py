"""Stage *select*: a pure function of the stored candidates, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from al_engine.config import CampaignConfig
from al_engine.lifecycle import CandidateState
from al_engine.records import Candidate, FailureReason, LabelFailure, Origin
from al_engine.seeds import Stage, generator
from al_engine.selection.select import select

QUARANTINED = "not tried again: its calculation crashed or hung twice in an earlier generation"


def quarantined(failures: Iterable[LabelFailure]) -> dict[str, LabelFailure]:
    """Return those of frames that are not tried again by themselves, by frame: they may harm a machine."""
    harmful = (FailureReason.CRASH, FailureReason.TIMEOUT)
    return {f.frame_id: f for f in failures if f.reason in harmful and f.attempts > 1}


def select_stage(
    config: CampaignConfig,
    generation: int,
    candidates: Sequence[Candidate],
    n_labels: int,
    barred: Collection[str] = (),
) -> list[Candidate]:
    """Decide which visited frames are labeled, within what the budget leaves beside the audit.

    Args:
        config: The campaign.
        generation: Its number.
        candidates: All of this generation, audited ones included. Those of the confirming audit have no
            part in it: they are not chosen here, and not known either, as few of them will be labeled.
        n_labels: Labels of the campaign so far.
        barred: Frames that are not tried again.

    Returns:
        The visited ones, SELECTED or REJECTED, each with score, rank and reason.
    """
    wanted = config.selection.n_frames
    if config.budget.labels is not None:
        n_audit = sum(c.state is CandidateState.AUDIT for c in candidates)
        wanted = max(0, min(wanted, config.budget.labels - n_labels - n_audit))
    rng = generator(config.seed, generation, Stage.SELECT, 1)
    offered = [c for c in candidates if not is_confirming(c)]
    refused = [c for c in offered if c.frame_id in barred and c.origin is not Origin.AUDIT]
    ids = {c.frame_id for c in refused}
    chosen = select([c for c in offered if c.frame_id not in ids], config.selection, wanted, rng)
    return chosen + [replace(c, state=CandidateState.REJECTED, reason=QUARANTINED) for c in refused]


def is_confirming(candidate: Candidate) -> bool:
    """Whether it waits for the small audit to be judged."""
    return candidate.origin is Origin.AUDIT and candidate.state is CandidateState.VISITED
