"""Labels of a file as a reference: what is found, and what it is called."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from al_engine.config import FileLabels, Labeling
from al_engine.errors import CalculatorUnavailableError
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.labeling import Labeler, level_of_theory
from al_engine.records import FailureReason, Label, LabelFailure


def labeled(seed: int, energy: float) -> tuple[Frame, Label]:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    frame = Frame.from_ase(atoms)
    return frame, Label(frame.frame_id, "x", energy, np.random.default_rng(seed).normal(size=(3, 3)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.extxyz"
    pairs = [labeled(0, 1.0), labeled(1, 2.0), labeled(1, 3.0), labeled(2, 4.0)]
    text = "".join(to_extxyz(*pair) for pair in pairs)
    path.write_text(text + "1\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")  # one without a label
    return path


def test_each_frame_gets_the_first_label_that_the_file_has_and_others_fail(file: Path):
    reference = FileLabels(file=str(file))
    labeler = Labeler(reference, Labeling(), level_of_theory(reference))
    pairs = [labeled(2, 4.0), labeled(1, 2.0)]
    found = list(labeler.label_all([*(frame for frame, _ in pairs), labeled(9, 0.0)[0]]))
    for (frame, wanted), got in zip(pairs, found, strict=False):
        assert isinstance(got, Label)
        assert (got.frame_id, got.energy) == (frame.frame_id, wanted.energy)
        np.testing.assert_array_equal(got.forces, wanted.forces)
        assert got.level_of_theory == labeler.level_of_theory
    assert isinstance(found[2], LabelFailure)
    assert (found[2].reason, found[2].message) == (
        FailureReason.EXCEPTION, "data.extxyz has no label of this frame"
    )  # fmt: skip


def test_the_level_of_theory_is_the_content_of_the_file(file: Path, tmp_path: Path):
    level = level_of_theory(FileLabels(file=str(file)))
    assert level.startswith("labels of data.extxyz (SHA-256 ")
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "data.extxyz"
    copy.write_bytes(file.read_bytes())
    assert level_of_theory(FileLabels(file=str(copy))) == level
    copy.write_text(copy.read_text() + "\n")
    assert level_of_theory(FileLabels(file=str(copy))) != level
    copy.unlink()
    with pytest.raises(CalculatorUnavailableError, match="cannot be read"):
        level_of_theory(FileLabels(file=str(copy)))
