"""Losses: weighted squared errors for the warm-up, then the exact coherent likelihood (math 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from al_engine.config import Training
from al_engine.model.potential import StackedPotential
from al_engine.training.dataset import TrainingBatch


class Residuals(NamedTuple):
    """Residuals of every member, and their predicted variances.

    Attributes:
        energy: y_E - mu, shape (n_members, n_frames), eV.
        coupled: v_a = y_F + grad mu + r_E grad log sigma, shape (n_members, n_atoms, 3), eV/Å; without
            noise y_F + grad mu.
        energy_variance: sigma², shape (n_members, n_frames), eV².
        force_noise: tau_a², shape (n_members, n_atoms), (eV/Å)².
        stress: y_S - (grad_eta mu + r_E grad_eta log sigma) / V, shape (n_members, n_frames, 3, 3), eV/Å³
            (math 6); without noise the first two terms; zeros where a frame has no stress.
        stress_noise: Variance of its Mandel components, shape (n_members, n_frames), (eV/Å³)².
    """

    energy: Tensor
    coupled: Tensor
    energy_variance: Tensor
    force_noise: Tensor
    stress: Tensor
    stress_noise: Tensor


def residuals(
    net: StackedPotential, batch: TrainingBatch, *, with_noise: bool, differentiable: bool = True
) -> Residuals:
    """Evaluate all members by one backward pass through the positions.

    w = grad(mu) + r_E grad(log sigma) is one vector-Jacobian product with cotangents (1, r_E); r_E is not
    detached, because the loss depends on its parameters.
    """
    n_members = net.arch.n_members
    x = batch.frames.positions.expand(n_members, -1, -1).clone().requires_grad_()
    volume, n_frames = batch.frames.volume, batch.frames.n_frames
    strain = x.new_zeros(n_members, n_frames, 3, 3)
    inputs = [x]
    if batch.any_stress:
        inputs.append(strain.requires_grad_())
    out = net(x, batch.frames.offset(), batch.frames, strain if len(inputs) > 1 else None)
    mu = batch.frames.sum_over_atoms(out.energy)
    variance = batch.frames.sum_over_atoms(out.variance)
    r_energy = batch.energy - mu
    outputs, cotangents = [mu], [torch.ones_like(mu)]
    if with_noise and net.arch.noise != "white":  # white noises have no link
        outputs.append(0.5 * variance.log())
        cotangents.append(r_energy)
    w, *strained = torch.autograd.grad(outputs, inputs, cotangents, create_graph=differentiable)
    stress = strain.detach()
    if strained:
        virial = 0.5 * (strained[0] + strained[0].transpose(-1, -2))
        mask = batch.has_stress[:, None, None]
        stress = (batch.stress - virial / volume[:, None, None]) * mask
    return Residuals(
        r_energy,
        batch.forces + w,
        variance,
        out.force_noise,
        stress,
        net.stress_noise(variance, volume),
    )


def squared_error(res: Residuals, batch: TrainingBatch, energy_weight: float) -> Tensor:
    """Squared error of each member and frame, shape (n_members, n_frames), (eV/Å)².

    Mean over force components plus energy_weight (1/Å²) times the square of the energy an atom and the
    mean square of the virial's components an atom.
    """
    force = batch.frames.sum_over_atoms((res.coupled**2).sum(dim=-1)) / (3 * batch.n_atoms)
    virial = (res.stress**2).mean(dim=(-1, -2)) * (batch.frames.volume / batch.n_atoms) ** 2
    return force + energy_weight * ((res.energy / batch.n_atoms) ** 2 + virial)


def coherent_nll(res: Residuals, batch: TrainingBatch) -> Tensor:
    """Negative log likelihood of each member and frame, without constants, shape (n_members, n_frames).

    N(r_E; 0, sigma²) prod_a N(r_F,a + r_E grad_a log sigma; 0, tau_a² I), with the number of force
    components lowered to the internal modes (math 3, rigid modes), times the same for the six Mandel
    components of a stress (math 6).
    """
    share = batch.n_modes / batch.n_atoms
    log_det = share * batch.frames.sum_over_atoms(res.force_noise.log())
    quadratic = batch.frames.sum_over_atoms((res.coupled**2).sum(dim=-1) / res.force_noise)
    energy = res.energy**2 / res.energy_variance + res.energy_variance.log()
    stress = (res.stress**2).sum(dim=(-1, -2)) / res.stress_noise + 6 * res.stress_noise.log()
    return 0.5 * (energy + quadratic + log_det + stress * batch.has_stress)


def batch_loss(
    net: StackedPotential, batch: TrainingBatch, settings: Training, *, likelihood: bool
) -> Tensor:
    """Sum over members of the weighted mean over the frames each may learn from.

    beta-NLL (Seitzer et al., ICLR 2022): each frame's likelihood is weighted by (sigma² / n_atoms)^beta,
    taken as a constant, one factor for energy and forces.
    """
    res = residuals(net, batch, with_noise=likelihood)
    weights = fold_weights(batch.fold, net.arch.n_members).to(batch.energy) * batch.weight
    if likelihood:
        values = coherent_nll(res, batch) / batch.n_labels
        if settings.beta > 0:
            weights = weights * (res.energy_variance.detach() / batch.n_atoms) ** settings.beta
    else:
        values = squared_error(res, batch, settings.energy_weight) / net.arch.force_scale**2
    return ((values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-30)).sum()


def fold_weights(fold: Tensor, n_members: int) -> Tensor:
    """1 where member m may learn from a frame, else 0: shape (n_members, n_frames)."""
    members = torch.arange(n_members, device=fold.device)[:, None]
    return (members != fold).to(torch.get_default_dtype())
