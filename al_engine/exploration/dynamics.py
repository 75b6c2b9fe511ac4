"""All kinds of dynamics as a sampler: a batch of walkers, those that stop early followed by others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from al_engine.config import Exits
from al_engine.exploration.forces import ForceField
from al_engine.exploration.sampler import Sampled, Visit
from al_engine.exploration.walkers import MAX_RESTARTS, Restart, Walk, walk
from al_engine.frames import Frame
from al_engine.progress import Progress
from al_engine.records import Walker
from al_engine.samplers import Dynamics, UncertaintyBiased


@dataclass(frozen=True)
class DynamicsSampler:
    """Walkers on a potential.

    `starts(walker, n_before)` gives the start of a walker, or of the one that follows after `n_before`
    others in its place; those are numbered after the first ones.
    """

    settings: Dynamics
    exits: Exits
    force_field: ForceField
    starts: Restart
    progress: Progress

    @property
    def planned(self) -> Sequence[int]:
        """All steps of the first walkers; none of those that follow, and none at all of biased ones."""
        n = self.settings.n_walkers
        n_steps = 0 if isinstance(self.settings, UncertaintyBiased) else self.settings.n_steps
        return [n_steps] * n + [0] * n * MAX_RESTARTS

    def __call__(self, audit: Sequence[tuple[int, int]]) -> Sampled:
        """Walk."""
        begins = [self.starts(walker, 0) for walker in range(self.settings.n_walkers)]
        walks = walk(
            self.force_field,
            begins,
            self.settings,
            self.exits,
            audit,
            restart=self.starts,
            progress=self.progress,
        )
        return Sampled(
            tuple(_visit(w, step, frame) for w in walks for step, frame in w.snapshots),
            {(w.index, step): _visit(w, step, frame) for w in walks for step, frame in w.audit.items()},
            tuple(map(_record, walks)),
        )


def _visit(w: Walk, step: int, frame: Frame) -> Visit:
    return Visit(frame, w.index, step, w.start.temperature)


def _record(w: Walk) -> Walker:
    return Walker(
        index=w.index,
        start_frame_id=w.start.frame.frame_id,
        temperature=w.start.temperature,
        n_planned=w.n_planned,
        n_steps=w.n_steps,
        exit_reason=w.exit_reason,
        exit_value=w.exit_value,
        trace=w.trace,
    )
