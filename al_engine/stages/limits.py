"""Whether there is time for the next step: the hours of the budget, and the wall time of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from al_engine.config import CampaignConfig
from al_engine.errors import InputError
from al_engine.lifecycle import GenerationState
from al_engine.records import Cost, Generation

TRAINING_AT_LEAST_S = 60.0
"""A training stops at a checkpoint, so it may begin where all of it does not fit."""
NEXT: Mapping[GenerationState | None, str] = {
    GenerationState.OPEN: "training",
    GenerationState.TRAINED: "exploring",
    GenerationState.EXPLORED: "selecting",
    GenerationState.SELECTED: "labeling",
    GenerationState.LABELED: "closing",
}
"""What a generation in this state does next, as the ledger names it."""


@dataclass(frozen=True)
class NextStep:
    """What comes next in a campaign.

    Attributes:
        costs: The ledger by generation.
        newest: The newest generation, if any.
        n_labels: Frames of the next task of labels.
    """

    costs: Mapping[int, Sequence[Cost]]
    newest: Generation | None
    n_labels: int

    @property
    def seconds_spent(self) -> float:
        """What all stages took so far."""
        return sum(_seconds(rows) for rows in self.costs.values())

    def seconds_expected(self) -> float:
        """Return what it took before: labels each, other stages in the generation before; 0 if never.

        Where a generation is to be opened, it is what all of the one before took.
        """
        if self.newest is None or self.newest.state not in NEXT:
            return _seconds(self.costs.get(self.newest.number, ())) if self.newest else 0.0
        stage, number = NEXT[self.newest.state], self.newest.number
        for past in sorted(self.costs, reverse=True):
            rows = [row for row in self.costs[past] if row.stage == stage]
            n_labels = sum(row.n_labels for row in rows)
            if stage == "labeling" and n_labels:
                return _seconds(rows) / n_labels * self.n_labels
            if stage != "labeling" and rows and past < number:
                done = [row for row in self.costs.get(number, ()) if row.stage == stage]
                return max(0.0, _seconds(rows) - _seconds(done))
        return 0.0

    def fits_budget(self, config: CampaignConfig) -> bool:
        """Whether the hours of the budget are enough for it."""
        hours = config.budget.hours
        return hours is None or 0 < hours * 3600 - self.seconds_spent >= self.seconds_expected()

    def fits_wall_time(self, config: CampaignConfig, seconds_left: float) -> bool:
        """Whether it ends before this run has to.

        Raises:
            InputError: It would not in a whole run.
        """
        state = self.newest.state if self.newest else None
        if config.wall_time_h is None or state not in NEXT:
            return seconds_left > 0
        expected = self.seconds_expected()
        if state is GenerationState.OPEN:
            expected = min(expected, TRAINING_AT_LEAST_S)
        if expected > config.wall_time_h * 3600:
            raise InputError(
                f"wall_time_h = {config.wall_time_h:g}: {NEXT[state]} takes about {expected:.0f} s and "
                "would never fit; give more"
            )
        return 0 < seconds_left >= expected


def _seconds(rows: Sequence[Cost]) -> float:
    return sum(row.seconds for row in rows)
