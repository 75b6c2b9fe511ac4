"""Constant pressure: volumes of systems whose isothermal-isobaric ensemble is known."""

import numpy as np
import pytest
from analytic import NEVER, Gas
from scipy.integrate import quad

from al_engine.exploration.walkers import Start, Walk, walk
from al_engine.frames import Frame
from al_engine.samplers import Npt
from al_engine.units import GPA, KB

N, KELVIN = 6, 300.0
RUN = Npt(timestep_fs=2.0, friction_per_fs=0.05, n_steps=4000, stride=50, pressure_gpa=10.0, barostat_fs=20.0)


def start(seed: int, volume: float) -> Start:
    positions = np.random.default_rng(seed).uniform(size=(N, 3)) * volume ** (1 / 3)
    cell = volume ** (1 / 3) * np.eye(3)
    return Start(Frame(np.full(N, 18), positions, cell, [True] * 3), KELVIN, seed)


def volumes(walks: list[Walk]) -> np.ndarray:
    """One row a walker, without the first 500 steps."""
    return np.array([[np.linalg.det(f.cell) for step, f in w.snapshots if step > 500] for w in walks])


def test_the_volume_of_an_ideal_gas_has_mean_and_variance_of_its_ensemble():
    # p(V) ~ V^N exp(-P V / kT): a gamma distribution, mean (N + 1) kT/P, variance (N + 1) (kT/P)²
    unit = KB * KELVIN / (10.0 * GPA)
    walks = walk(Gas(), [start(k, 10.0) for k in range(64)], RUN, NEVER)
    found = volumes(walks)
    # The volume forgets itself in tau / (beta P) = 100 fs = one row; 64 x 70 rows, of which about half are
    # independent: 0.8 % of the mean (its sd is 38 %) and 4 % of the variance.
    assert found.mean() / ((N + 1) * unit) == pytest.approx(1, abs=0.03)
    assert found.var() / ((N + 1) * unit**2) == pytest.approx(1, abs=0.15)
    kelvin = np.mean([w.trace[10:, 2].mean(dtype=float) for w in walks])
    assert kelvin == pytest.approx(KELVIN, rel=0.01)


def test_the_volume_follows_the_virial_as_well():
    stiffness, volume, thermal, pressure = 4.0, 12.0, KB * KELVIN, 10.0 * GPA

    def moment(k: int) -> float:
        def weight(v: float) -> float:
            energy = stiffness / 2 * (v / volume - 1) ** 2
            return v ** (N + k) / volume ** (N + k) * np.exp(-(energy + pressure * (v - volume)) / thermal)

        return quad(weight, 0, 40)[0] * volume**k

    mean = moment(1) / moment(0)
    variance = moment(2) / moment(0) - mean**2
    found = volumes(walk(Gas(stiffness, volume), [start(100 + k, 11.0) for k in range(64)], RUN, NEVER))
    assert found.mean() == pytest.approx(mean, rel=0.01)
    assert found.var() == pytest.approx(variance, rel=0.15)
    gas = (N + 1) * thermal / pressure
    assert abs(mean - gas) > 0.2 * gas  # the virial matters


def test_cells_stay_cubic_and_a_batch_does_what_each_walker_does_alone():
    few = RUN.model_copy(update={"n_steps": 60, "stride": 20})
    starts = [start(k, 10.0 + k) for k in range(3)]
    for w, begin in zip(walk(Gas(), starts, few, NEVER), starts, strict=True):
        (alone,) = walk(Gas(), [begin], few, NEVER)
        assert w.snapshots == alone.snapshots
        frame = w.snapshots[-1][1]
        assert (frame.cell != begin.frame.cell).any()
        np.testing.assert_array_equal(frame.cell, frame.cell[0, 0] * np.eye(3))


def test_others_may_follow_and_start_in_the_cell_they_are_given():
    few = RUN.model_copy(update={"n_steps": 60, "stride": 10})
    exits = NEVER.model_copy(update={"temperature_factor": 1.4})
    starts = [start(k, 10.0) for k in range(4)]
    walks = walk(Gas(), starts, few, exits, restart=lambda k, n: start(10 * n + k, 9.0))
    assert len(walks) > 4
    for w in walks:
        assert np.isfinite([frame.cell for _, frame in w.snapshots]).all()
        first = w.snapshots[0][1] if w.snapshots else w.start.frame
        assert np.linalg.det(first.cell) == pytest.approx(np.linalg.det(w.start.frame.cell), rel=0.5)
