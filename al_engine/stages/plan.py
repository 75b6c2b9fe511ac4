"""What a campaign does next, and why it ends."""

from __future__ import annotations

from enum import StrEnum

from al_engine.config import CampaignConfig
from al_engine.lifecycle import GenerationState
from al_engine.records import Generation, StopDecision


class End(StrEnum):
    """Why a campaign goes no further."""

    CONVERGED = "converged"
    MAX_GENERATIONS = "max_generations"
    BUDGET_SPENT = "budget_spent"
    HOURS_SPENT = "hours_spent"
    WALL_TIME = "wall_time"
    APPROVAL = "approval"

    def sentence(self, campaign: str) -> str:
        """Say it to a person."""
        if self is End.WALL_TIME:
            return f"The campaign {campaign} stopped at its wall_time_h: run the same command to go on."
        if self is End.APPROVAL:
            return (
                f"The campaign {campaign} waits for a person (selection.approve): see al-engine query "
                f"status=selected --campaign {campaign}, then al-engine approve {campaign}, and run the same "
                "command to go on."
            )
        return f"The campaign {campaign} is done: {_DONE[self]}."


_DONE = {
    End.CONVERGED: "it converged",
    End.MAX_GENERATIONS: "all its generations are closed (max_generations)",
    End.BUDGET_SPENT: "its labels are spent (budget.labels)",
    End.HOURS_SPENT: "its hours are spent (budget.hours); with more it goes on where it is",
}


def end_of(
    config: CampaignConfig, newest: Generation | None, stop: StopDecision | None, n_labels: int
) -> End | None:
    """Say why the campaign is over after its newest generation; None where it goes on.

    Args:
        config: The campaign.
        newest: Its newest generation, if any.
        stop: The decision of that generation, if closed.
        n_labels: Labels so far.
    """
    if newest is None or newest.state is not GenerationState.CLOSED:
        return None
    if stop is not None and stop.converged:
        return End.CONVERGED
    if newest.number >= config.max_generations:
        return End.MAX_GENERATIONS
    budget = config.budget.labels
    if budget is not None and n_labels + max(1, config.audit.n_frames) > budget:
        return End.BUDGET_SPENT
    return None
