"""A start for the training: the linear readout by least squares over the untrained invariants."""

from __future__ import annotations

import numpy as np
import torch

from al_engine.model.potential import StackedPotential
from al_engine.training.dataset import Dataset

_MAX_FRAMES = 24
_MAX_ATOMS = 256
"""Each column of the fit is a backward pass over all of them; there are always two frames of a fold."""
_RIDGE = 1e-4


def fit_readout(net: StackedPotential, dataset: Dataset, energy_weight: float) -> None:
    """Fit each member's readout to energies and forces of a few frames outside its fold, in place.

    Isolated atoms have no invariants, so the whole binding energy (several eV an atom) must come out of
    the readout; gradient steps of bounded length would spend most of a short training on it.
    """
    device, dtype = next(net.parameters()).device, next(net.parameters()).dtype
    n_frames = min(_MAX_FRAMES, max(2 * net.arch.n_members, round(_MAX_ATOMS / dataset.n_atoms.mean())))
    batch = dataset.batch(_from_each_fold(dataset, n_frames), device=device, dtype=dtype)
    x = batch.frames.positions.expand(net.arch.n_members, -1, -1).clone().requires_grad_()
    with torch.no_grad():
        net.energy_out.weight.zero_()
        net.readout.weight.zero_()
    out = net(x, batch.frames.offset(), batch.frames)  # the repulsion alone
    repulsion = batch.frames.sum_over_atoms(out.energy)
    (slope,) = torch.autograd.grad(repulsion.sum(), x, retain_graph=True)
    rest_energy, rest_forces = batch.energy - repulsion.detach(), batch.forces + slope
    columns = batch.frames.sum_over_atoms(out.features.transpose(1, 2))
    gradients = [
        torch.autograd.grad(columns[:, k].sum(), x, retain_graph=True)[0] for k in range(columns.shape[1])
    ]
    scale = net.arch.force_scale
    row = energy_weight**0.5 / batch.n_atoms
    with torch.no_grad():
        for member in range(net.arch.n_members):
            learn = batch.fold != member
            atoms = learn[batch.frames.frame_index]
            energy = (columns[member] * row)[:, learn].double() * scale
            forces = torch.stack([-g[member][atoms].reshape(-1) for g in gradients]).double() * scale
            design = torch.cat([energy, forces], dim=1)
            target = torch.cat(
                [(rest_energy[member] * row)[learn], rest_forces[member][atoms].reshape(-1)]
            ).double()
            gram = design @ design.T
            gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
            solution = torch.linalg.solve(gram, design @ target)
            net.readout.weight[member] = solution.to(dtype).unsqueeze(-1)


def _from_each_fold(dataset: Dataset, n_frames: int) -> list[int]:
    """Choose frames of all folds alike: the first of each, then the second of each ..."""
    folds = dataset.folds
    rank = np.array([(folds[:k] == fold).sum() for k, fold in enumerate(folds)])
    chosen: list[int] = np.lexsort((folds, rank))[:n_frames].tolist()
    return chosen
