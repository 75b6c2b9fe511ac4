"""What dynamics asks of a potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from al_engine.frames import Frame
from al_engine.step_forces import StepForces


class BoundForces(Protocol):
    """A potential prepared for the atoms, cells and order of certain frames."""

    def __call__(self, positions: Tensor, /) -> StepForces:
        """Evaluate all frames at `positions`, shape (n_atoms, 3), float64, Å.

        A value of one frame must not depend on the others: a frame that is not finite gives NaN of its own.
        """
        ...


class ForceField(Protocol):
    """A potential with its uncertainty, such as the ensemble."""

    @property
    def device(self) -> torch.device:
        """Where positions are expected."""
        ...

    def bind(self, frames: Sequence[Frame], /) -> BoundForces:
        """Prepare for frames whose positions will change."""
        ...
