"""What a finished selection would choose with other settings: from what is stored, without computing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from al_engine.config import CampaignConfig
from al_engine.evaluation import Json, plain
from al_engine.lifecycle import CandidateState
from al_engine.records import AuditDraw, Candidate, Origin
from al_engine.stages.select import QUARANTINED, select_stage

LIMITS = (
    "Each generation is replayed by itself, on the candidates that it had. Audits are drawn before the walks "
    "and stay as they were; models and walks that other labels would have led to are not replayed, and a "
    "chosen frame counts whether or not its label is known by now."
)
"""What a replay does not say."""


@dataclass(frozen=True)
class Replay:
    """What a generation chose, and what it would have chosen.

    Attributes:
        generation: Its number.
        threshold_ev_per_ang: Least force sd of a chosen frame.
        n_frames: Frames to choose at most.
        candidates: Decided anew: the chosen ones by rank, then the others by frame id.
        chosen_then: Frame ids, by rank.
    """

    generation: int
    threshold_ev_per_ang: float
    n_frames: int
    candidates: tuple[Candidate, ...]
    chosen_then: tuple[str, ...]

    @property
    def chosen(self) -> tuple[str, ...]:
        """Frame ids that would be chosen, by rank."""
        return tuple(c.frame_id for c in self.candidates if c.rank is not None)

    @property
    def kept(self) -> tuple[str, ...]:
        """Those of them that were chosen then, too."""
        return tuple(frame_id for frame_id in self.chosen if frame_id in self.chosen_then)

    @property
    def new(self) -> tuple[str, ...]:
        """Those of them that were not."""
        return tuple(frame_id for frame_id in self.chosen if frame_id not in self.chosen_then)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Chosen then and not now."""
        return tuple(frame_id for frame_id in self.chosen_then if frame_id not in self.chosen)

    def to_json(self) -> dict[str, Json]:
        """Return all of it, with each candidate's decision; a number that is not finite becomes None."""
        values = {name: plain(getattr(self, name)) for name in _SHOWN}
        return values | {"candidates": [_decision(c) for c in self.candidates]}


_SHOWN = (
    "generation", "threshold_ev_per_ang", "n_frames", "chosen_then", "chosen", "kept", "new", "dropped",
)  # fmt: skip


def _decision(c: Candidate) -> dict[str, Json]:
    names = ("frame_id", "walker", "step", "rank", "score", "reason")
    force_sd = None if c.uncertainty is None else c.uncertainty.force_sd_max
    row = {name: plain(getattr(c, name)) for name in names}
    return row | {"status": c.state.value, "force_sd_max_ev_per_ang": plain(force_sd)}


def with_settings(config: CampaignConfig, threshold: float | None, n_frames: int | None) -> CampaignConfig:
    """Return the configuration with another threshold (eV/Å) and number of frames; None leaves as it is."""
    changes = {"threshold_ev_per_ang": threshold, "n_frames": n_frames}
    given = {name: value for name, value in changes.items() if value is not None}
    return config.model_copy(update={"selection": config.selection.model_copy(update=given)})


def replay_stage(
    config: CampaignConfig,
    generation: int,
    candidates: Sequence[Candidate],
    draws: Sequence[AuditDraw],
    n_labels: int,
) -> Replay:
    """Choose anew from the candidates of a generation; with the settings of then it is the choice of then.

    Args:
        config: With the settings to choose by; `budget.labels` holds as it did.
        generation: Its number.
        candidates: All of it, whatever became of them.
        draws: Of its audits, those of the small one first.
        n_labels: Labels of the generations before.
    """
    offered = _as_visited(candidates, draws[: config.audit.n_frames])
    barred = {c.frame_id for c in candidates if c.reason == QUARANTINED}
    then = sorted((c.rank, c.frame_id) for c in candidates if c.rank is not None)
    return Replay(
        generation,
        config.selection.threshold_ev_per_ang,
        config.selection.n_frames,
        candidates=tuple(select_stage(config, generation, offered, n_labels, barred)),
        chosen_then=tuple(frame_id for _, frame_id in then),
    )


def _as_visited(candidates: Sequence[Candidate], small: Sequence[AuditDraw]) -> list[Candidate]:
    """Return candidates in the states that they had before the selection: AUDIT for the small audit."""
    audited = {draw.frame_id for draw in small}
    states = (CandidateState.VISITED, CandidateState.AUDIT)
    return [replace(c, state=states[c.origin is Origin.AUDIT and c.frame_id in audited]) for c in candidates]
