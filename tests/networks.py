"""Small networks in float64 for laws: random with noise that varies from place to place, and trained."""

from functools import cache

import numpy as np
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from al_engine.config import CampaignConfig, Model, System, Training
from al_engine.frames import Frame
from al_engine.model.checkpoint import Provenance
from al_engine.model.ensemble import Ensemble
from al_engine.model.potential import Architecture, StackedPotential
from al_engine.records import Label, LabeledFrame, Origin
from al_engine.stages.train import train_stage

ELEMENTS = (1, 6, 8)
TIGHT = {"rtol": 1e-9, "atol": 1e-10}


def network(
    seed: int = 0, *, n_members: int = 3, r_max: float = 4.0, n_channels: int = 8
) -> StackedPotential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arch = Architecture(n_members, ELEMENTS, n_channels, 2, 6, r_max, 6.0, 1.3)
        net = StackedPotential(arch).double()
        with torch.no_grad():
            net.noise_out.weight.mul_(10)
            net.noise_bias.copy_(torch.randn(n_members, 1, 1) - 1)
            net.log_length.copy_(torch.randn(n_members) * 0.3)
    return net


def ensemble(seed: int = 0, **keywords: float) -> Ensemble:
    provenance = Provenance({1: -10.5, 6: -48.25, 8: -102.0}, (0.7, 1.6, 1.3), "test", "0" * 64)
    return Ensemble(network(seed, **keywords), provenance)


def ethanol(seed: int = 0) -> Frame:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return Frame.from_ase(atoms)


def carbon_crystal(seed: int = 0, cubic: bool = True) -> Frame:
    atoms = bulk("C", "diamond", a=3.6, cubic=cubic)
    atoms.rattle(0.05, seed=seed)
    skew = np.array([[1, 0.1, 0.05], [0, 1, 0.08], [0, 0, 1]])
    atoms.set_cell(atoms.cell.array @ skew, scale_atoms=True)
    return Frame.from_ase(atoms)


def turned(frame: Frame, rotation: np.ndarray) -> Frame:
    return Frame(frame.numbers, frame.positions @ rotation.T, frame.cell @ rotation.T, frame.pbc)


def supercell(frame: Frame, n: tuple[int, int, int]) -> Frame:
    atoms = frame.to_ase().repeat(n)
    return Frame.from_ase(atoms)


def labeled(frame: Frame) -> LabeledFrame:
    """EMT is an analytic potential; what it says of hydrogen, carbon and oxygen is no chemistry."""
    atoms = frame.to_ase()
    atoms.calc = EMT()
    energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
    stress = atoms.get_stress(voigt=False) if frame.pbc.all() else None
    label = Label(frame.frame_id, "EMT", energy, forces, stress)
    return LabeledFrame(frame, label, 0, Origin.INITIAL, frame.frame_id)


@cache
def trained() -> Ensemble:
    """An ensemble trained on molecules and crystals in a few seconds."""
    frames = [Frame(np.array([z]), np.zeros((1, 3))) for z in ELEMENTS]
    for seed in range(8):
        frames += [ethanol(seed), carbon_crystal(seed), carbon_crystal(seed, cubic=False)]
    config = CampaignConfig(
        name="laws",
        systems=(System(structure="-"),),
        model=Model(n_members=3, n_channels=8, n_radial=6, r_max_ang=4.0),
        training=Training(n_steps=240, batch_size=4),
        device="cpu",
    )
    model = train_stage(config, 1, [labeled(frame) for frame in frames], {}).model
    return Ensemble.from_bytes(model.weights, device="cpu", dtype=torch.float64)
