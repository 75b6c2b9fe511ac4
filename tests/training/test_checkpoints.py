"""A training that was stopped and goes on ends with the bits of the one that was not."""

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from test_objective import dataset, network

from al_engine.config import Training
from al_engine.model.potential import Architecture, StackedPotential
from al_engine.training.dataset import Dataset
from al_engine.training.state import Checkpoints
from al_engine.training.trainer import TrainingResult, train

SETTINGS = Training(n_steps=20, batch_size=4, warmup_share=0.6)  # the likelihood begins after step 12


@dataclass
class Run:
    """A training that kept its state after each step."""

    states: list[bytes]
    net: StackedPotential
    result: TrainingResult


def run(
    settings: Training = SETTINGS,
    seed: int = 5,
    data: Dataset | None = None,
    net: StackedPotential | None = None,
    stored: bytes | None = None,
) -> Run:
    states: list[bytes] = []
    net, data = net or network().float(), data or dataset(12)
    kept = Checkpoints(states.append, stored, every_s=0)
    return Run(states, net, train(net, data, settings, seed, checkpoints=kept))


def assert_same(one: Run, other: Run) -> None:
    for (name, a), b in zip(one.net.state_dict().items(), other.net.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    np.testing.assert_array_equal(one.result.log, other.result.log)
    np.testing.assert_array_equal(one.result.fold.energy, other.result.fold.energy)
    assert one.result.fold.nll == other.result.fold.nll


@pytest.mark.parametrize("objective", ["coherent", "mse"])
def test_a_resumed_training_ends_with_the_bits_of_one_that_was_not_stopped(objective: str):
    settings = SETTINGS.model_copy(update={"objective": objective})
    whole = run(settings)
    for step in (1, 11, 12, 13, 17, 20):  # the last: killed before the model was stored
        resumed = run(settings, stored=whole.states[step - 1])
        assert len(resumed.states) == 20 - step
        assert resumed.states == whole.states[step:]
        assert_same(resumed, whole)


def test_keeping_the_state_changes_nothing():
    net = network().float()
    result = train(net, dataset(12), SETTINGS, 5)
    assert_same(Run([], net, result), run())


def test_the_state_of_another_training_is_not_gone_on_with():
    short = SETTINGS.model_copy(update={"n_steps": 10})
    stored = run(short).states[4]
    moved = dataset(12)
    moved.energies[3] += 1e-9  # eV
    refolded = replace(dataset(12), folds=np.roll(dataset(12).folds, 1))
    longer = short.model_copy(update={"n_steps": 11})
    assert len(run(short, stored=stored).states) == 5
    for change in ({"seed": 6}, {"settings": longer}, {"data": moved}, {"data": refolded}):
        anew, resumed = (
            run(**{"settings": short} | change),
            run(**{"settings": short} | change, stored=stored),
        )
        assert resumed.states == anew.states
        assert_same(resumed, anew)
    assert len(run(short, stored=stored[:-1]).states) == 10  # torn


def test_a_state_is_kept_once_a_minute():
    states: list[bytes] = []
    train(network().float(), dataset(12), SETTINGS, 5, checkpoints=Checkpoints(states.append))
    assert states == []


def test_a_training_without_a_way_back_is_ended_and_stays_ended():
    """At a huge rate the weights are soon not finite: none of the steps that are left is taken."""
    from al_engine.errors import AlEngineError

    wild = SETTINGS.model_copy(update={"learning_rate": 1e30, "n_steps": 200})
    states: list[bytes] = []
    for _ in range(2):
        kept = Checkpoints(states.append, states[-1] if states else None, every_s=0)
        with pytest.raises(AlEngineError, match="no finite out-of-fold loss in 10 steps"):
            train(network().float(), dataset(12), wild, 5, checkpoints=kept)
        assert len(states) == 10


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler (g++)")
def test_compiled_steps_go_on_with_the_same_bits():
    """One layer and squared errors only: a compiler takes its time."""

    def small() -> StackedPotential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return StackedPotential(Architecture(3, (1, 8), 8, 1, 6, 4.0, 3.0, 1.0))

    settings = Training(n_steps=8, batch_size=4, objective="mse", compile=True)
    whole = run(settings, net=small())
    resumed = run(settings, net=small(), stored=whole.states[4])
    assert resumed.states == whole.states[5:]
    assert_same(resumed, whole)
