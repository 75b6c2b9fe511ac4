"""Compiled force calls: the numbers of the eager ones, the same on every run, and graphs that serve again."""

import shutil
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from networks import carbon_crystal, ensemble, ethanol
from torch import Tensor

from al_engine.config import Exits
from al_engine.exploration.walkers import Start, walk
from al_engine.frames import Frame
from al_engine.model import bound, force_graphs
from al_engine.model.compiled import Compiled, tensors_of, with_tensors
from al_engine.model.ensemble import Ensemble
from al_engine.model.force_graphs import ForceGraphs, Shape
from al_engine.samplers import Langevin
from al_engine.step_forces import StepForces

FRAMES = [ethanol(1), carbon_crystal(2), ethanol(3)]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler (g++)")


def single() -> Ensemble:
    return Ensemble.from_bytes(ensemble().to_bytes(), device="cpu")


def at(frames: Sequence[Frame]) -> Tensor:
    return torch.tensor(np.concatenate([frame.positions for frame in frames]))


def assert_close(found: StepForces, expected: StepForces, atol: float) -> None:
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=atol)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(force_graphs, "COMPILE_FROM", 0)


def compare(field: Ensemble, eager: Ensemble, atol: float, *, with_virial: bool) -> None:
    """Against eager calls: moved, beyond the skin, with a virial, and with frames that have left."""
    rng = np.random.default_rng(0)
    for frames in (FRAMES, FRAMES[:2], FRAMES[1:]):
        one, other, here = field.bind(frames), eager.bind(frames, 0), at(frames)
        assert one._is_compiled
        assert not other._is_compiled
        for _ in range(3):
            here = here + torch.tensor(rng.normal(0, 0.15, here.shape))
            assert_close(one(here), other(here), atol)
        if with_virial:
            scale = torch.tensor(rng.uniform(0.98, 1.02, len(frames)))
            assert_close(one(here, scale), other(here, scale), atol)


@pytest.mark.usefixtures("always")
def test_ghosts_and_shapes_change_nothing(monkeypatch: pytest.MonkeyPatch):
    """The compiler replaced by nothing: all but the compiler is tried in double precision."""
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    field = ensemble()
    compare(field, ensemble(), 1e-11, with_virial=True)
    assert len(field.graphs._shapes) == 1  # all batches were filled up to the first


@pytest.mark.slow
@needs_compiler
@pytest.mark.usefixtures("always")
def test_compiled_forces_are_the_eager_ones_within_1e5_ev_per_ang():
    compare(single(), single(), 1e-5, with_virial=False)


@pytest.mark.slow
@needs_compiler
def test_compiled_walks_give_the_same_bits_again_and_go_on_when_one_leaves(monkeypatch: pytest.MonkeyPatch):
    starts = [Start(frame, 300.0, seed) for seed, frame in enumerate(FRAMES)]
    settings = Langevin(n_steps=20, stride=10)
    exits = Exits(force_sd_ev_per_ang=1e9, energy_drift_ev_per_atom=1e9, temperature_factor=1e9)
    largest = sorted(w.trace[:, 4].max() for w in walk(single(), starts, settings, exits))
    exits = exits.model_copy(update={"force_sd_ev_per_ang": float(np.mean(largest[-2:]))})
    monkeypatch.setattr(force_graphs, "COMPILE_FROM", 0)
    fields = [single(), single()]
    first, second = (walk(field, starts, settings, exits) for field in fields)
    assert len(fields[0].graphs._shapes) == 1
    assert sorted(w.n_steps < 20 for w in first) == [False, False, True]
    for one, other in zip(first, second, strict=True):
        assert one.n_steps == other.n_steps
        np.testing.assert_array_equal(one.trace, other.trace)
        assert one.snapshots == other.snapshots


def test_a_graph_is_made_where_it_pays_and_serves_batches_from_half_its_size():
    graphs = ForceGraphs(ensemble().net)
    atoms = int(force_graphs.COMPILE_FROM / (3 * 1000)) + 1
    full, fewer = Shape(10, atoms, 50), Shape(11, atoms // 2 + 1, 25)
    assert graphs.shape(full, 999) is None
    made = graphs.shape(full, 1000)
    assert made == Shape(12, atoms, 50)
    assert graphs.shape(full, 1) is made
    assert graphs.shape(fewer, 1) is made
    assert graphs.shape(Shape(10, atoms // 2 - 1, 25), 1) is None
    assert graphs.shape(Shape(13, atoms, 50), 1) is None
    assert graphs.shape(Shape(10, atoms - 1, 50), 1) is None  # no frame is left for the atom that is missing
    assert graphs.shape(Shape(13, atoms, 50), 1000) == Shape(16, atoms, 50)


@pytest.mark.parametrize("breaks", ["wrong", "fails", "nan"])
def test_a_wrong_or_failing_compiler_is_left_with_a_warning(monkeypatch: pytest.MonkeyPatch, breaks: str):
    def compiler(graph: Callable, **_: object) -> Callable:
        factor = {"wrong": 1.05, "nan": float("nan")}
        return lambda x: [factor[breaks] * value for value in graph(x)]

    monkeypatch.setattr(torch, "compile", compiler)
    compiled = Compiled(lambda x: list(torch.autograd.grad(x[0].pow(3).sum(), x)), 1e-2, "a test")
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match="a test goes on uncompiled"):
        assert compiled([x])[0].tolist() == [3.0, 12.0]
    assert compiled([2 * x.detach().requires_grad_()])[0].tolist() == [12.0, 48.0]  # no second warning


def test_a_batch_is_its_tensors_and_the_rest():
    batch = bound.BoundEnsemble(ensemble(), FRAMES)._batch
    tensors = tensors_of(batch)
    again = with_tensors(batch, iter([2 * t if t.is_floating_point() else t for t in tensors]))
    assert again.n_frames == 3
    torch.testing.assert_close(again.positions, 2 * batch.positions)
    assert again.back is batch.back
