"""Energy and noise of a batch with their slopes, member for member."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from al_engine.model.batch import FrameBatch
from al_engine.model.potential import AtomOutput, StackedPotential

MAX_ATOMS_PER_BATCH = 1024
"""For a larger frame the members are evaluated one by one: less memory and no more time."""

Network = Callable[..., AtomOutput]


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


def by_members(
    net: StackedPotential, n_atoms: int, evaluate: Callable[[Network, int], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Evaluate all members at once, or one by one where there are many atoms.

    Args:
        net: All members.
        n_atoms: Of the batch.
        evaluate: Takes a network and the number of its members; gives tensors whose first axis they are.
    """
    if n_atoms <= MAX_ATOMS_PER_BATCH:
        return tuple(value.detach() for value in evaluate(net, net.arch.n_members))
    weights = dict(net.named_parameters())
    parts = []
    for k in range(net.arch.n_members):
        own = {name: w[k : k + 1] for name, w in weights.items()}
        parts.append([value.detach() for value in evaluate(call(net, own), 1)])
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))


def slopes(net: StackedPotential, batch: FrameBatch, *, with_stress: bool) -> Slopes:
    """Evaluate all members: one backward pass for all their forces, one for the noise."""

    def evaluate(network: Network, n_members: int) -> Slopes:
        x = batch.positions.expand(n_members, -1, -1).clone().requires_grad_()
        strain = x.new_zeros(n_members, batch.n_frames, 3, 3).requires_grad_()
        inputs = [x, strain] if with_stress else [x]
        out = network(x, batch.offset(), batch, *inputs[1:])
        energy, variance = batch.sum_over_atoms(out.energy), batch.sum_over_atoms(out.variance)
        slope, *strained = torch.autograd.grad(energy.sum(), inputs, retain_graph=True)
        noise_slope, *noise_strained = torch.autograd.grad(variance.sum(), inputs)
        zeros = [torch.zeros_like(strain)]
        return Slopes(
            energy=energy,
            variance=variance,
            force_noise=out.force_noise,
            features=out.features,
            gradient=slope,
            strained=_symmetric(*(strained or zeros)),
            noise_gradient=noise_slope,
            noise_strained=_symmetric(*(noise_strained or zeros)),
        )

    return Slopes(*by_members(net, batch.n_atoms, evaluate))


def call(net: StackedPotential, weights: dict[str, Tensor]) -> Network:
    """Return the network with other weights."""

    def network(*arguments: object) -> AtomOutput:
        out: AtomOutput = functional_call(net, weights, arguments)
        return out

    return network


def _symmetric(matrices: Tensor) -> Tensor:
    return 0.5 * (matrices + matrices.transpose(-1, -2))
