"""Labels computed again: what is equal within the tolerance, what is not, and what fails."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from al_engine.config import ASECalculator, Labeling
from al_engine.frames import Frame
from al_engine.labeling import Labeler, level_of_theory
from al_engine.labeling.again import ENERGY_EV, FORCE_EV_PER_ANG, differences
from al_engine.records import Label, LabeledFrame, Origin

EMT = ASECalculator(calculator="ase.calculators.emt.EMT")


@pytest.fixture(scope="module")
def labeler() -> Labeler:
    return Labeler(EMT, Labeling(), level_of_theory(EMT))


@pytest.fixture(scope="module")
def item(labeler: Labeler) -> LabeledFrame:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    frame = Frame.from_ase(atoms)
    (label,) = labeler.label_all([frame])
    assert isinstance(label, Label)
    return LabeledFrame(frame, label, 0, Origin.INITIAL, "g")


def test_labels_that_are_computed_again_are_the_same(labeler: Labeler, item: LabeledFrame):
    assert differences(labeler, [item]) == []


@pytest.mark.parametrize(
    ("energy", "force"), [(2 * ENERGY_EV, 0.0), (0.0, 2 * FORCE_EV_PER_ANG), (np.nan, 0.0)]
)
def test_a_label_that_is_not_what_the_method_says_is_found(
    labeler: Labeler, item: LabeledFrame, energy: float, force: float
):
    forces = item.label.forces + force * np.eye(3)
    wrong = replace(item, label=replace(item.label, energy=item.label.energy + energy, forces=forces))
    (line,) = differences(labeler, [wrong])
    assert item.frame.frame_id in line
    assert "computed again it differs" in line


def test_a_label_that_cannot_be_had_again_is_found(item: LabeledFrame):
    strict = Labeler(EMT, Labeling(force_cap_ev_per_ang=1e-6), level_of_theory(EMT))
    (line,) = differences(strict, [item])
    assert "computed again it fails" in line
