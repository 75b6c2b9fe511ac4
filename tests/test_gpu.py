"""A CUDA device computes what the CPU does. Each test that can also runs in single precision on the CPU."""

import numpy as np
import pytest
import torch
from networks import carbon_crystal, ensemble, ethanol, labeled
from running import command, reduced

from al_engine.config import CampaignConfig, Exits, System, Training
from al_engine.exploration.walkers import Start, walk
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.samplers import Langevin
from al_engine.stages.compute import configure
from al_engine.stages.train import atomic_energies, fresh_networks
from al_engine.training.crossfit import assign_folds
from al_engine.training.dataset import build_dataset
from al_engine.training.optimizer import Optimizer
from al_engine.training.step import GradientStep

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
on_a_gpu = [pytest.param("cuda", marks=gpu)]
everywhere = pytest.mark.parametrize("device", ["cpu", *on_a_gpu])
FRAMES = [ethanol(1), carbon_crystal(2), ethanol(3)]
SINGLE = {"rtol": 1e-4, "atol": 1e-4}  # single precision leaves 1e-6 of numbers of order 10


def config(device: str) -> CampaignConfig:
    return CampaignConfig(name="gpu", systems=(System(structure="-"),), device=device, n_threads=1)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch):
    """What `configure` sets goes back to what it was."""
    tf32, deterministic = torch.backends.cuda.matmul.allow_tf32, torch.are_deterministic_algorithms_enabled()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    yield
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.use_deterministic_algorithms(deterministic)


def single(device: str) -> Ensemble:
    configure(config(device))
    return Ensemble.from_bytes(ensemble().to_bytes(), device=device)


@everywhere
def test_predictions_are_those_of_the_cpu_in_double_precision(device: str):
    found, expected = single(device).predict(FRAMES), ensemble().predict(FRAMES)
    np.testing.assert_allclose(found.member_energy, expected.member_energy, rtol=1e-6)
    np.testing.assert_allclose(found.member_forces, expected.member_forces, **SINGLE)
    np.testing.assert_allclose(found.total.energy_sd, expected.total.energy_sd, **SINGLE)
    np.testing.assert_allclose(found.total.force_sd, expected.total.force_sd, **SINGLE)
    np.testing.assert_allclose(found.stress[1], expected.stress[1], **SINGLE)


@everywhere
def test_training_steps_are_those_of_the_cpu_in_double_precision(device: str):
    configure(config(device))
    items = [labeled(frame) for seed in range(3) for frame in (ethanol(seed), carbon_crystal(seed))]
    items += [labeled(Frame(np.array([z]), np.zeros((1, 3)))) for z in (1, 6, 8)]
    energies = atomic_energies(items, (1, 6, 8))
    data = build_dataset(items[:6], assign_folds(items[:6], {}, 4), energies, 5.0)
    losses = {}
    for name, dtype in (("cpu", torch.float64), (device, torch.float32)):
        net = fresh_networks(config(device), data, sorted(energies), 0).to(device=name, dtype=dtype)
        batch = data.batch(range(6), device=torch.device(name), dtype=dtype)
        gradients, optimizer = GradientStep(net, Training(), compiled=False), Optimizer(net)
        found = []
        for step in range(6):
            found.append(float(gradients(batch, likelihood=step > 2)))
            optimizer.step(1e-3)
        losses[dtype] = found
    np.testing.assert_allclose(losses[torch.float32], losses[torch.float64], rtol=2e-3)
    assert losses[torch.float64][2] < losses[torch.float64][0]


@everywhere
def test_walkers_go_where_they_go_on_the_cpu_and_repeat_bit_by_bit(device: str):
    starts = [Start(frame, 300.0, seed) for seed, frame in enumerate(FRAMES)]
    settings, never = Langevin(n_steps=20, stride=10), Exits(force_sd_ev_per_ang=1e9, temperature_factor=1e9)
    first, second = (walk(single(device), starts, settings, never) for _ in range(2))
    for one, other, expected in zip(first, second, walk(ensemble(), starts, settings, never), strict=True):
        np.testing.assert_array_equal(one.trace, other.trace)
        assert one.snapshots == other.snapshots
        assert one.n_steps == expected.n_steps
        for (_, frame), (_, wanted) in zip(one.snapshots, expected.snapshots, strict=True):
            np.testing.assert_allclose(frame.positions, wanted.positions, atol=1e-3)  # they part in time


@pytest.mark.parametrize("device", on_a_gpu)
def test_the_memory_of_a_force_call_grows_with_the_atoms_and_is_given_back(device: str):
    field, peaks = single(device), []
    field.predict([ethanol()])  # the libraries' own memory
    for n in (64, 128):
        frames = [ethanol(k) for k in range(n)]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        field.bind(frames)(torch.tensor(np.concatenate([f.positions for f in frames]), device=device))
        peaks.append(torch.cuda.max_memory_allocated() - before)
        assert torch.cuda.memory_allocated() - before < 0.1 * peaks[-1]
    assert peaks[1] < 2.2 * peaks[0]
    assert peaks[1] < 2**30


@pytest.mark.parametrize("device", on_a_gpu)
def test_a_campaign_runs_to_its_end(device: str, tmp_path):
    file = reduced("gpu", tmp_path)
    file.write_text(file.read_text().replace('"device": "cpu"', f'"device": "{device}"'))
    done = command("run", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_products_keep_single_precision_unless_asked_otherwise():
    torch.backends.cuda.matmul.allow_tf32 = True
    configure(config("cuda"))
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.are_deterministic_algorithms_enabled()
