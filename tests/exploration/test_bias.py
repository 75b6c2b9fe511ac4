"""Dynamics drawn to where the members disagree."""

import numpy as np
import pytest
import torch
from analytic import CPU, NEVER, Slope
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.exploration.bias import CAP, Biased
from al_engine.exploration.layout import Layout
from al_engine.exploration.walkers import Start, walk
from al_engine.frames import Frame
from al_engine.samplers import Langevin, UncertaintyBiased

PAIR = Frame(np.array([1, 6]), np.array([[0.3, -0.2, 0.1], [0.1, 0.0, 0.2]]))
KELVIN = 500.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_bias_is_the_gradient_of_the_biased_energy_and_bounded(seed):
    rng = np.random.default_rng(seed)
    field, frames = Slope(slope=float(rng.uniform(0.1, 5))), [PAIR, PAIR]
    biased = Biased(Layout.of(frames, [KELVIN] * 2, CPU), UncertaintyBiased(strength=0.4))
    memory = torch.tensor(rng.uniform(0.1, 3, (2, 3)) * [1, 1, KELVIN])
    at, forces_at = torch.tensor(rng.normal(0, 0.5, (4, 3))), field.bind(frames)
    bias = biased.bias(memory, forces_at(at))
    assert (bias.norm(dim=1).view(2, 2).amax(1) <= CAP * 0.4 * memory[:, 0].sqrt() * (1 + 1e-12)).all()
    for walker in range(2):
        own = slice(2 * walker, 2 * walker + 2)
        direction = forces_at(at).bias[own]
        kappa = float((bias[own] * direction).sum() / direction.square().sum())
        for atom in range(4):
            moved = torch.zeros_like(at)
            moved[atom, 0] = 1e-6
            up, down = (forces_at(at + sign * moved).energy_sd[walker] for sign in (1, -1))
            slope = kappa * float(up - down) / 2e-6
            assert slope == pytest.approx(float(bias[atom, 0]) if atom // 2 == walker else 0.0, abs=1e-7)


def test_the_strength_is_the_wanted_share_of_the_force_unless_the_walker_is_hot():
    layout = Layout.of([PAIR] * 3, [KELVIN] * 3, CPU)
    found = Slope().bind([PAIR] * 3)(torch.tensor(np.concatenate([PAIR.positions] * 3)))
    size = found.bias.square().sum(1).view(3, 2).mean(1)
    memory = torch.stack([4 * torch.ones(3), size, KELVIN * torch.tensor([1.0, 1.5, 2.5])], dim=1)
    bias = Biased(layout, UncertaintyBiased(strength=0.25)).bias(memory, found)
    found_size = bias.square().sum(1).view(3, 2).mean(1).sqrt()
    np.testing.assert_allclose(found_size, [0.25 * 2, 0.25 * 2 / 2, 0], rtol=1e-12)


def test_biased_walkers_keep_their_temperature_and_find_more_disagreement():
    common = {"timestep_fs": 0.5, "friction_per_fs": 0.05, "n_steps": 2000, "stride": 20}
    starts = [Start(PAIR, KELVIN, seed) for seed in range(48)]
    unbiased = walk(Slope(), starts, Langevin(**common), NEVER)
    biased = walk(Slope(), starts, UncertaintyBiased(**common), NEVER)
    sds, kelvin = (
        [np.mean([w.trace[25:, column].mean(dtype=float) for w in walks]) for walks in (unbiased, biased)]
        for column in (3, 2)
    )
    # 48 walkers x 6 components, 75 rows 10 fs apart (velocities forget in 20 fs): 1 % each
    assert kelvin[0] == pytest.approx(KELVIN, rel=0.03)
    assert kelvin[1] == pytest.approx(KELVIN, rel=0.03)
    assert sds[1] > 1.1 * sds[0]


def test_biased_walkers_are_never_audited():
    from al_engine.exploration.dynamics import DynamicsSampler
    from al_engine.progress import silent

    run = UncertaintyBiased(n_walkers=2, n_steps=6, stride=2)
    sampler = DynamicsSampler(run, NEVER, Slope(), lambda k, n: Start(PAIR, KELVIN, 10 * n + k), silent)
    assert set(sampler.planned) == {0}
    assert len(sampler([]).visits) == 6
