"""Labeled frames prepared for training: graphs, interaction energies, forces, folds; batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from al_engine.frames import Frame
from al_engine.model.batch import FrameBatch, Graph, collate, ghosts, graph
from al_engine.records import LabeledFrame, TrainingFrame


@dataclass(frozen=True)
class TrainingBatch:
    """A batch with its targets.

    Attributes:
        frames: Atoms and neighbors.
        energy: Energy above isolated atoms, shape (n_frames,), eV.
        forces: Shape (n_atoms, 3), eV/Å.
        n_modes: Force components that are not rigid motion, shape (n_frames,).
        n_atoms: Shape (n_frames,).
        fold: Shape (n_frames,).
        stress: Shape (n_frames, 3, 3), eV/Å³; zeros where a frame has none.
        has_stress: 1 where a frame has a stress, else 0, shape (n_frames,).
        weight: 1, and 0 for a ghost that fills the batch up to a fixed shape, shape (n_frames,).
        any_stress: Whether one has; known without a look at the device.
    """

    frames: FrameBatch
    energy: Tensor
    forces: Tensor
    n_modes: Tensor
    n_atoms: Tensor
    fold: Tensor
    stress: Tensor
    has_stress: Tensor
    weight: Tensor
    any_stress: bool

    @property
    def n_labels(self) -> Tensor:
        """Numbers in the label of each frame, shape (n_frames,)."""
        return 1 + 3 * self.n_atoms + 6 * self.has_stress


@dataclass(frozen=True)
class BatchShape:
    """Sizes that every batch is filled up to, so that a compiled graph fits them all."""

    n_frames: int
    n_atoms: int
    n_slots: int


@dataclass
class Dataset:
    """All labeled frames of a training, in the order of the training set.

    Everything is put on the device once; a batch is a choice of rows there.
    """

    graphs: tuple[Graph, ...]
    energies: NDArray[np.float64]
    forces: tuple[NDArray[np.float64], ...]
    n_modes: NDArray[np.int64]
    folds: NDArray[np.int64]
    stresses: NDArray[np.float64]
    """NaN where a frame has none."""
    cutoff: float
    n_species: int
    _whole: dict[tuple[torch.device, torch.dtype], TrainingBatch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.n_atoms = np.array([g.frame.n_atoms for g in self.graphs])
        self._first = np.cumsum(self.n_atoms) - self.n_atoms
        self._n_slots = np.array([g.table.n_slots for g in self.graphs])

    @property
    def has_stress(self) -> NDArray[np.bool_]:
        """Which frames have a stress, shape (n_frames,)."""
        known: NDArray[np.bool_] = np.isfinite(self.stresses.sum(axis=(1, 2)))
        return known

    def __len__(self) -> int:
        return len(self.graphs)

    def shortest_distances(self, at_most: Sequence[float]) -> tuple[float, ...]:
        """Return the least distance of each pair of elements, at most `at_most`: (n_species²,), Å."""
        shortest = np.array(at_most)
        for g in self.graphs:
            i, slot = np.nonzero(~g.table.is_pad)
            j = g.table.neighbor[i, slot]
            r = g.frame.positions[j] - g.frame.positions[i] + g.table.shift[i, slot] @ g.frame.cell
            pair = g.species[i] * self.n_species + g.species[j]
            np.minimum.at(shortest, pair, np.linalg.norm(r, axis=1))
        return tuple(shortest.tolist())

    def shape(self, n_frames: int, n_atoms: int) -> BatchShape:
        """Return the shape of batches of at most so many frames and atoms."""
        n_slots = int(self._n_slots.max())
        if len(set(self.n_atoms.tolist())) == 1:
            return BatchShape(n_frames, n_frames * int(self.n_atoms[0]), n_slots)
        return BatchShape(n_frames + 1, n_atoms + n_frames + 1, n_slots)  # room for a ghost in each place

    def batch(
        self,
        index: Sequence[int],
        *,
        device: torch.device,
        dtype: torch.dtype,
        shape: BatchShape | None = None,
    ) -> TrainingBatch:
        """Join the frames of `index`; with a shape, filled up with ghosts: lone atoms of weight 0."""
        whole = self._on(device, dtype)
        chosen = np.asarray(index)
        n_slots = int(self._n_slots[chosen].max())
        counts, starts = self.n_atoms[chosen], self._first[chosen]
        if shape is not None:
            n_slots = shape.n_slots
            n_ghosts = shape.n_frames - len(chosen)
            if n_ghosts:
                extra = np.ones(n_ghosts, dtype=np.int64)
                extra[0] += shape.n_atoms - int(counts.sum()) - n_ghosts
                chosen = np.concatenate([chosen, np.full(n_ghosts, len(self))])
                counts = np.concatenate([counts, extra])
                starts = np.concatenate([starts, np.full(n_ghosts, self.n_atoms.sum())])
        first = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(first, counts)
        is_ghost = np.repeat(chosen == len(self), counts)
        own = np.repeat(starts, counts) + np.where(is_ghost, 0, within)  # the one ghost, many times
        move = np.arange(len(own)) - own

        def integers(array: NDArray[np.int64]) -> Tensor:
            return torch.as_tensor(array).to(device, non_blocking=True)

        frames, atoms = integers(chosen), integers(own)

        def of_frames(values: Tensor) -> Tensor:
            return values.index_select(0, frames)

        def of_atoms(values: Tensor) -> Tensor:
            return values.index_select(0, atoms)

        old = whole.frames
        return TrainingBatch(
            frames=FrameBatch(
                positions=of_atoms(old.positions),
                element=of_atoms(old.element),
                frame_index=integers(np.repeat(np.arange(len(chosen)), counts)),
                cells=of_frames(old.cells),
                neighbor=of_atoms(old.neighbor[:, :n_slots]) + integers(move)[:, None],
                back=of_atoms(old.back[:, :n_slots]),
                shift=of_atoms(old.shift[:, :n_slots]),
                padding=of_atoms(old.padding[:, :n_slots]),
                electrons=of_atoms(old.electrons),
                is_bulk=of_frames(old.is_bulk),
                n_frames=len(chosen),
            ),
            energy=of_frames(whole.energy),
            forces=of_atoms(whole.forces),
            n_modes=of_frames(whole.n_modes),
            n_atoms=integers(counts).to(dtype),
            fold=of_frames(whole.fold),
            stress=of_frames(whole.stress),
            has_stress=of_frames(whole.has_stress),
            weight=of_frames(whole.weight),
            # batches of one shape share a compiled graph: it has the stress or not for all of them
            any_stress=bool((self.has_stress if shape else self.has_stress[np.asarray(index)]).any()),
        )

    def _on(self, device: torch.device, dtype: torch.dtype) -> TrainingBatch:
        """All frames and one ghost on the device, made once."""
        if (device, dtype) not in self._whole:

            def tensor(array: NDArray[np.generic], kind: torch.dtype = dtype) -> Tensor:
                return torch.as_tensor(array, dtype=kind, device=device)

            graphs = [*self.graphs, *ghosts(self.graphs[0], 1, 1)]
            one, zero = np.ones(1), np.zeros(1)
            self._whole[device, dtype] = TrainingBatch(
                frames=collate(graphs, self.cutoff, self.n_species, device=device, dtype=dtype),
                energy=tensor(np.concatenate([self.energies, zero])),
                forces=tensor(np.concatenate([*self.forces, np.zeros((1, 3))])),
                n_modes=tensor(np.concatenate([self.n_modes, one])),
                n_atoms=tensor(np.concatenate([self.n_atoms, one])),
                fold=tensor(np.concatenate([self.folds, zero]), torch.int64),
                stress=tensor(np.concatenate([np.nan_to_num(self.stresses), np.zeros((1, 3, 3))])),
                has_stress=tensor(np.concatenate([self.has_stress, zero])),
                weight=tensor(np.concatenate([np.ones(len(self)), zero])),
                any_stress=bool(self.has_stress.any()),
            )
        return self._whole[device, dtype]


def build_dataset(
    labeled: Sequence[LabeledFrame],
    training_set: Sequence[TrainingFrame],
    atomic_energies: Mapping[int, float],
    cutoff: float,
) -> Dataset:
    """Prepare the frames of a training set, in its order."""
    by_id = {item.frame.frame_id: item for item in labeled}
    items = [by_id[entry.frame_id] for entry in training_set]
    elements = sorted(atomic_energies)
    return Dataset(
        graphs=tuple(graph(item.frame, elements, cutoff) for item in items),
        energies=np.array(
            [i.label.energy - sum(atomic_energies[int(z)] for z in i.frame.numbers) for i in items]
        ),
        forces=tuple(item.label.forces for item in items),
        n_modes=np.array([internal_modes(item.frame) for item in items]),
        folds=np.array([entry.fold for entry in training_set]),
        stresses=np.array([_stress(item) for item in items]),
        cutoff=cutoff,
        n_species=len(elements),
    )


def _stress(item: LabeledFrame) -> NDArray[np.float64]:
    """Return the stress of the label; NaN where there is none, or a direction is not periodic."""
    if item.label.stress is None or not item.frame.pbc.all():
        return np.full((3, 3), np.nan)
    return item.label.stress


def internal_modes(frame: Frame) -> int:
    """Count the force components that are not rigid motion (math 3).

    3 N - 6 for a molecule, 3 N - 5 for a linear one, 0 for an atom, 3 N - 3 for a periodic frame.
    """
    n = 3 * frame.n_atoms
    centered = frame.positions - frame.positions.mean(axis=0)
    shifts = np.tile(np.eye(3), (frame.n_atoms, 1))
    if frame.is_periodic:
        return n - 3
    turns = np.cross(np.eye(3)[None], centered[:, None]).transpose(0, 2, 1).reshape(n, 3)
    return n - int(np.linalg.matrix_rank(np.hstack([shifts, turns]), tol=1e-3))
