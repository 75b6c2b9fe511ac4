"""The trained ensemble as users hold it: load, predict, calibrate, drive dynamics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.model.batch import FrameBatch, Graph, collate, graph, in_chunks
from al_engine.model.bound import BoundEnsemble
from al_engine.model.checkpoint import Provenance, from_bytes, to_bytes
from al_engine.model.force_graphs import ForceGraphs
from al_engine.model.memory import keep_freed_memory
from al_engine.model.potential import StackedPotential
from al_engine.model.slopes import MAX_ATOMS_PER_BATCH, slopes
from al_engine.prediction import Prediction

if TYPE_CHECKING:
    from al_engine.model.calculator import EnsembleCalculator


def resolve_device(name: str) -> torch.device:
    """Return the device: "auto" is the first GPU, else the CPU.

    Raises:
        InputError: CUDA is asked for and not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device = 'cuda': this machine has no CUDA device; use 'auto' or 'cpu'")
    return torch.device(name)


class Ensemble:
    """Members with their calibration; predicts energies, forces and coherent uncertainty."""

    def __init__(self, net: StackedPotential, provenance: Provenance) -> None:
        self.net = net.requires_grad_(False)
        self.provenance = provenance
        self.graphs = ForceGraphs(net)
        keep_freed_memory()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Working precision."""
        return next(self.net.parameters()).dtype

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers it knows, ascending."""
        return tuple(sorted(self.provenance.atomic_energies))

    @property
    def n_members(self) -> int:
        """Number of networks."""
        return self.net.arch.n_members

    @property
    def scales(self) -> tuple[float, float, float]:
        """(s, t, e): factors on sigma², tau² and the members' covariance (math 9)."""
        return self.provenance.scales

    def with_scales(self, s: float, t: float, e: float) -> Ensemble:
        """Return the same networks with another calibration."""
        return Ensemble(self.net, replace(self.provenance, scales=(s, t, e)))

    @classmethod
    def from_bytes(
        cls, data: bytes, *, device: str = "auto", dtype: torch.dtype | str = torch.float32
    ) -> Ensemble:
        """Read a checkpoint from bytes.

        Raises:
            InputError: Not a checkpoint of this program.
        """
        kind = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        return cls(*from_bytes(data, device=resolve_device(device), dtype=kind))

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", dtype: torch.dtype | str = torch.float32
    ) -> Ensemble:
        """Read a checkpoint from a file.

        Raises:
            InputError: The file cannot be read or is no checkpoint of this program.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        return cls.from_bytes(data, device=device, dtype=dtype)

    def to_bytes(self) -> bytes:
        """Serialize networks and calibration."""
        return to_bytes(self.net, self.provenance)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint file."""
        Path(path).write_bytes(self.to_bytes())

    def calculator(self) -> EnsembleCalculator:
        """Return an ASE calculator."""
        from al_engine.model.calculator import EnsembleCalculator

        return EnsembleCalculator(self)

    def bind(self, frames: Sequence[Frame], n_calls: int = 1) -> BoundEnsemble:
        """Prepare for dynamics of these frames together; where there are many calls, they are compiled."""
        return BoundEnsemble(self, frames, n_calls)

    def predict(self, frames: Sequence[Frame | Atoms]) -> Prediction:
        """Predict energies, forces and their uncertainty.

        Raises:
            InputError: No frames, or an element that the ensemble has never seen.
        """
        if not frames:
            raise InputError("predict needs at least one frame")
        as_frames = [f if isinstance(f, Frame) else _unconstrained(f) for f in frames]
        graphs = [graph(f, self.elements, self.net.arch.r_max) for f in as_frames]
        with_stress = any(f.pbc.all() for f in as_frames)
        index = in_chunks([f.n_atoms for f in as_frames], MAX_ATOMS_PER_BATCH)
        chunks = [[graphs[k] for k in chunk] for chunk in index]
        parts = [self._predict(chunk, with_stress=with_stress) for chunk in chunks]
        n_atoms = [f.n_atoms for f in as_frames]
        return Prediction(
            frame_index=np.repeat(np.arange(len(n_atoms)), n_atoms),
            member_energy=np.concatenate([p.member_energy for p in parts], axis=1),
            member_forces=np.concatenate([p.member_forces for p in parts], axis=1),
            noise_variance=np.concatenate([p.noise_variance for p in parts], axis=1),
            noise_gradient=np.concatenate([p.noise_gradient for p in parts], axis=1),
            force_noise=np.concatenate([p.force_noise for p in parts], axis=1),
            epistemic_scale=self.scales[2],
            features=np.concatenate([p.features for p in parts]),
            member_stress=_joined([p.member_stress for p in parts if p.member_stress is not None]),
            stress_noise=_joined([p.stress_noise for p in parts if p.stress_noise is not None]),
        )

    def _predict(self, graphs: Sequence[Graph], *, with_stress: bool) -> Prediction:
        """Predict one batch."""
        arch = self.net.arch
        batch = collate(graphs, arch.r_max, arch.n_species, device=self.device, dtype=self.dtype)
        out = slopes(self.net, batch, with_stress=with_stress)
        noise_gradient, noise_strained = out.noise_gradient, out.noise_strained
        if arch.noise == "white":  # no process in space, so no slope
            noise_gradient, noise_strained = noise_gradient * 0, noise_strained * 0
        s, t, _ = self.scales
        stress = stress_noise = None
        if with_stress:
            stress = torch.where(batch.is_bulk[:, None, None], out.strained, math.nan)
            stress /= batch.volume[:, None, None]
            slope = (noise_strained**2).sum(dim=(-1, -2)) / (4 * out.variance * 6)
            stress_noise = slope / batch.volume**2 + self.net.stress_noise(out.variance, batch.volume)
        return Prediction(
            frame_index=_numpy(batch.frame_index).astype(np.int64),
            member_energy=_numpy(out.energy) + self.isolated_energy(graphs),
            member_forces=-_numpy(out.gradient),
            noise_variance=s * _numpy(out.variance),
            noise_gradient=s * _numpy(noise_gradient),
            force_noise=t * _numpy(out.force_noise),
            epistemic_scale=self.scales[2],
            features=_numpy(self._frame_features(out.features, batch)),
            member_stress=None if stress is None else _numpy(stress),
            stress_noise=None if stress_noise is None else s * _numpy(stress_noise),
        )

    def isolated_energy(self, graphs: Sequence[Graph]) -> np.ndarray:
        """Energy of the isolated atoms of each frame, shape (n_frames,), eV."""
        table = np.array([self.provenance.atomic_energies[z] for z in self.elements])
        return np.array([table[g.species].sum() for g in graphs])

    @staticmethod
    def _frame_features(features: Tensor, batch: FrameBatch) -> Tensor:
        """Mean over the atoms of a frame, all members side by side: (n_frames, n_features)."""
        total = batch.sum_over_atoms(features.transpose(1, 2))
        counts = torch.bincount(batch.frame_index, minlength=batch.n_frames)
        return (total / counts).flatten(0, 1).t()


def _unconstrained(atoms: Atoms) -> Frame:
    """Return the frame of ASE atoms whatever their constraints: these do not change a prediction."""
    bare = atoms.copy()
    bare.set_constraint()
    return Frame.from_ase(bare)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray | None:
    return np.concatenate(parts, axis=1) if parts else None


def _numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy().astype(np.float64)
    return array
