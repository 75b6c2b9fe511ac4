"""The loss against a dense normal density, and who learns from what. Float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from al_engine.config import Training
from al_engine.frames import Frame
from al_engine.model.potential import Architecture, NoiseKind, StackedPotential
from al_engine.records import Label, LabeledFrame, Origin, TrainingFrame
from al_engine.training.dataset import Dataset, TrainingBatch, build_dataset, internal_modes
from al_engine.training.objective import batch_loss, coherent_nll, fold_weights, residuals, squared_error

ENERGIES = {1: -0.5, 8: -2.0}


def labeled(seed: int) -> LabeledFrame:
    rng = np.random.default_rng(seed)
    n_atoms = 3 + seed % 2
    grid = np.array([[0.0, 0, 0], [1.1, 0, 0.1], [0.2, 1.2, 0], [0.1, 0.3, 1.3]])
    frame = Frame(np.array([8, 1, 1, 1])[:n_atoms], grid[:n_atoms] + rng.normal(0, 0.1, (n_atoms, 3)))
    label = Label(frame.frame_id, "test", float(rng.normal(-5, 1)), rng.normal(0, 1, (n_atoms, 3)))
    return LabeledFrame(frame, label, 0, Origin.INITIAL, frame.frame_id)


def dataset(n: int = 6) -> Dataset:
    items = [labeled(k) for k in range(n)]
    folds = [TrainingFrame(item.frame.frame_id, k % 3) for k, item in enumerate(items)]
    return build_dataset(items, folds, ENERGIES, 4.0)


def network(seed: int = 0, noise: NoiseKind = "local") -> StackedPotential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = StackedPotential(Architecture(3, (1, 8), 8, 2, 6, 4.0, 3.0, 1.0, noise)).double()
        with torch.no_grad():
            net.noise_out.weight.mul_(20)
            net.noise_bias.copy_(torch.randn(net.noise_bias.shape))
            net.log_length.copy_(torch.randn(3) * 0.3)
            net.log_white.copy_(torch.randn(3))
    return net


def batch(data: Dataset) -> TrainingBatch:
    return data.batch(range(len(data)), device=torch.device("cpu"), dtype=torch.float64)


def dense(net: StackedPotential, data: TrainingBatch, member: int, frame: int) -> float:
    """-log N of (r_E, r_F) with the full covariance, from two separate gradients."""
    x = data.frames.positions.expand(3, -1, -1).clone().requires_grad_()
    out = net(x, data.frames.offset(), data.frames)
    mu, variance = (data.frames.sum_over_atoms(v) for v in (out.energy, out.variance))
    (slope,) = torch.autograd.grad(mu.sum(), x, retain_graph=True)
    (variance_slope,) = torch.autograd.grad(variance.sum(), x)
    mu, variance = mu.detach(), variance.detach()
    own = data.frames.frame_index == frame
    sigma = float(variance[member, frame].sqrt())
    g = (variance_slope[member, own] / (2 * sigma)).reshape(-1).numpy()
    tau2 = out.force_noise[member, own].detach().repeat_interleave(3).numpy()
    u = np.concatenate([[sigma], 0 * g if net.arch.noise == "white" else -g])  # white noises have no link
    covariance = np.diag(np.concatenate([[0.0], tau2])) + np.outer(u, u)
    r_energy = float(data.energy[frame] - mu[member, frame])
    r_forces = (data.forces[own] + slope[member, own]).reshape(-1).numpy()
    residual = np.concatenate([[r_energy], r_forces])
    return -float(multivariate_normal(cov=covariance, allow_singular=False).logpdf(residual))


@pytest.mark.parametrize("noise", ["local", "global", "white"])
def test_one_pass_likelihood_equals_the_dense_normal_density(noise: NoiseKind):
    net, data = network(noise=noise), batch(dataset())
    res = residuals(net, data, with_noise=True)
    full = replace(data, n_modes=3 * data.n_atoms)  # all 3 N components: the density that the dense one is
    constant = 0.5 * math.log(2 * math.pi) * (1 + 3 * data.n_atoms)
    nll = (coherent_nll(res, full) + constant).detach().numpy()
    expected = [[dense(net, data, m, f) for f in range(6)] for m in range(3)]
    np.testing.assert_allclose(nll, expected, rtol=1e-9)


def test_global_force_noise_is_that_of_one_process_and_white_noise_has_a_head_of_its_own():
    data = batch(dataset())
    x = data.frames.positions.expand(3, -1, -1)
    net = network(noise="global")
    out = net(x, data.frames.offset(), data.frames)
    sigma2 = data.frames.sum_over_atoms(out.variance)
    expected = (sigma2 / net.log_length.exp()[:, None] ** 2)[:, data.frames.frame_index]
    torch.testing.assert_close(out.force_noise, expected)
    net = network(noise="white")
    before = net(x, data.frames.offset(), data.frames)
    with torch.no_grad():
        net.noise_bias[..., 1] += 1
    after = net(x, data.frames.offset(), data.frames)
    torch.testing.assert_close(after.variance, before.variance)
    assert (after.force_noise > before.force_noise).all()


def test_beta_weights_each_frame_by_a_constant_power_of_its_variance():
    net, data = network(), batch(dataset())
    settings = Training(beta=0.5)
    res = residuals(net, data, with_noise=True)
    learns = fold_weights(data.fold, 3).double()
    weights = learns * (res.energy_variance.detach() / data.n_atoms).sqrt()
    nll = coherent_nll(res, data) / data.n_labels
    expected = ((nll * weights).sum(dim=1) / weights.sum(dim=1)).sum()
    loss = batch_loss(net, data, settings, likelihood=True)
    torch.testing.assert_close(loss, expected)
    parameters = [net.noise_bias, net.readout.weight]
    for got, wanted in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(got, wanted)
    assert not torch.isclose(loss, batch_loss(net, data, Training(), likelihood=True))


def test_one_pass_gradients_equal_finite_differences_in_the_weights():
    net, data = network(), batch(dataset())
    parameters = list(net.parameters())

    def loss() -> torch.Tensor:
        return coherent_nll(residuals(net, data, with_noise=True), data).sum()

    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    torch.manual_seed(3)
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=step)
        values.append(float(loss().detach()))
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.sub_(d, alpha=step)
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-5)


def test_a_member_gets_no_gradient_from_the_labels_of_its_fold():
    net, data = network(), batch(dataset())
    weights = fold_weights(data.fold, 3).double()
    for with_noise in (False, True):
        res = residuals(net, data, with_noise=with_noise)
        values = coherent_nll(res, data) if with_noise else squared_error(res, data, 1.0)
        for member in range(3):
            only_fold = (values[member] * weights[member])[data.fold == member].sum()
            assert float(only_fold.detach()) == 0.0
            others = torch.autograd.grad(values[member].sum(), net.readout.weight, retain_graph=True)[0]
            assert not others[[m for m in range(3) if m != member]].any()


def test_internal_modes_by_hand():
    def frame(*positions: tuple[float, float, float]) -> Frame:
        return Frame(np.ones(len(positions)), np.array(positions))

    assert internal_modes(frame((0, 0, 0))) == 0
    assert internal_modes(frame((0, 0, 0), (0.7, 0.2, 0))) == 1
    assert internal_modes(frame((0, 0, 0), (1, 0, 0), (2, 0, 0))) == 4  # linear: 3 N - 5
    assert internal_modes(frame((0, 0, 0), (1, 0, 0), (0, 1, 0))) == 3
    cell = Frame(np.ones(2), np.array([[0.0, 0, 0], [1, 1, 1]]), 3 * np.eye(3), np.ones(3))
    assert internal_modes(cell) == 3


def crystal(seed: int) -> LabeledFrame:
    rng = np.random.default_rng(seed)
    cell = 2.5 * np.eye(3) + rng.normal(0, 0.1, (3, 3))
    frame = Frame(
        np.array([8, 1]),
        np.array([[0.0, 0, 0], [1.2, 1.1, 1.3]]) + rng.normal(0, 0.1, (2, 3)),
        cell,
        np.ones(3),
    )
    stress = rng.normal(0, 0.1, (3, 3))
    label = Label(frame.frame_id, "test", -3.0, rng.normal(0, 1, (2, 3)), stress + stress.T)
    return LabeledFrame(frame, label, 0, Origin.INITIAL, frame.frame_id)


def test_one_pass_likelihood_with_a_stress_equals_the_dense_normal_density():
    """Strain in the Mandel basis as six more coordinates (math 6): C = diag + u u^T over (E, F, S)."""
    item = crystal(0)
    data = build_dataset([item], [TrainingFrame(item.frame.frame_id, 0)], ENERGIES, 4.0)
    net, one = network(), batch(data)
    full = replace(one, n_modes=3 * one.n_atoms)
    nll = coherent_nll(residuals(net, full, with_noise=True), full).detach().numpy()
    x = one.frames.positions.expand(3, -1, -1).clone().requires_grad_()
    strain = torch.zeros(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    out = net(x, one.frames.offset(), one.frames, strain)
    mu, variance = (one.frames.sum_over_atoms(v) for v in (out.energy, out.variance))
    slopes = torch.autograd.grad(mu.sum(), [x, strain], retain_graph=True)
    noise_slopes = torch.autograd.grad(variance.sum(), [x, strain])
    volume = float(one.frames.volume[0])
    tau2 = out.force_noise.detach()
    stress_noise = net.stress_noise(variance, one.frames.volume).detach()

    def mandel(matrix: torch.Tensor) -> np.ndarray:
        m = 0.5 * (matrix + matrix.T).detach().numpy()
        return np.concatenate([np.diag(m), math.sqrt(2) * m[[1, 0, 0], [2, 2, 1]]])

    for m in range(3):
        sigma = float(variance[m, 0].detach().sqrt())
        g, g_eta = noise_slopes[0][m].reshape(-1) / (2 * sigma), mandel(noise_slopes[1][m, 0]) / (2 * sigma)
        u = np.concatenate([[sigma], -g.numpy(), g_eta / volume])
        diagonal = np.concatenate(
            [[0.0], np.repeat(tau2[m].numpy(), 3), np.full(6, float(stress_noise[m, 0]))]
        )
        r = np.concatenate(
            [
                [float((one.energy[0] - mu[m, 0]).detach())],
                (one.forces + slopes[0][m]).reshape(-1).numpy(),
                mandel(one.stress[0]) - mandel(slopes[1][m, 0]) / volume,
            ]
        )
        expected = -multivariate_normal(cov=np.diag(diagonal) + np.outer(u, u)).logpdf(r)
        assert nll[m, 0] + 0.5 * math.log(2 * math.pi) * len(r) == pytest.approx(expected, rel=1e-9)
