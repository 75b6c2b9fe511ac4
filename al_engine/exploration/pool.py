"""Frames that are there already: those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from al_engine.exploration.sampler import Sampled, Visit
from al_engine.frames import Frame


@dataclass(frozen=True)
class PoolSampler:
    """The frames of a file that have no label yet, each as a walker of one step."""

    frames: Sequence[Frame]
    n_frames: int
    rng: np.random.Generator

    @property
    def planned(self) -> Sequence[int]:
        """Every frame may be audited: the audit is a uniform draw of what is left of the pool."""
        return [1] * len(self.frames)

    def __call__(self, audit: Sequence[tuple[int, int]]) -> Sampled:
        """Look at the audited frames, and at others drawn uniformly where there are more than `n_frames`."""
        audited = {walker for walker, _ in audit}
        rest = [k for k in range(len(self.frames)) if k not in audited]
        if len(rest) > self.n_frames:
            rest = sorted(self.rng.choice(rest, self.n_frames, replace=False).tolist())
        return Sampled(
            tuple(Visit(self.frames[k]) for k in rest),
            {pair: Visit(self.frames[pair[0]]) for pair in audit},
        )
