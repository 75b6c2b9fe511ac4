"""Rattled atoms and strained cells."""

import numpy as np
from analytic import row
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.exploration.group import Start
from al_engine.exploration.rattle import RattleSampler, rattled, strained
from al_engine.frames import Frame, minimum_distance
from al_engine.samplers import Rattle


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), amplitude=st.floats(0.001, 0.2))
def test_a_strain_is_symmetric_small_and_the_same_for_cell_and_atoms(seed, amplitude):
    crystal = Frame.from_ase(bulk("Si", cubic=True))
    found = strained(crystal, amplitude, np.random.default_rng(seed))
    eta = np.linalg.inv(crystal.cell) @ found.cell - np.eye(3)
    np.testing.assert_allclose(eta, eta.T, atol=1e-12)
    assert 0 < np.abs(eta).max() <= amplitude
    np.testing.assert_allclose(found.positions, crystal.positions @ (np.eye(3) + eta), atol=1e-12)


def test_strains_are_spread_evenly_over_what_is_allowed():
    crystal = Frame.from_ase(bulk("Si"))
    cells = [strained(crystal, 0.1, np.random.default_rng(seed)).cell for seed in range(400)]
    eta = np.linalg.inv(crystal.cell) @ np.stack(cells) - np.eye(3)
    i, j = np.triu_indices(3)
    np.testing.assert_allclose(eta[:, i, j].std(axis=0), 0.1 / np.sqrt(3), rtol=0.12)
    np.testing.assert_allclose(np.corrcoef(eta[:, i, j].T), np.eye(6), atol=0.2)


def test_only_periodic_directions_are_strained():
    slab = Frame.from_ase(bulk("Si", cubic=True))
    slab = Frame(slab.numbers, slab.positions, slab.cell, [True, True, False])
    found = strained(slab, 0.1, np.random.default_rng(0))
    assert (found.cell[2] == slab.cell[2]).all()
    assert (found.cell[:2] != slab.cell[:2]).any()
    for frame in (
        Frame.from_ase(molecule("H2O")),
        Frame(slab.numbers, slab.positions, slab.cell, [True] * 3, fixed=np.arange(8) == 1),
    ):
        assert strained(frame, 0.1, np.random.default_rng(0)) is frame


def test_displacements_have_the_amplitude_and_fixed_atoms_none():
    chain = row([1] * 900, fixed=np.arange(900) % 3 == 0)
    shift = rattled(chain, 0.1, np.random.default_rng(0)).positions - chain.positions
    assert (shift[::3] == 0).all()
    np.testing.assert_allclose(shift[1::3].std(), 0.1, rtol=0.1)


def test_atoms_are_never_rattled_into_one_another():
    pair = row([1, 1]).moved_to([[0, 0, 0], [0.74, 0, 0]])
    for seed in range(50):
        assert minimum_distance(rattled(pair, 1.0, np.random.default_rng(seed))) > 0.5


def test_amplitudes_grow_over_the_copies_and_the_seed_decides():
    crystal = Frame.from_ase(bulk("Si", cubic=True))

    def starts(k: int) -> Start:
        return Start(crystal, 0.0, k)

    sampler = RattleSampler(Rattle(n_frames=40, rattle_ang=(0.01, 0.2), strain=0.0), starts)
    once = sampler([])
    assert once == sampler([])
    sizes = [(visit.frame.positions - crystal.positions).std() for visit in once.visits]
    np.testing.assert_allclose(sizes, np.linspace(0.01, 0.2, 40), rtol=0.6)
    assert all((visit.frame.cell == crystal.cell).all() for visit in once.visits)
    assert sampler.planned == []
