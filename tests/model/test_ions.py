"""Ions and their neutral parents in one fit, labels by GFN2-xTB."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from al_engine.config import XTB, CampaignConfig, Model, System, Training
from al_engine.frames import Frame
from al_engine.labeling import level_of_theory
from al_engine.labeling.reference import compute
from al_engine.model.ensemble import Ensemble
from al_engine.records import Label, LabeledFrame, Origin
from al_engine.stages.train import train_stage

REFERENCE = XTB(backend="tblite")
HYDRONIUM = Atoms("OH3", [[0, 0, 0.07], [0, 0.95, -0.2], [0.82, -0.47, -0.2], [-0.82, -0.47, -0.2]])
SPECIES = {"H2O": (molecule("H2O"), 0, 1), "H3O+": (HYDRONIUM, 1, 1), "H2O+": (molecule("H2O"), 1, 2)}
"""Water and its cation differ in nothing but charge and multiplicity."""


def labeled(frame: Frame) -> LabeledFrame:
    result = compute(REFERENCE, frame)
    label = Label(frame.frame_id, level_of_theory(REFERENCE), result.energy, result.forces)
    return LabeledFrame(frame, label, 0, Origin.INITIAL, frame.frame_id)


def rattled(name: str, n: int, seed: int) -> list[LabeledFrame]:
    atoms, charge, multiplicity = SPECIES[name]
    base, rng = Frame.from_ase(atoms, charge=charge, multiplicity=multiplicity), np.random.default_rng(seed)
    shape = base.positions.shape
    return [labeled(base.moved_to(base.positions + rng.normal(0, 0.03, shape))) for _ in range(n)]


@pytest.fixture(scope="module")
def model() -> Ensemble:
    config = CampaignConfig(
        name="ions",
        systems=(System(structure="-"),),
        model=Model(n_members=2, n_channels=16, n_radial=6, r_max_ang=3.0),
        training=Training(n_steps=600, batch_size=8),
        device="cpu",
    )
    frames = [item for name in SPECIES for item in rattled(name, 20, seed=1)]
    frames += [labeled(Frame(np.array([z]), np.zeros((1, 3)), multiplicity=m)) for z, m in ((1, 2), (8, 3))]
    weights = train_stage(config, 1, frames, {}).model.weights
    return Ensemble.from_bytes(weights, device="cpu", dtype=torch.float64)


@pytest.mark.parametrize("name", SPECIES)
def test_each_of_water_hydronium_and_the_cation_is_learned(model: Ensemble, name: str):
    items = rattled(name, 20, seed=2)
    p = model.predict([item.frame for item in items])
    energy = p.energy - [item.label.energy for item in items]
    forces = np.concatenate([item.label.forces for item in items])
    assert np.sqrt(np.mean(energy**2)) < 0.4  # eV, of ionization and binding energies of 4 to 14
    assert np.sqrt(np.mean((p.forces - forces) ** 2)) < 0.2 * np.sqrt(np.mean(forces**2))
