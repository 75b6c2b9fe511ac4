"""Stage *select*: a pure function of the stored candidates, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Sequence

from al_engine.config import CampaignConfig
from al_engine.lifecycle import CandidateState
from al_engine.records import Candidate
from al_engine.seeds import Stage, generator
from al_engine.selection.select import select


def select_stage(
    config: CampaignConfig, generation: int, candidates: Sequence[Candidate], n_labels: int
) -> list[Candidate]:
    """Decide which visited frames are labeled, within what the budget leaves beside the audit.

    Args:
        config: The campaign.
        generation: Its number.
        candidates: All of this generation, audited ones included.
        n_labels: Labels of the campaign so far.

    Returns:
        The visited ones, SELECTED or REJECTED, each with score, rank and reason.
    """
    wanted = config.selection.n_frames
    if config.budget.labels is not None:
        n_audit = sum(c.state is CandidateState.AUDIT for c in candidates)
        wanted = max(0, min(wanted, config.budget.labels - n_labels - n_audit))
    rng = generator(config.seed, generation, Stage.SELECT, 1)
    return select(candidates, config.selection, wanted, rng)
