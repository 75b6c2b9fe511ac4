"""Out-of-fold residuals: each training frame judged by the one member that has not seen it (math 9)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from al_engine.model.batch import in_chunks
from al_engine.model.potential import StackedPotential
from al_engine.training.dataset import Dataset, TrainingBatch
from al_engine.training.objective import Residuals, coherent_nll, residuals

_ATOMS_PER_CHECK = 600


@dataclass(frozen=True)
class FoldResiduals:
    """Out-of-fold residuals of all training frames, each of the one member that has not seen it.

    Attributes:
        energy: Shape (n_frames,), eV.
        coupled: Shape (n_atoms, 3), eV/Å.
        energy_variance: Shape (n_frames,), eV².
        force_noise: Shape (n_atoms,), (eV/Å)².
        stress: Shape (n_frames, 3, 3), eV/Å³; zeros where a frame has none.
        stress_noise: Shape (n_frames,), (eV/Å³)².
        volume: Shape (n_frames,), Å³.
        nll: Mean negative log likelihood a label, nats.
        frame_n_atoms: Shape (n_frames,).
    """

    energy: NDArray[np.float64]
    coupled: NDArray[np.float64]
    energy_variance: NDArray[np.float64]
    force_noise: NDArray[np.float64]
    stress: NDArray[np.float64]
    stress_noise: NDArray[np.float64]
    volume: NDArray[np.float64]
    nll: float
    frame_n_atoms: NDArray[np.int64]


def fold_residuals(
    net: StackedPotential, dataset: Dataset, *, with_noise: bool, most: int | None = None
) -> FoldResiduals:
    """Evaluate each training frame with the member that has not learned from it; `most`: the first ones."""
    device, dtype = next(net.parameters()).device, next(net.parameters()).dtype
    parts: list[tuple[Residuals, Tensor, TrainingBatch]] = []
    for index in in_chunks(dataset.n_atoms[:most].tolist(), _ATOMS_PER_CHECK):
        batch = dataset.batch(index, device=device, dtype=dtype)
        res = residuals(net, batch, with_noise=with_noise, differentiable=False)
        nll = coherent_nll(res, batch).detach()
        frames = torch.arange(batch.frames.n_frames, device=device)
        atoms = torch.arange(batch.frames.n_atoms, device=device)
        member, atom_member = batch.fold, batch.fold[batch.frames.frame_index]
        own = Residuals(
            res.energy[member, frames], res.coupled[atom_member, atoms],
            res.energy_variance[member, frames], res.force_noise[atom_member, atoms],
            res.stress[member, frames], res.stress_noise[member, frames],
        )  # fmt: skip
        parts.append((own, nll[member, frames], batch))

    def joined(tensors: list[Tensor]) -> NDArray[np.float64]:
        array: NDArray[np.float64] = torch.cat(tensors).detach().cpu().numpy().astype(np.float64)
        return array

    n_atoms = joined([batch.n_atoms for _, _, batch in parts])
    total_nll = joined([value for _, value, _ in parts]).sum()
    return FoldResiduals(
        joined([own.energy for own, _, _ in parts]),
        joined([own.coupled for own, _, _ in parts]),
        joined([own.energy_variance for own, _, _ in parts]),
        joined([own.force_noise for own, _, _ in parts]),
        joined([own.stress for own, _, _ in parts]),
        joined([own.stress_noise for own, _, _ in parts]),
        joined([batch.frames.volume for _, _, batch in parts]),
        float(total_nll / joined([batch.n_labels for _, _, batch in parts]).sum()),
        n_atoms.astype(np.int64),
    )


@torch.no_grad()
def start_noise(net: StackedPotential, fold: FoldResiduals, dataset: Dataset) -> None:
    """Set the noise to the size of each member's out-of-fold residuals, the same on every atom.

    sigma² / n_atoms = mean r_E² / n_atoms; 1/l² by the closed form of math 3 for nine tenths of the
    force residuals, white noise for the last tenth; 1/l_eta² likewise from the stress.
    """
    scale = net.arch.force_scale
    frame_of_atom = np.repeat(np.arange(len(dataset)), fold.frame_n_atoms)
    for member in range(net.arch.n_members):
        own = dataset.folds == member
        if not own.any():
            own = np.ones(len(dataset), dtype=bool)
        v = float(np.mean(fold.energy[own] ** 2 / fold.frame_n_atoms[own])) + (1e-3 * scale) ** 2
        tau2 = float(np.mean(fold.coupled[own[frame_of_atom]] ** 2)) + (1e-3 * scale) ** 2
        source = v * float(fold.frame_n_atoms[own].mean()) if net.arch.noise == "global" else v / 0.9
        net.noise_bias[member, 0, 0] = _softplus_inverse(math.sqrt(v) / scale)
        net.noise_bias[member, 0, -1] = _softplus_inverse(
            math.sqrt(tau2 if net.arch.noise == "white" else v) / scale
        )
        net.log_length[member] = 0.5 * math.log(source / tau2)
        bulk = own & dataset.has_stress
        if bulk.any():
            virial = (fold.stress[bulk] * fold.volume[bulk, None, None]) ** 2
            per_variance = np.mean(virial, axis=(1, 2)) / (v * fold.frame_n_atoms[bulk])
            net.log_strain_length[member] = -0.5 * math.log(float(per_variance.mean()) + 1e-6)
        net.log_white[member] = 0.5 * math.log(0.1 * tau2) - math.log(scale)
    net.noise_out.weight.zero_()


def _softplus_inverse(value: float) -> float:
    return value if value > 20 else math.log(math.expm1(value))
