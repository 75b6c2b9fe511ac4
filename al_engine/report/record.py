"""Everything that a report of a campaign is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from al_engine.records import (
    Campaign,
    Cost,
    Generation,
    LabeledFrame,
    LabelFailure,
    Metric,
    Origin,
    StopDecision,
    TrainedModel,
)
from al_engine.report.text import Row


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign as stored; nothing in it says in which database.

    Attributes:
        campaign: With its configuration, versions and level of theory.
        generations: In order.
        decisions: On stopping, by number of the generation.
        metrics: By number of the generation.
        costs: By number of the generation.
        failures: Calculations without a label, with the number of their generation.
        labeled: All labels.
        model: The ensemble that explored in generation `newest_audit(labeled)`; None without one.
        table: A row each of the newest labels, as `query` shows them.
    """

    campaign: Campaign
    generations: Sequence[Generation]
    decisions: Mapping[int, StopDecision]
    metrics: Mapping[int, Sequence[Metric]]
    costs: Mapping[int, Sequence[Cost]]
    failures: Sequence[tuple[int, LabelFailure]]
    labeled: Sequence[LabeledFrame]
    model: TrainedModel | None
    table: Sequence[Row]

    @property
    def decision(self) -> StopDecision | None:
        """The newest decision: an open generation has none yet."""
        return self.decisions[max(self.decisions)] if self.decisions else None


def newest_audit(labeled: Sequence[LabeledFrame]) -> int | None:
    """Return the newest generation with labels that judge its ensemble."""
    return max((item.generation for item in labeled if item.origin is Origin.AUDIT), default=None)
