"""Structure files in, structure files out: exact, tolerant of a bad frame, strict about a bad file."""

import gzip
import lzma
import os
import pickle
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine import structures
from al_engine.errors import StructureError
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.records import Label
from al_engine.structures import read_labeled, read_structure

THEORY = 'EMT ({"a": [1, "b=c"]}; ase 3.29, x\\y)'


def labeled(seed=0, periodic=True, fixed=False):
    """A frame with random numbers as its label."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True) if periodic else molecule("CH3CH2OH")
    n = len(atoms)
    frame = Frame(
        atoms.numbers, atoms.positions + rng.normal(scale=0.1, size=(n, 3)), atoms.cell.array, atoms.pbc,
        charge=0, multiplicity=3, fixed=rng.random(n) < 0.5 if fixed else None,
    )  # fmt: skip
    stress = rng.normal(size=(3, 3)) if periodic else None
    stress = None if stress is None else stress + stress.T
    return frame, Label(frame.frame_id, THEORY, float(rng.normal()), rng.normal(size=(n, 3)), stress)


def write(path: Path, text: str) -> Path:
    match path.suffix:
        case ".xz":
            path.write_bytes(lzma.compress(text.encode()))
        case ".gz":
            path.write_bytes(gzip.compress(text.encode()))
        case _:
            path.write_text(text)
    return path


def same(label: Label, other: Label) -> bool:
    return (
        label.frame_id == other.frame_id
        and label.energy == other.energy
        and np.array_equal(label.forces, other.forces)
        and (label.stress is None) == (other.stress is None)
        and (label.stress is None or np.array_equal(label.stress, other.stress))
    )


@given(seed=st.integers(0, 2**32 - 1), periodic=st.booleans(), fixed=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_written_frame_is_read_back_bit_by_bit(tmp_path_factory, seed, periodic, fixed):
    frame, label = labeled(seed, periodic, fixed)
    path = tmp_path_factory.getbasetemp() / "one.extxyz"
    path.write_text(to_extxyz(frame, label, {"generation": 3, "split": "train"}))
    ((again, label_again),) = [entry.content for entry in read_labeled(path, THEORY)]
    assert again == frame
    assert same(label, label_again)
    assert read_structure(path) == frame
    atoms = ase.io.read(path)
    assert atoms.info["level_of_theory"] == THEORY
    assert (atoms.info["generation"], atoms.info["split"]) == (3, "train")


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz", "a.extxyz.xz", "b.c.XYZ.gz"])
def test_many_frames_come_in_order_with_their_labels(tmp_path, name):
    pairs = [labeled(seed, periodic=bool(seed % 2)) for seed in range(7)]
    path = write(tmp_path / name, "".join(to_extxyz(*pair) for pair in pairs))
    entries = list(read_labeled(path, THEORY))
    assert [entry.index for entry in entries] == list(range(7))
    for entry, (frame, label) in zip(entries, pairs, strict=True):
        assert entry.content[0] == frame
        assert same(entry.content[1], label)
        assert entry.content[1].level_of_theory == THEORY


@pytest.mark.parametrize("name", ["emt.traj", "emt.extxyz"])
def test_files_that_ase_writes_are_read(tmp_path, name):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    ase.io.write(tmp_path / name, [atoms, atoms])
    entries = list(read_labeled(tmp_path / name, "EMT"))
    assert len(entries) == 2
    _, label = entries[1].content
    assert label.energy == pytest.approx(energy, abs=1e-12)
    np.testing.assert_allclose(label.forces, forces, atol=1e-8)
    np.testing.assert_allclose(label.stress, stress, atol=1e-12)


def test_a_free_energy_is_the_energy(tmp_path):
    atoms = molecule("H2")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, free_energy=-1.5, forces=np.zeros((2, 3)))
    ase.io.write(tmp_path / "h2.extxyz", atoms)
    ((_, label),) = [entry.content for entry in read_labeled(tmp_path / "h2.extxyz", "x")]
    assert label.energy == -1.5


def test_a_lone_atom_needs_no_forces(tmp_path):
    text = "1\nProperties=species:S:1:pos:R:3 energy=-13.5\nH 0 0 0\n"
    ((frame, label),) = [entry.content for entry in read_labeled(write(tmp_path / "h.xyz", text), "x")]
    assert frame.multiplicity == 2
    assert label.energy == -13.5
    np.testing.assert_array_equal(label.forces, np.zeros((1, 3)))


HEAD = "Properties=species:S:1:pos:R:3:forces:R:3"
GOOD = f"2\n{HEAD} energy=-1.0\nH 0 0 0 0 0 0.5\nH 0 0 0.8 0 0 -0.5\n"
BAD = {
    f"3\n{HEAD} energy=-1.0\nH 0 0 0 0 0 0\nH 0 0 0.8 0 0 0\n": "2 lines of atoms instead of 3",
    f"1\n{HEAD} energy=-1.0\nH 0 0 0 0 0 0\nH 0 0 0.8 0 0 0\n": "2 lines of atoms instead of 1",
    f"2\n{HEAD}\nH 0 0 0 0 0 0\nH 0 0 0.8 0 0 0\n": "no energy",
    "2\nProperties=species:S:1:pos:R:3 energy=-1.0\nH 0 0 0\nH 0 0 0.8\n": "no forces",
    f"2\n{HEAD} energy=nan\nH 0 0 0 0 0 0\nH 0 0 0.8 0 0 0\n": "energy is nan",
    f"2\n{HEAD} energy=-1.0\nH 0 0 0 0 0 inf\nH 0 0 0.8 0 0 0\n": "forces hold a value that is not finite",
    f"2\n{HEAD} energy=-1.0\nH 0 0 nan 0 0 0\nH 0 0 0.8 0 0 0\n": "not finite",
    f"2\n{HEAD} energy=-1.0\nH 0 0 0 0 0 0\nH 0 0 0.0 0 0 0\n": "0 Å apart",
    f"2\n{HEAD} energy=-1.0\nH 0 0 0 0 0 0\nQq 0 0 0.8 0 0 0\n": "KeyError: 'Qq'",
    f"2\n{HEAD} energy=-1.0 multiplicity=2\nH 0 0 0 0 0 0\nH 0 0 0.8 0 0 0\n": "multiplicity 2",
    f"2\n{HEAD} energy=-1.0 charge=abc\nH 0 0 0 0 0 0\nH 0 0 0.8 0 0 0\n": "abc",
    f"2\n{HEAD} energy=-1.0\nH 0 0 0 0 0\nH 0 0 0.8 0 0 0\n": "",
    f"0\n{HEAD} energy=-1.0\n": "at least one atom",
    "what is this\n": "instead of 'what is this'",
}  # fmt: skip


@pytest.mark.parametrize(("bad", "reason"), BAD.items())
def test_a_bad_frame_has_its_index_and_reason_and_the_others_are_read(tmp_path, bad, reason):
    at_start = bad.startswith("what")  # after a frame, garbage would belong to that frame
    text = bad + 2 * GOOD if at_start else GOOD + bad + GOOD
    entries = list(read_labeled(write(tmp_path / "a.xyz", text), "x"))
    assert len(entries) == 3
    reasons = {entry.index: entry.content for entry in entries if isinstance(entry.content, str)}
    assert list(reasons) == [0 if at_start else 1]
    (said,) = reasons.values()
    assert reason in said
    assert "\n" not in said


def test_a_file_that_breaks_off_gives_what_came_before(tmp_path):
    rng = np.random.default_rng(0)
    text = "".join(
        to_extxyz(frame, Label(frame.frame_id, "x", 0.0, rng.normal(size=(9, 3))))
        for frame in (labeled(seed, periodic=False)[0] for seed in range(300))
    )
    whole = lzma.compress(text.encode())
    (tmp_path / "a.xyz.xz").write_bytes(whole[: len(whole) // 2])
    *before, last = read_labeled(tmp_path / "a.xyz.xz", "x")
    assert len(before) > 20
    assert all(not isinstance(entry.content, str) for entry in before)
    assert "breaks off" in last.content


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.xyz", None, "does not exist"),
        ("missing.traj", None, "does not exist"),
        ("a.pckl", pickle.dumps(1), "allowed are .extxyz"),
        ("a.traj", b"no trajectory", "cannot be used"),
        ("a", b"", "allowed are"),
    ],
)
def test_a_labeled_file_that_cannot_be_opened_is_named(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StructureError, match=words) as caught:
        read_labeled(tmp_path / name, "x")
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a.xyz", "a.extxyz", "a.cif", "POSCAR", "a.pdb", "a.mol", "a.gen", "a.traj", "a.json"]
)
def test_structures_are_read_in_many_formats(tmp_path, name):
    atoms = molecule("CH3OH", vacuum=4.0)
    if name in ("a.mol", "a.pdb", "a.gen"):
        atoms.cell = None
    ase.io.write(tmp_path / name, atoms)
    frame = read_structure(tmp_path / name)
    assert frame.formula == "CH4O"
    np.testing.assert_allclose(
        np.sort(ase.Atoms(frame.numbers, frame.positions).get_all_distances(), axis=None),
        np.sort(atoms.get_all_distances(), axis=None),
        atol=2e-3,
    )


def test_the_last_of_several_structures_is_taken(tmp_path):
    ase.io.write(tmp_path / "a.xyz", [molecule("H2O"), molecule("CH4")])
    assert read_structure(tmp_path / "a.xyz").formula == "CH4"


def test_charge_and_multiplicity_are_those_given_or_those_of_the_file(tmp_path):
    path = write(tmp_path / "a.xyz", "1\nProperties=species:S:1:pos:R:3 charge=1 multiplicity=3\nO 0 0 0\n")
    with pytest.raises(StructureError, match=r"a\.xyz.*7 electrons and cannot have multiplicity 3"):
        read_structure(path)
    frame = read_structure(path, charge=0)
    assert (frame.charge, frame.multiplicity) == (0, 3)
    frame = read_structure(path, multiplicity=4)
    assert (frame.charge, frame.multiplicity) == (1, 4)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("no.xyz", None, "does not exist"),
        ("a.xyz", "nonsense\n", "cannot be used"),
        ("a.xyz", "", "it has 0 bytes"),
        ("a.py", "raise SystemExit('it was run')\n", "format 'py'; allowed are aims"),
        ("a.xyz", "2\n\nH 0 0 0\nH 0 0 0\n", "two atoms of H2 are 0 Å apart"),
        ("a.xyz", "1\n\nH 0 0 nan\n", "not finite"),
        ("a.xyz", "0\n\n", "cannot be used"),
        ("a.xyz", "1\n\nQq 0 0 0\n", "Qq"),
    ],
)
def test_a_bad_structure_file_is_named(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(StructureError, match=words) as caught:
        read_structure(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_large_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(StructureError, match="structure file"):
        read_structure(tmp_path)
    monkeypatch.setattr(structures, "MAX_STRUCTURE_BYTES", 10)
    with pytest.raises(StructureError, match=r"has 19 bytes; 1 to 10"):
        read_structure(write(tmp_path / "a.xyz", "1\n\nH 0 0 0.0000000\n"))


@pytest.mark.skipif(
    "AL_ENGINE_REFERENCE_DATA" not in os.environ, reason="AL_ENGINE_REFERENCE_DATA is not set"
)
@pytest.mark.parametrize(
    ("name", "n_frames"), [("ethanol/train.extxyz.xz", 1000), ("mlearn_si/Si_test.extxyz.xz", 25)]
)
def test_published_files_are_read(name, n_frames):
    entries = list(read_labeled(Path(os.environ["AL_ENGINE_REFERENCE_DATA"]) / name, "published"))
    assert len(entries) == n_frames
    assert not [entry for entry in entries if isinstance(entry.content, str)]
