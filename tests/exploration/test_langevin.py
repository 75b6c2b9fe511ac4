"""The integrator, its noise and its initial velocities against exact values."""

import numpy as np
import pytest
import torch
from analytic import CPU, NEVER, LennardJonesDimers, Wells, row
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.exploration.noise import Noise, initial_velocities
from al_engine.exploration.walkers import Start, walk
from al_engine.frames import Frame
from al_engine.samplers import Langevin, Nve
from al_engine.units import FORCE_TO_ACCELERATION, KB


def test_a_harmonic_well_has_the_exact_variances_of_baoab_at_each_walkers_temperature():
    stiffness, step = 10.0, 2.0  # eV/Å², fs: omega dt = 0.62, so that the time step's error shows
    temperatures = np.repeat([200.0, 600.0, 1800.0], 16)
    run = Langevin(timestep_fs=step, friction_per_fs=0.1, n_steps=600, stride=25)
    starts = [Start(row([1] * 24), t, seed) for seed, t in enumerate(temperatures)]
    walks = walk(Wells(stiffness), starts, run, NEVER)
    squares, kelvin = [], []
    for w in walks:
        at = np.stack([frame.positions for at_step, frame in w.snapshots if at_step > 100])
        squares.append(((at - row([1] * 24).positions) ** 2).mean())
        kelvin.append(w.trace[w.trace[:, 0] > 100, 2].mean(dtype=np.float64))
    omega2 = stiffness / 1.008 * FORCE_TO_ACCELERATION
    exact_kelvin = temperatures * (1 - omega2 * step**2 / 4)
    # A walker has 72 components and 20 rows 50 fs apart, where exp(-friction t) = 0.007: independent.
    # The relative error of a variance of n values is sqrt(2 / n): 3.7 % a walker, 0.93 % for 16 of them.
    for ratio in (np.array(squares) * stiffness / (KB * temperatures), np.array(kelvin) / exact_kelvin):
        np.testing.assert_allclose(ratio, 1, atol=5 * 0.037)
        np.testing.assert_allclose(ratio.reshape(3, 16).mean(axis=1), 1, atol=4 * 0.0093)


def total_energies(step_fs: float) -> np.ndarray:
    dimer = Frame(np.array([18, 18], dtype=np.int32), np.array([[0, 0, 0], [4.0, 0, 0]]))
    run = Nve(timestep_fs=step_fs, n_steps=int(8000 / step_fs), stride=1)
    (w,) = walk(LennardJonesDimers(), [Start(dimer, 40.0, 5)], run, NEVER)
    return w.trace[:, 1].astype(np.float64) + 3 * KB * w.trace[:, 2]  # 2 atoms: E_kin = 6/2 kB T


def test_energy_is_conserved_to_second_order_of_the_time_step():
    coarse, fine = total_energies(10.0), total_energies(5.0)
    error = np.abs(coarse - coarse[0]).max()
    assert error < 1e-6  # of a well of 0.0104 eV
    assert error / np.abs(fine - fine[0]).max() == pytest.approx(4, rel=0.05)


def test_nve_is_langevin_as_friction_vanishes():
    dimer = Frame(np.array([18, 18], dtype=np.int32), np.array([[0, 0, 0], [4.0, 0, 0]]))
    common = {"timestep_fs": 10.0, "n_steps": 100, "stride": 20}
    (nve,), (langevin,) = (
        walk(LennardJonesDimers(), [Start(dimer, 40.0, 5)], run, NEVER)
        for run in (Nve(**common), Langevin(**common, friction_per_fs=1e-30))
    )
    for (_, one), (_, other) in zip(nve.snapshots, langevin.snapshots, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, rtol=0, atol=1e-10)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**63 - 1), n=st.integers(2, 8), temperature=st.floats(1, 3000))
def test_initial_velocities_have_no_net_momentum_unless_an_atom_is_fixed(seed, n, temperature):
    numbers = [1, 6, 8, 18] * 2
    rng = np.random.default_rng(seed)
    free = initial_velocities(row(numbers[:n]), temperature, rng)
    mass = np.array([1.008, 12.011, 15.999, 39.948] * 2)[:n, None]
    np.testing.assert_allclose((mass * free).sum(axis=0), 0, atol=1e-13)
    held = initial_velocities(row(numbers[:n], fixed=np.arange(n) == 1), temperature, rng)
    assert (held[1] == 0).all()
    assert (held[0] != 0).all()


def test_initial_velocities_have_the_set_temperature():
    n = 4000
    lone = [initial_velocities(row([8]), 500.0, np.random.default_rng(k))[0] for k in range(n)]
    kelvin = 15.999 * np.mean(np.square(lone)) / (FORCE_TO_ACCELERATION * KB)
    assert kelvin == pytest.approx(500, rel=5 * np.sqrt(2 / (3 * n)))  # variance of 3n values


def stream(seeds: list[int], n_rows: list[int], n_ahead: int) -> Noise:
    return Noise([np.random.default_rng(s) for s in seeds], n_rows, CPU, n_ahead)


def test_noise_depends_neither_on_the_steps_drawn_at_a_time_nor_on_other_walkers():
    together, alone, late = stream([1, 2, 3], [2, 3, 1], 5), stream([2], [3], 64), stream([4], [2], 7)
    for step in range(20):
        both = together.next()
        mine = both[2:5] if step < 7 else both[:3]
        assert torch.equal(mine, alone.next())
        if step > 11:
            assert torch.equal(both[4:], late.next())
        if step == 6:
            together.keep([1, 2])
        if step == 11:  # in the middle of what was drawn
            together.join(stream([4], [2], 3))
