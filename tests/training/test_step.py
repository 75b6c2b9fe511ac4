"""A step padded with ghosts, or compiled, gives the gradients of the plain one."""

import shutil

import numpy as np
import pytest
import torch
from test_objective import ENERGIES, crystal, dataset, labeled, network

from al_engine.config import Training
from al_engine.model.potential import Architecture, StackedPotential
from al_engine.records import TrainingFrame
from al_engine.training.batches import BatchLimits, batch_limits, frame_order
from al_engine.training.dataset import BatchShape, Dataset, TrainingBatch, build_dataset
from al_engine.training.step import GradientStep


def batch(data: Dataset, index: list[int], shape: BatchShape | None = None) -> TrainingBatch:
    return data.batch(index, device=torch.device("cpu"), dtype=torch.float64, shape=shape)


def slopes(
    net: StackedPotential, one: TrainingBatch, *, likelihood: bool, compiled: bool = False
) -> torch.Tensor:
    step = GradientStep(net, Training(), compiled=compiled)
    step(one, likelihood=likelihood)
    return torch.cat(
        [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in net.parameters()]
    )


@pytest.mark.parametrize("likelihood", [False, True])
def test_ghosts_change_neither_loss_nor_gradients(likelihood: bool):
    net, data, index = network(), dataset(), [0, 3, 1]
    shape = data.shape(4, 20)
    filled = batch(data, index, shape)
    assert (filled.frames.n_frames, filled.frames.n_atoms) == (shape.n_frames, shape.n_atoms)
    expected = slopes(net, batch(data, index), likelihood=likelihood)
    torch.testing.assert_close(slopes(net, filled, likelihood=likelihood), expected)


@pytest.mark.parametrize("likelihood", [False, True])
def test_a_graph_traced_on_frames_without_stress_serves_those_that_have_one(likelihood: bool):
    items = [labeled(0), labeled(1), crystal(2)]
    data = build_dataset(
        items, [TrainingFrame(i.frame.frame_id, k) for k, i in enumerate(items)], ENERGIES, 4.0
    )
    shape = data.shape(2, 8)
    without, with_stress = batch(data, [0], shape), batch(data, [2], shape)
    assert without.any_stress == with_stress.any_stress  # no tensor, so a traced graph cannot ask again
    expected = slopes(network(), batch(data, [0]), likelihood=likelihood)
    torch.testing.assert_close(slopes(network(), without, likelihood=likelihood), expected)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler (g++)")
def test_compiled_gradients_are_the_eager_ones_on_batches_of_another_content():
    """One layer only: a compiler takes its time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = StackedPotential(Architecture(3, (1, 8), 8, 1, 6, 4.0, 3.0, 1.0)).double()
    data = dataset()
    shape = data.shape(3, 12)
    step = GradientStep(net, Training(), compiled=True)
    step(batch(data, [0, 1, 2], shape), likelihood=True)
    for index in ([3, 4], [5, 2, 1]):
        step(batch(data, index, shape), likelihood=True)
        found = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        expected = slopes(net, batch(data, index), likelihood=True)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_each_frame_comes_once_in_each_round_and_no_batch_is_too_large():
    sizes = np.array([3, 9, 4, 20, 7, 7, 1])
    limits = batch_limits(sizes, 2, 1000)
    assert limits == BatchLimits(4, 20)  # two frames of average size are smaller than the largest frame
    order = frame_order(sizes, limits, seed=3)
    seen: list[int] = []
    while len(seen) < 70:
        frames = next(order)
        assert sizes[frames].sum() <= 20
        assert len(frames) <= 4
        seen += frames
    for k in range(0, 70, 7):
        assert sorted(seen[k : k + 7]) == list(range(7))


def test_frames_of_one_size_come_in_batches_of_one_size():
    sizes = np.full(10, 9)
    assert batch_limits(sizes, 4, 1024) == BatchLimits(4, 36)
    assert batch_limits(sizes, 4, 20) == BatchLimits(2, 20)
    assert batch_limits(sizes, 400, 10_000).n_frames == 10
