"""Energy and noise of a batch with their slopes, member for member."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from al_engine.model.batch import FrameBatch
from al_engine.model.potential import AtomOutput, StackedPotential

MAX_ATOMS_PER_BATCH = 1024
"""For a larger frame the members are evaluated one by one: less memory and no more time."""


class Slopes(NamedTuple):
    """Detached; the slopes by strain are zeros where they were not asked for.

    Attributes:
        energy: Above the isolated atoms, shape (n_members, n_frames), eV.
        variance: sigma², shape (n_members, n_frames), eV².
        force_noise: tau_a², shape (n_members, n_atoms), (eV/Å)².
        features: Invariants, shape (n_members, n_atoms, n_features).
        gradient: Of the energy by positions, shape (n_members, n_atoms, 3), eV/Å.
        strained: Of the energy by strain, shape (n_members, n_frames, 3, 3), eV.
        noise_gradient: Of sigma² by positions, shape (n_members, n_atoms, 3), eV²/Å.
        noise_strained: Of sigma² by strain, shape (n_members, n_frames, 3, 3), eV².
    """

    energy: Tensor
    variance: Tensor
    force_noise: Tensor
    features: Tensor
    gradient: Tensor
    strained: Tensor
    noise_gradient: Tensor
    noise_strained: Tensor


def slopes(net: StackedPotential, batch: FrameBatch, *, with_stress: bool) -> Slopes:
    """Evaluate all members: one backward pass for all their forces, one for the noise."""
    weights: dict[str, Tensor] = dict(net.named_parameters())
    if batch.n_atoms <= MAX_ATOMS_PER_BATCH:
        return _slopes(net, weights, batch, with_stress=with_stress)
    one_by_one = [
        _slopes(net, {name: w[k : k + 1] for name, w in weights.items()}, batch, with_stress=with_stress)
        for k in range(net.arch.n_members)
    ]
    return Slopes(*(torch.cat(parts) for parts in zip(*one_by_one, strict=True)))


def _slopes(
    net: StackedPotential, weights: dict[str, Tensor], batch: FrameBatch, *, with_stress: bool
) -> Slopes:
    """Evaluate the members whose weights are given."""
    n_members = len(weights["log_length"])
    x = batch.positions.expand(n_members, -1, -1).clone().requires_grad_()
    strain = x.new_zeros(n_members, batch.n_frames, 3, 3).requires_grad_()
    inputs = [x, strain] if with_stress else [x]
    out: AtomOutput = functional_call(net, weights, (x, batch.offset(), batch, *inputs[1:]))
    energy, variance = batch.sum_over_atoms(out.energy), batch.sum_over_atoms(out.variance)
    slope, *strained = torch.autograd.grad(energy.sum(), inputs, retain_graph=True)
    noise_slope, *noise_strained = torch.autograd.grad(variance.sum(), inputs)
    zeros = [torch.zeros_like(strain)]
    return Slopes(
        energy=energy.detach(),
        variance=variance.detach(),
        force_noise=out.force_noise.detach(),
        features=out.features.detach(),
        gradient=slope,
        strained=_symmetric(*(strained or zeros)),
        noise_gradient=noise_slope,
        noise_strained=_symmetric(*(noise_strained or zeros)),
    )


def _symmetric(matrices: Tensor) -> Tensor:
    return 0.5 * (matrices + matrices.transpose(-1, -2))
