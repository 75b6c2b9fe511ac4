"""GFN-xTB: right forces on every geometry, settings that arrive, two backends as each other's judge."""

from functools import partial

import numpy as np
import pytest
from ase.collections import g2
from ase.units import Bohr, Hartree
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from al_engine.config import XTB
from al_engine.errors import CalculatorUnavailableError
from al_engine.frames import Frame, check_electrons
from al_engine.labeling import ground_state_multiplicity, level_of_theory, resolve_backend
from al_engine.labeling import xtb as module
from al_engine.labeling.base import Computed, Failed
from al_engine.labeling.isolation import run_isolated
from al_engine.labeling.xtb import (
    COOLING_K,
    MODULES,
    _converge,
    _installed,
    _smallest_gap,
    _xtb_python,
    compute_xtb,
    generic_rotation,
)
from al_engine.records import FailureReason

BACKENDS = [
    pytest.param(name, marks=pytest.mark.skipif(not _installed(MODULES[name]), reason=f"{name} is missing"))
    for name in MODULES
]
needs_both = pytest.mark.skipif(not all(map(_installed, MODULES.values())), reason="a backend is missing")
TIGHT = 0.1  # accuracy at which SCF noise of forces is below 1e-4 eV/Å (1.0: below 1e-3)
MOLECULES = {name: Frame.from_ase(g2[name]) for name in g2.names}
ETHANOL = MOLECULES["CH3CH2OH"]


def computed(frame, **keywords):
    result = compute_xtb(XTB(**({"backend": "xtb-python"} | keywords)), frame)
    assert isinstance(result, Computed), result
    return result


def numerical_forces(frame, h=1e-3, **keywords):
    """Central differences of the energy; its own error is h² F'' / 6 < 1e-4 eV/Å."""
    forces = np.zeros((frame.n_atoms, 3))
    for index in np.ndindex(forces.shape):
        step = np.zeros_like(forces)
        step[index] = h
        plus = computed(frame.moved_to(frame.positions + step), **keywords).energy
        minus = computed(frame.moved_to(frame.positions - step), **keywords).energy
        forces[index] = (minus - plus) / (2 * h)
    return forces


@pytest.fixture(scope="module")
def cured():
    return {name: computed(frame, accuracy=TIGHT) for name, frame in MOLECULES.items()}


@needs_both
def test_all_molecules_have_the_energies_and_forces_of_tblite(cured):
    for name, frame in MOLECULES.items():
        expected = computed(frame, backend="tblite", accuracy=TIGHT)
        assert cured[name].energy == pytest.approx(expected.energy, abs=1e-6), name
        np.testing.assert_allclose(cured[name].forces, expected.forces, atol=1e-4, err_msg=name)


@needs_both
def test_without_the_cure_xtb_is_wrong_and_with_it_forces_are_the_gradient_of_its_energy(cured):
    wrong = []
    for name, frame in MOLECULES.items():
        raw = _xtb_python(XTB(backend="xtb-python", accuracy=TIGHT), frame, frame.positions, (300.0,))
        assert raw.energy == pytest.approx(cured[name].energy, abs=1e-6)  # only forces are affected
        if np.abs(raw.forces - cured[name].forces).max() > 0.01:
            wrong.append(name)
    assert len(wrong) == 17  # in xtb 22.1
    for name in wrong:
        numerical = numerical_forces(MOLECULES[name], accuracy=TIGHT)
        np.testing.assert_allclose(cured[name].forces, numerical, atol=1e-3, err_msg=name)


def test_the_rotation_is_one_and_the_same():
    rotation = generic_rotation(ETHANOL.positions)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-14)
    assert all(generic_rotation(frame.positions) is rotation for frame in MOLECULES.values())


@given(
    points=st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=2, max_size=8, unique=True),
    spacing=st.sampled_from([0.5, 1.0, 1.37]),
)
def test_no_two_atoms_share_a_coordinate_after_it(points, spacing):
    positions = spacing * np.array(points, dtype=float)
    assert _smallest_gap(positions @ generic_rotation(positions).T) > module.SAFE_GAP


def test_where_the_rotation_itself_makes_two_coordinates_equal_another_one_is_taken():
    first = generic_rotation(ETHANOL.positions)
    unlucky = np.array([[0.0, 0, 0], [0.0, 0.6, 0.8]]) @ first  # equal x after the rotation
    assert generic_rotation(unlucky) is not first
    assert _smallest_gap(unlucky @ generic_rotation(unlucky).T) > module.SAFE_GAP


@pytest.mark.parametrize("backend", BACKENDS)
def test_water_has_the_energy_of_the_documentation(backend):
    positions = [
        [0, 0, -0.73578586109551],
        [1.44183152868459, 0, 0.36789293054775],
        [-1.44183152868459, 0, 0.36789293054775],
    ]
    result = computed(Frame(np.array([8, 1, 1]), np.array(positions) * Bohr), backend=backend)
    assert result.energy == pytest.approx(-5.070451354836705 * Hartree, abs=1e-6)  # xtb.interface, "Results"
    assert result.forces[0, 2] == pytest.approx(5.07156941e-3 * Hartree / Bohr, abs=1e-4)


@needs_both
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_forces_turn_with_the_molecule(seed):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    frame = ETHANOL.moved_to(ETHANOL.positions + rng.normal(scale=0.05, size=(9, 3)))
    here, there = (computed(f, accuracy=TIGHT) for f in (frame, frame.moved_to(frame.positions @ turn.T)))
    assert there.energy == pytest.approx(here.energy, abs=1e-7)
    np.testing.assert_allclose(there.forces, here.forces @ turn.T, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["GFN2-xTB", "GFN1-xTB"])
def test_isolated_atoms_from_h_to_ar_converge_in_their_ground_state(backend, method):
    for number in range(1, 19):
        atom = Frame(np.array([number]), np.zeros((1, 3)), multiplicity=ground_state_multiplicity(number))
        check_electrons(atom)
        result = computed(atom, backend=backend, method=method)
        assert result.energy < 0
        np.testing.assert_allclose(result.forces, 0.0, atol=1e-9)


def test_ground_states_known_by_hand():
    known = {1: 2, 2: 1, 6: 3, 7: 4, 8: 3, 9: 2, 10: 1, 11: 2, 14: 3, 15: 4, 16: 3, 18: 1}
    assert {z: ground_state_multiplicity(z) for z in known} == known


@needs_both
@pytest.mark.parametrize(("charge", "multiplicity"), [(1, 2), (-1, 2), (0, 3), (2, 1)])
def test_charge_and_unpaired_electrons_arrive(charge, multiplicity):
    frame = Frame(ETHANOL.numbers, ETHANOL.positions, charge=charge, multiplicity=multiplicity)
    energies = [computed(frame, backend=backend).energy for backend in MODULES]
    assert energies[0] == pytest.approx(energies[1], abs=1e-5)
    assert energies[0] > computed(ETHANOL).energy + 1.0  # eV: all are above the neutral singlet


@pytest.mark.parametrize("backend", BACKENDS)
def test_settings_arrive(backend):
    base = computed(ETHANOL, backend=backend, accuracy=TIGHT).energy
    hot = computed(ETHANOL, backend=backend, accuracy=TIGHT, electronic_temperature_k=10_000.0)
    assert hot.energy < base - 1e-3  # the free energy falls with temperature: dF/dT = -S
    assert computed(ETHANOL, backend=backend, accuracy=1000.0).energy != pytest.approx(base, abs=1e-5)
    assert computed(ETHANOL, backend=backend, method="GFN1-xTB").energy != pytest.approx(base, abs=1.0)
    few = compute_xtb(XTB(backend=backend, max_iterations=3), ETHANOL)
    assert isinstance(few, Failed)
    assert (few.reason, few.attempts) == (FailureReason.SCF, 2)
    assert "nor from a density cooled from 3000 K" in few.message


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_guess_changes_nothing_where_both_converge(backend):
    reference = XTB(backend=backend, accuracy=TIGHT)
    for name in ("CH3CH2OH", "C6H6", "H2CO"):
        cooled = _converge(reference, MOLECULES[name], (*COOLING_K, 300.0))
        expected = computed(MOLECULES[name], backend=backend, accuracy=TIGHT)
        assert cooled.energy == pytest.approx(expected.energy, abs=1e-6)
        np.testing.assert_allclose(cooled.forces, expected.forces, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_torn_molecule_that_does_not_converge_does_from_a_cooled_density(backend):
    reference, rng = XTB(backend=backend, max_iterations=120), np.random.default_rng(0)
    whole = MOLECULES["ClF3"]
    frames = [
        whole.moved_to(whole.positions * rng.uniform(1.0, 2.2) + rng.normal(scale=0.3, size=(4, 3)))
        for _ in range(12)
    ]
    failing = (frame for frame in frames if isinstance(_converge(reference, frame, (300.0,)), Failed))
    assert any(isinstance(compute_xtb(reference, frame), Computed) for frame in failing)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_are_the_gradient_of_the_free_energy_of_hot_electrons(backend):
    keywords = {"backend": backend, "accuracy": TIGHT, "electronic_temperature_k": 10_000.0}
    frame = MOLECULES["CH3O"]
    forces = computed(frame, **keywords).forces
    np.testing.assert_allclose(forces, numerical_forces(frame, **keywords), atol=1e-3)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_order_and_history_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    other = ETHANOL.moved_to(ETHANOL.positions + rng.normal(scale=0.1, size=(9, 3)))
    reference = resolve_backend(XTB())
    before = compute_xtb(reference, ETHANOL)
    assume(isinstance(compute_xtb(reference, other), Computed))
    assert compute_xtb(reference, ETHANOL).energy == before.energy


@needs_both
def test_an_element_that_kills_xtb_would_cost_one_label():
    frames = [Frame(np.array([92]), np.zeros((1, 3))), ETHANOL]
    run = run_isolated(partial(compute_xtb, XTB(backend="xtb-python")), frames, n_workers=1, time_limit=60.0)
    outcomes = {frame: outcome for frame, outcome, _ in run}
    assert outcomes[frames[0]].reason == FailureReason.CRASH
    assert outcomes[ETHANOL].energy == computed(ETHANOL).energy


def test_auto_takes_xtb_python_where_it_is_and_tblite_elsewhere(monkeypatch):
    present = {"xtb.interface", "tblite.interface"}
    monkeypatch.setattr(module, "_installed", lambda name: name in present)
    assert resolve_backend(XTB()).backend == "xtb-python"
    present.remove("xtb.interface")
    assert resolve_backend(XTB()).backend == "tblite"
    with pytest.raises(CalculatorUnavailableError, match=r"'xtb-python'.*pip install xtb==22\.1"):
        resolve_backend(XTB(backend="xtb-python"))
    present.clear()
    with pytest.raises(CalculatorUnavailableError, match="pip install tblite"):
        resolve_backend(XTB())


def test_the_level_of_theory_names_all_that_decides_a_label():
    lines = {
        level_of_theory(XTB(backend="tblite", **keywords))
        for keywords in ({}, {"method": "GFN1-xTB"}, {"accuracy": 0.1}, {"electronic_temperature_k": 301.0})
    }
    assert len(lines) == 4
    assert all("\n" not in line and "tblite" in line for line in lines)
    assert level_of_theory(XTB(max_iterations=3)) == level_of_theory(resolve_backend(XTB()))
