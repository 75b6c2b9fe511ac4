"""Frames as one batch of tensors: atoms of all frames in a row, neighbors in a padded table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.model.neighbors import NeighborTable, neighbor_table


@dataclass(frozen=True)
class FrameBatch:
    """A ragged batch.

    Attributes:
        positions: Shape (n_atoms, 3), Å, in the working precision.
        frame_index: Frame of each atom, shape (n_atoms,).
        cells: Shape (n_frames, 3, 3), rows, Å.
        element: Place of each atom's element in the ensemble's list, as a row of a unit matrix, shape
            (n_atoms, n_species), working precision.
        neighbor: Shape (n_atoms, n_slots).
        back: Slot of the same pair in the neighbor's row, shape (n_atoms, n_slots).
        shift: Whole cell vectors to the neighbor, shape (n_atoms, n_slots, 3), working precision.
        electrons: Charge (e) and number of unpaired electrons of each atom's frame, shape (n_atoms, 2).
        is_bulk: Whether all directions are periodic, so that there is a stress, shape (n_frames,).
        padding: Displacement added to padded slots, beyond every cut-off, shape (n_atoms, n_slots, 3).
        n_frames: Number of frames.
    """

    positions: Tensor
    element: Tensor
    frame_index: Tensor
    cells: Tensor
    neighbor: Tensor
    back: Tensor
    shift: Tensor
    padding: Tensor
    electrons: Tensor
    is_bulk: Tensor
    n_frames: int

    @property
    def n_atoms(self) -> int:
        """Atoms of all frames."""
        return len(self.positions)

    def offset(self, cells: Tensor | None = None) -> Tensor:
        """Displacement from periodic images and padding, shape (..., n_atoms, n_slots, 3), Å."""
        cells = self.cells if cells is None else cells
        own = cells.index_select(-3, self.frame_index)
        return self.shift @ own + self.padding

    @property
    def reverse(self) -> Tensor:
        """Place of the same pair in the neighbor's row, in the flat table, shape (n_atoms, n_slots)."""
        return self.neighbor * self.neighbor.shape[1] + self.back

    @property
    def volume(self) -> Tensor:
        """Volume of each cell, shape (n_frames,), Å³; 1 where a direction is not periodic."""
        volume: Tensor = torch.linalg.det(self.cells).abs()
        return torch.where(self.is_bulk, volume, torch.ones_like(volume))

    def sum_over_atoms(self, values: Tensor) -> Tensor:
        """Sum per-atom values (..., n_atoms) over each frame: (..., n_frames)."""
        out = values.new_zeros((*values.shape[:-1], self.n_frames))
        return out.index_add(-1, self.frame_index, values)


@dataclass(frozen=True)
class Graph:
    """One frame prepared for batching: its neighbor table and species are found once."""

    frame: Frame
    species: np.ndarray
    table: NeighborTable


def graph(frame: Frame, elements: Sequence[int], cutoff: float) -> Graph:
    """Prepare a frame.

    Raises:
        InputError: The frame has an element that the ensemble has never seen.
    """
    position = {z: k for k, z in enumerate(elements)}
    unknown = sorted({int(z) for z in frame.numbers} - position.keys())
    if unknown:
        raise InputError(
            f"frame {frame.frame_id[:12]} ({frame.formula}) has elements Z = {unknown} that the ensemble"
            f" has never seen; it knows Z = {list(elements)}"
        )
    species = np.array([position[int(z)] for z in frame.numbers], dtype=np.int64)
    return Graph(frame, species, neighbor_table(frame, cutoff))


def ghosts(like: Graph, n_frames: int, n_atoms: int) -> list[Graph]:
    """Frames of lone atoms that fill a batch up: `n_atoms` in all, at the origin; they have no neighbors."""
    counts = [1] * n_frames
    counts[:1] = [n_atoms - n_frames + 1] * min(n_frames, 1)
    return [_lone_atoms(like, n) for n in counts]


def _lone_atoms(like: Graph, n: int) -> Graph:
    frame = Frame(like.frame.numbers[:1].repeat(n), np.zeros((n, 3)))
    own, slot = np.arange(n)[:, None], np.zeros((n, 1), dtype=np.int64)
    table = NeighborTable(own, np.zeros((n, 1, 3), dtype=np.int64), slot == 0, slot)
    return Graph(frame, like.species[:1].repeat(n), table)


def collate(
    graphs: Sequence[Graph],
    cutoff: float,
    n_species: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
    n_slots: int | None = None,
) -> FrameBatch:
    """Join prepared frames into one batch, in a table as wide as needed or of `n_slots`."""
    n_slots = n_slots or max(g.table.n_slots for g in graphs)
    tables = [g.table.padded_to(n_slots) for g in graphs]
    counts = np.array([g.frame.n_atoms for g in graphs])
    first = np.repeat(np.cumsum(counts) - counts, counts)
    padding = np.zeros((len(first), n_slots, 3))
    padding[np.concatenate([t.is_pad for t in tables])] = (2 * cutoff, 0.0, 0.0)

    def floats(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=dtype, device=device)

    def integers(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.int64, device=device)

    species = np.concatenate([g.species for g in graphs])
    neighbor = np.concatenate([t.neighbor for t in tables]) + first[:, None]
    electrons = np.array([[g.frame.charge, g.frame.multiplicity - 1] for g in graphs])
    return FrameBatch(
        positions=floats(np.concatenate([g.frame.positions for g in graphs])),
        element=floats(np.eye(n_species)[species]),
        frame_index=integers(np.repeat(np.arange(len(graphs)), counts)),
        cells=floats(np.stack([g.frame.cell for g in graphs])),
        neighbor=integers(neighbor),
        back=integers(np.concatenate([t.back for t in tables])),
        shift=floats(np.concatenate([t.shift for t in tables])),
        padding=floats(padding),
        electrons=floats(np.repeat(electrons, counts, axis=0)),
        is_bulk=torch.as_tensor([g.frame.pbc.all() for g in graphs], device=device),
        n_frames=len(graphs),
    )


def in_chunks(n_atoms: Sequence[int], most: int) -> Iterator[list[int]]:
    """Split frames into runs of at most `most` atoms (or one frame); yields their places."""
    chunk: list[int] = []
    total = 0
    for place, n in enumerate(n_atoms):
        if chunk and total + n > most:
            yield chunk
            chunk, total = [], 0
        chunk.append(place)
        total += n
    yield chunk
