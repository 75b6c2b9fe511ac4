"""What one reference calculation returns: numbers, or an expected failure with its reason."""

from __future__ import annotations

import json
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


def to_json(outcome: Computed | Failed, seconds: float) -> bytes:
    """Return an outcome as it goes from process to process: a pickle could be a calculator's own."""
    if isinstance(outcome, Failed):
        return json.dumps([seconds, outcome.reason, outcome.message, outcome.attempts]).encode()
    forces, stress = (None if a is None else a.tolist() for a in (outcome.forces, outcome.stress))
    return json.dumps([seconds, None, float(outcome.energy), forces, stress]).encode()


def from_json(data: bytes) -> tuple[Computed | Failed, float]:
    """Return what `to_json` was given, bit by bit.

    Raises:
        ValueError, TypeError: `data` is something else.
    """
    seconds, reason, *rest = json.loads(data)
    if reason is not None:
        message, attempts = rest
        return Failed(FailureReason(reason), str(message), int(attempts)), float(seconds)
    energy, forces, stress = rest
    arrays = (np.array(forces, np.float64), None if stress is None else np.array(stress, np.float64))
    return Computed(float(energy), *arrays), float(seconds)


def one_line(text: object, limit: int = 300) -> str:
    """Return the text on one line, the end of it where it is longer than `limit` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else "..." + line[-limit:]
