"""What every kind of sampler does: say what an audit may be drawn from, and visit frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from al_engine.frames import Frame
from al_engine.records import Walker


@dataclass(frozen=True)
class Visit:
    """A frame that a sampler came by.

    Attributes:
        frame: The frame.
        walker: Number of the walker within the sampler; None where no walker visited it.
        step: Step of that walker.
        temperature: Set temperature, K; None where there is none.
    """

    frame: Frame
    walker: int | None = None
    step: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Sampled:
    """All that a sampler visited.

    Attributes:
        visits: Frames that may be selected.
        audit: Frames at those audited (walker, step) pairs that were reached.
        walkers: How each trajectory went.
    """

    visits: tuple[Visit, ...]
    audit: Mapping[tuple[int, int], Visit] = field(default_factory=dict)
    walkers: tuple[Walker, ...] = ()


class Sampler(Protocol):
    """Visits frames with a potential."""

    @property
    def planned(self) -> Sequence[int]:
        """Steps of each of its walkers that an audit may be drawn from; 0 for one that feeds selection only.

        It is known before the walk: whatever depends on the walk is no honest sample of it (math 10).
        """
        ...

    def __call__(self, audit: Sequence[tuple[int, int]], /) -> Sampled:
        """Visit frames; those at the (walker, step) pairs of `audit`, steps from 1, are audited."""
        ...
