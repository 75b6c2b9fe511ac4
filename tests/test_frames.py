"""A frame is its content: equal content has equal id, everything that a calculator sees is in it."""

import hashlib
import pickle

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixedPlane
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from al_engine import Frame
from al_engine.errors import StructureError
from al_engine.frames import (
    check_distances,
    check_electrons,
    elements_of,
    minimum_distance,
    parity_multiplicity,
)

COORDINATE = st.floats(-50, 50, allow_subnormal=False)
WATER = Frame(np.array([8, 1, 1]), np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))


@st.composite
def frames(draw):
    n = draw(st.integers(1, 6))
    numbers = draw(hnp.arrays(np.int32, n, elements=st.integers(1, 86)))
    positions = draw(hnp.arrays(np.float64, (n, 3), elements=COORDINATE))
    pbc = np.array(draw(st.tuples(*[st.booleans()] * 3)))
    cell = np.diag(draw(hnp.arrays(np.float64, 3, elements=st.floats(3, 20)))) + np.triu(
        np.full((3, 3), 0.5), 1
    )
    charge = draw(st.integers(-2, 1))
    multiplicity = parity_multiplicity(numbers, charge) + draw(st.sampled_from([0, 2]))
    fixed = draw(hnp.arrays(np.bool_, n))
    return Frame(
        numbers, positions, cell if pbc.any() else np.zeros((3, 3)), pbc, charge, multiplicity, fixed
    )


def fields(frame):
    return (
        frame.numbers, frame.positions, frame.cell, frame.pbc, frame.charge, frame.multiplicity, frame.fixed,
    )  # fmt: skip


@given(frame=frames())
def test_equal_content_has_an_equal_id(frame):
    same = Frame(
        frame.numbers.astype(np.int64),
        np.asfortranarray(frame.positions),
        frame.cell.tolist(),
        frame.pbc.astype(int),
        frame.charge,
        frame.multiplicity,
        frame.fixed.tolist(),
    )
    assert same.frame_id == frame.frame_id
    assert same == frame
    assert hash(same) == hash(frame)
    assert len({same, frame}) == 1


@given(frame=frames(), data=st.data())
def test_any_other_content_has_another_id(frame, data):
    values = list(fields(frame))
    which = data.draw(st.integers(0, len(values) - 1))
    if which in (4, 5):
        values[which] += 1
    else:
        array = values[which].copy()
        index = data.draw(st.tuples(*(st.integers(0, k - 1) for k in array.shape)))
        array[index] = np.nextafter(array[index], 100) if array.dtype.kind == "f" else not array[index]
        values[which] = array
        if which == 3:
            values[2] = np.eye(3)
            frame = Frame(*fields(frame)[:2], np.eye(3), *fields(frame)[3:])
    assert Frame(*values).frame_id != frame.frame_id


@given(frame=frames())
def test_the_order_of_atoms_is_content(frame):
    order = np.arange(frame.n_atoms)[::-1]
    turned = Frame(
        frame.numbers[order], frame.positions[order], frame.cell, frame.pbc,
        frame.charge, frame.multiplicity, frame.fixed[order],
    )  # fmt: skip
    unchanged = all(np.array_equal(a[order], a) for a in (frame.numbers, frame.positions, frame.fixed_mask))
    assert (turned == frame) == unchanged


def test_the_id_is_sha256_of_the_documented_bytes():
    digest = hashlib.sha256(b"al-engine frame 1\n")
    digest.update(np.array([3, 0, 1], dtype="<i8").tobytes())
    digest.update(np.array([8, 1, 1], dtype="<i4").tobytes())
    digest.update(np.array([0, 0, 0, 0.96, 0, 0, -0.24, 0.93, 0], dtype="<f8").tobytes())
    digest.update(bytes(9 * 8) + bytes(3) + bytes(3))  # cell, pbc, fixed
    assert WATER.frame_id == digest.hexdigest()
    assert WATER.frame_id == "a426a7a7ee7265d3a7a6bdec60827d9c145f8d54d6640d099011c8f309aeb5d4"


def test_minus_zero_is_zero():
    assert WATER.moved_to(-0.0 * WATER.positions) == WATER.moved_to(0.0 * WATER.positions)


@given(frame=frames())
def test_ase_round_trip(frame):
    assert Frame.from_ase(frame.to_ase()) == frame


@given(frame=frames())
@settings(max_examples=30, deadline=None)
def test_extended_xyz_round_trip_through_ase_keeps_its_8_digits(tmp_path_factory, frame):
    path = tmp_path_factory.getbasetemp() / "frame.extxyz"
    ase.io.write(path, frame.to_ase())
    again = Frame.from_ase(ase.io.read(path))
    np.testing.assert_allclose(again.positions, frame.positions, atol=0.6e-8)
    assert again.moved_to(frame.positions) == frame


@given(frame=frames())
def test_a_pickled_frame_is_the_same(frame):
    assert pickle.loads(pickle.dumps(frame)) == frame


def test_arrays_are_copies_and_cannot_be_changed():
    positions = np.zeros((1, 3))
    frame = Frame(np.array([1]), positions)
    before = frame.frame_id
    positions += 1.0
    assert Frame(frame.numbers, frame.positions).frame_id == before
    for array in fields(frame)[:4]:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_charge_and_multiplicity_come_from_arguments_then_info_then_sums_then_parity():
    atoms = molecule("CH3")
    assert Frame.from_ase(atoms).multiplicity == 2  # ASE gives its carbon a magnetic moment of 1
    atoms.set_initial_charges([0.5, 0.5, 0, 0])
    atoms.set_initial_magnetic_moments([-1, -1, 0, 0])
    assert (Frame.from_ase(atoms).charge, Frame.from_ase(atoms).multiplicity) == (1, 3)
    atoms.info.update(charge=-1, multiplicity=5)
    assert (Frame.from_ase(atoms).charge, Frame.from_ase(atoms).multiplicity) == (-1, 5)
    frame = Frame.from_ase(atoms, charge=0, multiplicity=4)
    assert (frame.charge, frame.multiplicity) == (0, 4)
    assert Frame.from_ase(Atoms("OH"), charge=-1).multiplicity == 1


def test_fixed_atoms_come_from_ase_and_go_back():
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint([FixAtoms([0]), FixAtoms([2])])
    frame = Frame.from_ase(atoms)
    np.testing.assert_array_equal(frame.fixed, [True, False, True, False])
    (constraint,) = frame.to_ase().constraints
    np.testing.assert_array_equal(constraint.index, [0, 2])
    atoms.set_constraint(FixedPlane(0, (1, 0, 0)))
    with pytest.raises(StructureError, match="FixedPlane"):
        Frame.from_ase(atoms)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], np.zeros((0, 3))), "at least one atom"),
        (([1], np.zeros((2, 3))), r"positions must have shape \(1, 3\), got \(2, 3\)"),
        (([1], [[0, 0, np.nan]]), "positions holds a value that is not finite"),
        (([1], [[0, 0, np.inf]]), "not finite"),
        (([1], np.zeros((1, 3)), np.zeros((3, 3)), [True, False, False]), "non-zero volume"),
        (([1], np.zeros((1, 3)), np.eye(2)), "cell must have shape"),
        (([1], np.zeros((1, 3)), np.eye(3), [True]), "pbc must have shape"),
        (([1], np.zeros((1, 3)), np.eye(3), [True] * 3, 0, 2, [True, False]), "fixed must have shape"),
    ],
)
def test_wrong_content_is_refused(arguments, words):
    with pytest.raises(StructureError, match=words):
        Frame(*arguments)


@given(numbers=st.lists(st.integers(1, 86), min_size=1, max_size=8), charge=st.integers(-3, 1))
def test_exactly_every_second_multiplicity_is_possible(numbers, charge):
    electrons = sum(numbers) - charge
    positions = np.zeros((len(numbers), 3))
    for multiplicity in range(electrons + 4):
        frame = Frame(np.array(numbers), positions, charge=charge, multiplicity=multiplicity)
        possible = multiplicity >= 1 and multiplicity - 1 <= electrons and (electrons - multiplicity) % 2 == 1
        if possible:
            check_electrons(frame)
        else:
            with pytest.raises(StructureError, match="electrons"):
                check_electrons(frame)
    lowest = parity_multiplicity(numbers, charge)
    assert lowest in (1, 2)
    assert (electrons - lowest) % 2 == 1


@given(frame=frames(), shift=st.tuples(*[COORDINATE] * 3))
@settings(deadline=None)
def test_the_smallest_distance_is_asess_and_ignores_translation(frame, shift):
    distance = minimum_distance(frame)
    assert minimum_distance(frame.moved_to(frame.positions + shift)) == pytest.approx(distance, abs=1e-9)
    if frame.n_atoms > 1 and not frame.is_periodic:
        expected = frame.to_ase().get_all_distances()[np.triu_indices(frame.n_atoms, 1)].min()
        assert distance == pytest.approx(expected, abs=1e-12)


def test_smallest_distances_known_by_hand():
    assert minimum_distance(Frame(np.array([1]), np.zeros((1, 3)))) == np.inf
    assert minimum_distance(WATER) == pytest.approx(0.96)
    assert minimum_distance(Frame.from_ase(bulk("Cu", a=3.6))) == pytest.approx(3.6 / np.sqrt(2))
    across = Frame(
        np.array([1, 1]), np.array([[0.1, 0, 0], [9.8, 0, 0]]), 10 * np.eye(3), np.ones(3, dtype=bool)
    )
    assert minimum_distance(across) == pytest.approx(0.3)
    check_distances(across, 0.29)
    with pytest.raises(StructureError, match=r"two atoms of H2 are 0\.3 Å apart; at least 0\.31 Å"):
        check_distances(across, 0.31)


def test_elements_are_named_once():
    assert elements_of([WATER, Frame.from_ase(molecule("CH4"))]) == (1, 6, 8)
    assert WATER.formula == "H2O"
