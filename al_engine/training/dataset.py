"""Labeled frames prepared for training: graphs, interaction energies, forces, folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from al_engine.frames import Frame
from al_engine.model.batch import FrameBatch, Graph, collate, graph
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
    any_stress: bool

    @property
    def n_labels(self) -> Tensor:
        """Numbers in the label of each frame, shape (n_frames,)."""
        return 1 + 3 * self.n_atoms + 6 * self.has_stress


@dataclass(frozen=True)
class Dataset:
    """All labeled frames of a training, in the order of the training set."""

    graphs: tuple[Graph, ...]
    energies: NDArray[np.float64]
    forces: tuple[NDArray[np.float64], ...]
    n_modes: NDArray[np.int64]
    folds: NDArray[np.int64]
    stresses: NDArray[np.float64]
    """NaN where a frame has none."""
    cutoff: float
    n_species: int

    @property
    def has_stress(self) -> NDArray[np.bool_]:
        """Which frames have a stress, shape (n_frames,)."""
        known: NDArray[np.bool_] = np.isfinite(self.stresses.sum(axis=(1, 2)))
        return known

    def __len__(self) -> int:
        return len(self.graphs)

    def batch(self, index: Sequence[int], *, device: torch.device, dtype: torch.dtype) -> TrainingBatch:
        """Join the frames of `index`."""
        graphs = [self.graphs[k] for k in index]

        def tensor(array: NDArray[np.generic], kind: torch.dtype) -> Tensor:
            return torch.as_tensor(array, dtype=kind, device=device)

        chosen = np.asarray(index)
        return TrainingBatch(
            frames=collate(graphs, self.cutoff, self.n_species, device=device, dtype=dtype),
            energy=tensor(self.energies[chosen], dtype),
            forces=tensor(np.concatenate([self.forces[k] for k in index]), dtype),
            n_modes=tensor(self.n_modes[chosen], dtype),
            n_atoms=tensor(np.array([g.frame.n_atoms for g in graphs]), dtype),
            fold=tensor(self.folds[chosen], torch.int64),
            stress=tensor(np.nan_to_num(self.stresses[chosen]), dtype),
            has_stress=tensor(self.has_stress[chosen], dtype),
            any_stress=bool(self.has_stress[chosen].any()),
        )


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
