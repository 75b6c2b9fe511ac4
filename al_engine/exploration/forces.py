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

    def __call__(self, positions: Tensor, scale: Tensor | None = None, /) -> StepForces:
        """Evaluate all frames at `positions`, shape (n_atoms, 3), float64, Å.

        `scale`, shape (n_frames,), multiplies the cell of each frame as it was bound; only where it is
        given, there is a virial.
        A value of one frame must not depend on the others: a frame that is not finite gives NaN of its own.
        """
        ...


class ForceField(Protocol):
    """A potential with its uncertainty, such as the ensemble."""

    @property
    def device(self) -> torch.device:
        """Where positions are expected."""
        ...

    def bind(self, frames: Sequence[Frame], n_calls: int = 1, /) -> BoundForces:
        """Prepare for frames whose positions will change, for about so many calls."""
        ...
