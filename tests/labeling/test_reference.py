"""What can be known to fail is said before anything is computed, on one line."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from hypothesis import given
from hypothesis import strategies as st

from al_engine.config import XTB, ASECalculator, Labeling
from al_engine.errors import CalculatorUnavailableError, StructureError
from al_engine.frames import Frame
from al_engine.labeling import Labeler, check_reference, level_of_theory, resolve_backend
from al_engine.labeling.ase_calculator import compute_ase
from al_engine.labeling.base import Computed, Failed
from al_engine.labeling.checks import check_result
from al_engine.records import FailureReason, Label

WATER = Frame.from_ase(molecule("H2O"))
COPPER = Frame.from_ase(bulk("Cu", cubic=True))
EMT_CLASS = ASECalculator(calculator="ase.calculators.emt.EMT")


def h2(distance, **keywords):
    return Frame(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, distance]]), **keywords)


def mine(name, **keywords):
    return ASECalculator(calculator=f"bad_calculators.{name}", keywords=keywords)


@pytest.mark.parametrize(
    ("reference", "frame"),
    [
        (XTB(), WATER),
        (XTB(method="GFN1-xTB"), WATER),
        (EMT_CLASS, COPPER),
        (ASECalculator(calculator="ase.calculators.emt.EMT", keywords={"asap_cutoff": True}), WATER),
        (ASECalculator(calculator="ase.calculators.lj.LennardJones", keywords={"sigma": 2.0}), COPPER),
        (mine("Curious", about="pid"), WATER),
    ],
)
def test_good_references_pass(reference, frame):
    check_reference(reference, [frame])


@pytest.mark.parametrize(
    ("reference", "frame", "error", "words"),
    [
        (
            XTB(),
            Frame(np.array([92]), np.zeros((1, 3))),
            CalculatorUnavailableError,
            "does not know U .*H to Rn",
        ),
        (
            EMT_CLASS,
            Frame(np.array([54]), np.zeros((1, 3))),
            CalculatorUnavailableError,
            "does not know Xe.*H, C",
        ),
        (XTB(), COPPER, CalculatorUnavailableError, "Cu4 is periodic"),
        (mine("Nothing"), WATER, CalculatorUnavailableError, "bad_calculators.Nothing.*cannot be imported"),
        (ASECalculator(calculator="no_such.Thing"), WATER, CalculatorUnavailableError, "No module named"),
        (mine("NoCalculator"), WATER, CalculatorUnavailableError, "is not an ASE calculator"),
        (
            ASECalculator(calculator="math.sqrt", keywords={"x": 1}),
            WATER,
            CalculatorUnavailableError,
            "made with",
        ),
        (mine("not_made"), WATER, CalculatorUnavailableError, "OSError: no license"),
        (mine("Curious"), WATER, CalculatorUnavailableError, "about"),
        (
            ASECalculator(calculator="ase.calculators.lj.LennardJones", keywords={"epsilom": 1.0}),
            WATER,
            CalculatorUnavailableError,
            "no keyword 'epsilom'; it has .*epsilon",
        ),
        (XTB(), h2(0.0), StructureError, "0 Å apart"),
        (XTB(), h2(0.29), StructureError, "0.29 Å apart"),
        (XTB(), h2(2e4), StructureError, "at most 10000 Å"),
        (
            XTB(),
            h2(0.8, charge=1),
            StructureError,
            "1 electrons and cannot have multiplicity 1; give an even",
        ),
        (XTB(), h2(0.8, charge=3), StructureError, "-1 electrons"),
        (EMT_CLASS, Frame(np.array([0]), np.zeros((1, 3))), StructureError, "without an element"),
    ],
)
def test_bad_references_are_named(reference, frame, error, words):
    with pytest.raises(error, match=words) as caught:
        check_reference(reference, [WATER, frame])
    assert "\n" not in str(caught.value)


def test_a_frame_that_must_not_be_computed_is_a_failure_and_the_others_are_labeled():
    reference = resolve_backend(XTB())
    labeler = Labeler(reference, Labeling(n_workers=1), level_of_theory(reference))
    bad = {
        h2(0.1): FailureReason.TOO_CLOSE,
        h2(0.8, charge=1): FailureReason.EXCEPTION,
        COPPER: FailureReason.EXCEPTION,
        h2(2e4): FailureReason.EXCEPTION,
    }
    results = {r.frame_id: r for r in labeler.label_all([*bad, WATER])}
    assert len(results) == 5
    assert isinstance(results[WATER.frame_id], Label)
    assert {frame: results[frame.frame_id].reason for frame in bad} == bad
    assert [r.reason for r in labeler.label_all([h2(0.1)])] == [FailureReason.TOO_CLOSE]


def test_another_level_of_theory_than_stored_is_refused():
    with pytest.raises(CalculatorUnavailableError, match=r"GFN2-xTB \(old\).*this machine computes"):
        Labeler(resolve_backend(XTB()), Labeling(), "GFN2-xTB (old)")


def test_the_level_of_theory_of_an_ase_calculator_has_keywords_and_version():
    import ase

    reference = ASECalculator(calculator="ase.calculators.lj.LennardJones", keywords={"sigma": 2.0, "rc": 5})
    line = level_of_theory(reference)
    assert line == f'ase.calculators.lj.LennardJones ({{"rc": 5, "sigma": 2.0}}; ase {ase.__version__})'


@pytest.mark.parametrize(
    "reference", [EMT_CLASS, ASECalculator(calculator="ase.calculators.lj.LennardJones")]
)
def test_a_cell_has_the_energy_forces_and_stress_of_the_calculator(reference):
    frame = COPPER.moved_to(COPPER.positions + np.random.default_rng(0).normal(scale=0.1, size=(4, 3)))
    result = compute_ase(reference, frame)
    atoms = frame.to_ase()
    atoms.calc = EMT() if reference is EMT_CLASS else LennardJones()
    assert result.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(result.forces, atoms.get_forces())
    np.testing.assert_array_equal(result.stress, atoms.get_stress(voigt=False))


def test_the_stress_of_a_strained_cell_is_the_derivative_of_its_energy():
    h, cell, volume = 1e-4, COPPER.cell, np.linalg.det(COPPER.cell)
    energies = []
    for strain in (h, -h):
        scale = np.diag([1 + strain, 1, 1])
        frame = Frame(COPPER.numbers, COPPER.positions @ scale, cell @ scale, COPPER.pbc)
        energies.append(compute_ase(EMT_CLASS, frame).energy)
    expected = (energies[0] - energies[1]) / (2 * h * volume)
    assert compute_ase(EMT_CLASS, COPPER).stress[0, 0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pbc", [[True, True, False], [False, False, False]])
def test_there_is_no_stress_without_three_periodic_directions(pbc):
    frame = Frame(COPPER.numbers, COPPER.positions, COPPER.cell, np.array(pbc))
    assert compute_ase(EMT_CLASS, frame).stress is None


def test_the_energy_is_the_one_whose_gradient_the_forces_are():
    result = compute_ase(mine("Smeared"), COPPER)
    assert result.energy == -1.5
    np.testing.assert_array_equal(result.stress, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])  # Voigt xx yy zz yz xz xy


def test_charge_multiplicity_and_free_atoms_reach_the_calculator(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = Frame(WATER.numbers, WATER.positions, charge=-2, multiplicity=3, fixed=np.ones(3, dtype=bool))
    assert compute_ase(mine("Curious", about="electrons"), frame).energy == pytest.approx(-198.0)
    assert compute_ase(mine("Curious", about="info"), frame).energy == -197.0
    assert compute_ase(mine("Curious", about="constraints"), frame).energy == 0.0


@given(
    energy=st.floats(allow_nan=True),
    forces=st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=3, max_size=3),
    cap=st.floats(0.1, 1e3),
)
def test_a_result_is_accepted_exactly_if_it_is_finite_and_below_the_cap(energy, forces, cap):
    computed = Computed(energy, np.array(forces))
    good = bool(np.isfinite(energy) and (np.abs(forces) <= cap).all())
    failed = check_result(WATER, computed, cap)
    assert (failed is None) == good
    assert failed is None or isinstance(failed, Failed)


def test_wrong_shapes_are_refused():
    zeros = np.zeros((3, 3))
    assert check_result(WATER, Computed(0.0, zeros, np.zeros(6)), 1.0).reason == FailureReason.WRONG_SHAPE
    assert check_result(WATER, Computed(0.0, np.zeros(9)), 1.0).reason == FailureReason.WRONG_SHAPE
    assert check_result(WATER, Computed(0.0, zeros, zeros + np.nan), 1.0).reason == FailureReason.NOT_FINITE
