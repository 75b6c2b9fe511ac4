"""Folds, the optimizer and a short training."""

import numpy as np
import pytest
import torch
from ase.data import covalent_radii
from hypothesis import given
from hypothesis import strategies as st
from test_objective import dataset, labeled, network

from al_engine.config import Training
from al_engine.frames import Frame
from al_engine.model.repulsion import bond_lengths
from al_engine.records import Label, LabeledFrame, Origin, TrainingFrame
from al_engine.training.crossfit import assign_folds
from al_engine.training.dataset import build_dataset
from al_engine.training.fold import fold_residuals
from al_engine.training.optimizer import StackedMuon, orthogonalized
from al_engine.training.trainer import LOG_COLUMNS, train

ITEMS = [labeled(k) for k in range(24)]


def grouped(groups: list[int]) -> list[LabeledFrame]:
    return [
        LabeledFrame(i.frame, i.label, i.generation, i.origin, f"w{g}")
        for i, g in zip(ITEMS, groups, strict=False)
    ]


@given(st.lists(st.integers(0, 6), min_size=4, max_size=24), st.integers(2, 5), st.randoms())
def test_folds_keep_groups_together_and_never_change(groups: list[int], n_members: int, random):
    items = grouped(groups)
    first = assign_folds(items[: len(items) // 2], {}, n_members)
    known = {entry.frame_id: entry.fold for entry in first}
    later = assign_folds(items, known, n_members)
    folds = {entry.frame_id: entry.fold for entry in later}
    assert known.items() <= folds.items()
    assert [entry.frame_id for entry in later] == sorted(folds)
    by_group: dict[str, set[int]] = {}
    for item in items:
        by_group.setdefault(item.group, set()).add(folds[item.frame.frame_id])
    assert all(len(found) == 1 for found in by_group.values())
    shuffled = list(items)
    random.shuffle(shuffled)
    assert assign_folds(shuffled, known, n_members) == later


def test_single_frames_fill_the_folds_evenly():
    folds = [entry.fold for entry in assign_folds(grouped(list(range(22))), {}, 4)]
    assert sorted(np.bincount(folds)) == [5, 5, 6, 6]


def test_orthogonalized_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((3, 8, 8), (2, 5, 12), (2, 12, 5)):
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape, dtype=torch.float64)))
        assert 0.5 < values.min() < values.max() < 1.3  # the quintic's known band


def test_a_members_step_depends_on_its_own_gradient_only():
    torch.manual_seed(0)
    weights, gradients = torch.randn(3, 6, 6), torch.randn(3, 6, 6)
    together, alone = torch.nn.Parameter(weights.clone()), torch.nn.Parameter(weights[1:2].clone())
    for parameter, gradient in ((together, gradients), (alone, gradients[1:2])):
        parameter.grad = gradient
        StackedMuon([parameter]).step(0.1)
    torch.testing.assert_close(together[1:2], alone)


def test_training_repeats_bit_by_bit():
    data = dataset(12)
    settings = Training(n_steps=60, batch_size=4)
    weights, logs = [], []
    for _ in range(2):
        net = network().float()
        log = train(net, data, settings, seed=5).log
        logs.append(log)
        weights.append(torch.cat([p.detach().reshape(-1) for p in net.parameters()]))
    assert torch.equal(weights[0], weights[1])
    np.testing.assert_array_equal(logs[0], logs[1])
    assert logs[0].shape[1] == len(LOG_COLUMNS)
    assert np.isfinite(logs[0]).all()


def test_training_on_an_easy_surface_learns_it():
    """Labels made by another network: the out-of-fold force error falls far below the forces' size."""
    teacher = network(7)
    with torch.no_grad():
        teacher.readout.weight.mul_(3)
    base = dataset(24)
    truth = base.batch(range(24), device=torch.device("cpu"), dtype=torch.float64)
    x = truth.frames.positions.expand(3, -1, -1).clone().requires_grad_()
    energy = truth.frames.sum_over_atoms(teacher(x, truth.frames.offset(), truth.frames).energy)
    (slope,) = torch.autograd.grad(energy.sum(), x)
    forces = np.split(-slope[0].numpy(), np.cumsum([g.frame.n_atoms for g in base.graphs])[:-1])
    isolated = [sum({1: -0.5, 8: -2.0}[int(z)] for z in g.frame.numbers) for g in base.graphs]
    items = [
        LabeledFrame(g.frame, Label(g.frame.frame_id, "t", float(e) + e0, f), 0, Origin.INITIAL, str(k))
        for k, (g, e, e0, f) in enumerate(zip(base.graphs, energy[0].detach(), isolated, forces, strict=True))
    ]
    folds = [TrainingFrame(i.frame.frame_id, k % 3) for k, i in enumerate(items)]
    data = build_dataset(items, folds, {1: -0.5, 8: -2.0}, 4.0)
    net = network(1).float()
    result = train(net, data, Training(n_steps=300, batch_size=8), seed=0)
    size = float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))
    error = float(np.sqrt(np.mean(fold_residuals(net, data, with_noise=False).coupled ** 2)))
    assert error < 0.35 * size
    assert np.isfinite(result.fold.nll)


@pytest.mark.parametrize(
    ("objective", "length_scale"), [("coherent", "global"), ("white", "local"), ("mse", "local")]
)
def test_every_objective_learns_forces_and_ends_with_a_finite_likelihood(objective: str, length_scale: str):
    data = dataset(12)
    settings = Training(objective=objective, length_scale=length_scale, n_steps=100, batch_size=4)
    kind = "white" if objective == "white" else length_scale
    result = train(network(noise=kind).float(), data, settings, seed=5)
    loss = result.log[:-2, LOG_COLUMNS.index("loss")]  # before the last tenth, which is another loss
    assert np.isfinite(result.log).all()
    assert np.isfinite(result.fold.nll)
    assert loss[-1] < 0.8 * loss[0]


def test_shortest_distances_are_those_of_all_frames_and_images_and_bonds_where_there_are_none():
    def hydroxyl(r: float) -> Frame:
        return Frame(np.array([1, 8]), np.array([[0.0, 0, 0], [r, 0, 0]]))

    cell = 0.6 * np.eye(3)
    crystal = Frame(np.array([1]), np.zeros((1, 3)), cell=cell, pbc=np.array([True, True, True]))
    items = [
        LabeledFrame(f, Label(f.frame_id, "t", 0.0, np.zeros_like(f.positions)), 0, Origin.INITIAL, str(k))
        for k, f in enumerate([hydroxyl(0.93), hydroxyl(0.91), hydroxyl(1.4), crystal])
    ]
    folds = [TrainingFrame(i.frame.frame_id, 0) for i in items]
    data = build_dataset(items, folds, {1: 0.0, 8: 0.0}, 4.0)
    hh, ho, oh, oo = data.shortest_distances(bond_lengths((1, 8)))
    assert (hh, ho, oh) == (0.6, 0.91, 0.91)  # the crystal's images; the shortest bond
    assert oo == pytest.approx(2 * covalent_radii[8])
