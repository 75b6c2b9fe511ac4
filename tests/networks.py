"""Small random networks in float64 for laws, with noise that varies from place to place."""

import numpy as np
import torch
from ase.build import bulk, molecule

from al_engine.frames import Frame
from al_engine.model.checkpoint import Provenance
from al_engine.model.ensemble import Ensemble
from al_engine.model.potential import Architecture, StackedPotential

ELEMENTS = (1, 6, 8)


def network(
    seed: int = 0, *, n_members: int = 3, r_max: float = 4.0, n_channels: int = 8
) -> StackedPotential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arch = Architecture(n_members, ELEMENTS, n_channels, 2, 6, r_max, 6.0, 1.3)
        net = StackedPotential(arch).double()
        with torch.no_grad():
            net.noise_out.weight.mul_(10)
            net.noise_bias.copy_(torch.randn(n_members, 1) - 1)
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
