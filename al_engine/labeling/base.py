"""What one reference calculation returns: numbers, or an expected failure with its reason."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from al_engine.records import FailureReason


@dataclass(frozen=True)
class Computed:
    """What a calculator said, not yet checked.

    Attributes:
        energy: eV; the one whose gradient the forces are.
        forces: Should be of shape (n_atoms, 3), eV/Å.
        stress: Should be of shape (3, 3), eV/Å³, positive in tension; None where not computed.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Failed:
    """No numbers, and why; `attempts` is how often it was tried."""

    reason: FailureReason
    message: str
    attempts: int = 1


def one_line(text: object, limit: int = 300) -> str:
    """Return the text on one line, the end of it where it is longer than `limit` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else "..." + line[-limit:]
