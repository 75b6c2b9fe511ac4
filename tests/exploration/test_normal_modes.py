"""Normal modes of harmonic potentials, known by hand, and the energies of frames displaced along them."""

import numpy as np
import pytest
import torch
from analytic import Springs, row
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from al_engine.exploration.normal_modes import NormalModeSampler, displaced, hessian, normal_modes
from al_engine.frames import Frame
from al_engine.samplers import NormalModes
from al_engine.units import FORCE_TO_ACCELERATION, KB


def stiff(seed: int, n: int) -> np.ndarray:
    """A coupling of all coordinates without a soft direction: 5 to 100 eV/Å²."""
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return turned @ np.diag(rng.uniform(5, 100, n)) @ turned.T


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5))
def test_finite_differences_give_the_second_derivatives(seed, n):
    frame = row([1, 6, 8, 1, 7][:n])
    matrix = stiff(seed, 3 * n)
    springs = Springs(matrix, frame.positions + 0.1)  # not at the minimum
    np.testing.assert_allclose(hessian(springs, frame), matrix, rtol=0, atol=1e-9)


def diatomic(stiffness: float) -> tuple[Frame, Springs]:
    """Two atoms along x, held together along x only."""
    frame, along = row([1, 8]), np.array([1.0, 0, 0, -1, 0, 0])
    return frame, Springs(stiffness * np.outer(along, along), frame.positions)


def test_a_diatomic_vibrates_by_its_reduced_mass():
    frame, springs = diatomic(30.0)
    squares, modes = normal_modes(frame, hessian(springs, frame))
    reduced = 1.008 * 15.999 / (1.008 + 15.999)
    assert squares[-1] == pytest.approx(30.0 / reduced * FORCE_TO_ACCELERATION, rel=1e-9)
    np.testing.assert_allclose(squares[:-1], 0, atol=1e-12)
    np.testing.assert_allclose(modes[-1][0] * 1.008, -modes[-1][1] * 15.999, atol=1e-12)  # no net momentum


def test_an_energy_goes_into_a_mode_as_half_k_times_the_displacement_squared():
    frame, springs = diatomic(30.0)
    modes = normal_modes(frame, hessian(springs, frame))
    stretch, wanted = [], []
    for seed in range(200):
        moved = displaced(frame, *modes, 500.0, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        wanted.append(rng.random() * 1.5 * 2 * KB * 500.0)  # one mode takes it all
        stretch.append(np.subtract(*moved.positions)[0] - np.subtract(*frame.positions)[0])
    np.testing.assert_allclose(0.5 * 30.0 * np.square(stretch), wanted, rtol=1e-9)
    assert 70 < np.sum(np.array(stretch) > 0) < 130  # both signs


def test_the_energy_of_all_modes_is_uniform_up_to_that_of_the_temperature():
    frame = row([1, 6, 8])
    springs = Springs(stiff(3, 9), frame.positions)
    modes = normal_modes(frame, hessian(springs, frame))
    shares = []
    for seed in range(500):
        moved = displaced(frame, *modes, 900.0, np.random.default_rng(seed))
        (energy,) = springs.bind([frame])(torch.tensor(moved.positions)).energy.tolist()
        shares.append(energy / (1.5 * 3 * KB * 900.0))
    assert kstest(shares, "uniform").pvalue > 1e-3


def test_fixed_atoms_and_soft_directions_do_not_move():
    frame = row([1, 6, 8], fixed=np.array([False, True, False]))
    matrix = stiff(1, 9)
    matrix[:, 2] = matrix[2, :] = 0  # nothing holds the first atom along z
    modes = normal_modes(frame, hessian(Springs(matrix, frame.positions), frame))
    moved = displaced(frame, *modes, 900.0, np.random.default_rng(0))
    shift = moved.positions - frame.positions
    assert (shift[1] == 0).all()
    assert abs(shift[0, 2]) < 1e-12
    assert (np.abs(shift[[0, 2], :2]) > 1e-4).all()
    free = displaced(frame, np.zeros(9), np.zeros((9, 3, 3)), 900.0, np.random.default_rng(0))
    assert free == frame


def test_copies_take_frames_and_temperatures_in_turn_and_repeat_with_the_seed():
    frames = [row([1, 6]), row([1, 6]).moved_to(row([1, 6]).positions + 0.05)]
    springs = Springs(stiff(2, 6), frames[0].positions)
    sampler = NormalModeSampler(
        NormalModes(n_frames=8, temperatures_k=(300.0, 900.0)), springs, frames, np.random.default_rng
    )
    once, twice = sampler([]), sampler([])
    assert once == twice
    assert [visit.temperature for visit in once.visits] == [300, 300, 900, 900] * 2
    assert len({visit.frame.frame_id for visit in once.visits}) == 8
    assert sampler.planned == []
    for k, visit in enumerate(once.visits):  # near the frame that it is a copy of: 0.13 eV are 0.2 Å at most
        assert np.abs(visit.frame.positions - frames[k % 2].positions).max() < 0.4
