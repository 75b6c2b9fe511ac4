"""Which frames come together: batches of about as many atoms, in an order drawn once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BatchLimits:
    """The most frames and atoms of a batch."""

    n_frames: int
    n_atoms: int


def batch_limits(n_atoms: NDArray[np.int64], batch_size: int, most: int) -> BatchLimits:
    """Return the limits for frames of these sizes: `batch_size` frames of average size, `most` atoms.

    Frames of one size come `batch_size` at a time; of small ones among larger up to twice as many.
    """
    largest, mean = int(n_atoms.max()), float(n_atoms.mean())
    atoms = max(largest, min(most, round(batch_size * mean)))
    alike = largest == int(n_atoms.min())
    frames = min(len(n_atoms), max(1, atoms // largest) if alike else 2 * batch_size)
    return BatchLimits(frames, atoms)


def frame_order(n_atoms: NDArray[np.int64], limits: BatchLimits, seed: int) -> Iterator[list[int]]:
    """Yield batches from an endless row of permutations; each is as large as the limits allow."""
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    while True:
        batch: list[int] = []
        total = 0
        while len(batch) < limits.n_frames:
            if not waiting:
                waiting = rng.permutation(len(n_atoms)).tolist()[::-1]
            if batch and total + n_atoms[waiting[-1]] > limits.n_atoms:
                break
            batch.append(waiting.pop())
            total += int(n_atoms[batch[-1]])
        yield batch
