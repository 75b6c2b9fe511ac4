"""Neighbor lists as padded tables: row a holds the neighbors of atom a and the cell shifts to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from vesin import NeighborList

from al_engine.errors import StructureError
from al_engine.frames import Frame

MAX_EXTENT = 1e4
"""Å; a larger structure kills vesin's process and is no sensible input."""


class NeighborTable(NamedTuple):
    """Neighbors of each atom of one frame within a cut-off, images included.

    A padded slot has the atom itself as neighbor and `is_pad` set; it is then placed beyond the cut-off.

    Attributes:
        neighbor: Shape (n_atoms, n_slots).
        shift: Whole cell vectors to the neighbor's image, shape (n_atoms, n_slots, 3).
        is_pad: Shape (n_atoms, n_slots).
        back: Slot of the same pair in the neighbor's row, shape (n_atoms, n_slots).
    """

    neighbor: NDArray[np.int64]
    shift: NDArray[np.int64]
    is_pad: NDArray[np.bool_]
    back: NDArray[np.int64]

    @property
    def n_slots(self) -> int:
        """Slots a row."""
        return int(self.neighbor.shape[1])

    def padded_to(self, n_slots: int) -> NeighborTable:
        """Return the table with more (padded) slots."""
        n_atoms, extra = len(self.neighbor), n_slots - self.n_slots
        own = np.repeat(np.arange(n_atoms)[:, None], extra, axis=1)
        slots = np.repeat(np.arange(self.n_slots, n_slots)[None], n_atoms, axis=0)
        return NeighborTable(
            np.concatenate([self.neighbor, own], axis=1),
            np.concatenate([self.shift, np.zeros((n_atoms, extra, 3), dtype=np.int64)], axis=1),
            np.concatenate([self.is_pad, np.ones((n_atoms, extra), dtype=bool)], axis=1),
            np.concatenate([self.back, slots], axis=1),
        )


def neighbor_table(frame: Frame, cutoff: float) -> NeighborTable:
    """Find all neighbors within `cutoff` Å.

    Raises:
        StructureError: The atoms extend over more than `MAX_EXTENT` Å.
    """
    if np.ptp(frame.positions, axis=0).max() > MAX_EXTENT:
        raise StructureError(f"atoms of {frame.formula} extend over more than {MAX_EXTENT:g} Å")
    i, j, shift = _pairs(frame, cutoff)
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))
    i, j, shift = i[order], j[order], shift[order]
    counts = np.bincount(i, minlength=frame.n_atoms)
    slot = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    n_slots = max(int(counts.max()), 1)
    index = np.repeat(np.arange(frame.n_atoms)[:, None], n_slots, axis=1)
    shifts = np.zeros((frame.n_atoms, n_slots, 3), dtype=np.int64)
    is_pad = np.ones((frame.n_atoms, n_slots), dtype=bool)
    index[i, slot], shifts[i, slot], is_pad[i, slot] = j, shift, False
    back = np.repeat(np.arange(n_slots)[None], frame.n_atoms, axis=0)
    turned = np.lexsort((-shift[:, 2], -shift[:, 1], -shift[:, 0], i, j))  # (j, i, -shift) in the same order
    back[i[turned], slot[turned]] = slot
    return NeighborTable(index, shifts, is_pad, back)


def _pairs(frame: Frame, cutoff: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return i, j and cell shift of each directed pair; dense for small molecules, vesin otherwise."""
    if not frame.is_periodic and frame.n_atoms <= 200:
        difference = frame.positions[:, None] - frame.positions[None]
        close = (difference**2).sum(axis=2) < cutoff**2
        np.fill_diagonal(close, False)
        i, j = np.nonzero(close)
        return i, j, np.zeros((len(i), 3), dtype=np.int64)
    search = NeighborList(cutoff=cutoff, full_list=True)
    i, j, shift = search.compute(points=frame.positions, box=frame.cell, periodic=frame.pbc, quantities="ijS")
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64)
