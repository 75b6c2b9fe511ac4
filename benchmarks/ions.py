"""Ions and their neutral parents in one fit: errors of each. GFN2-xTB, rattled frames.

python benchmarks/ions.py [--n-train 60] [--seeds 3]

Water and its radical cation stand at the same places; only the charge tells them apart. Prints for each
the energy RMSE (meV/atom), the force RMSE and the median over frames of a frame's force RMSE (meV/Å).
"""

import argparse
import time

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from gfn2_labels import labeled

from al_engine.config import CampaignConfig, System
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.stages.compute import resolve_compute
from al_engine.stages.initial import isolated_atom
from al_engine.stages.train import train_stage

HYDRONIUM = Atoms("OH3", [[0, 0, 0.07], [0, 0.95, -0.2], [0.82, -0.47, -0.2], [-0.82, -0.47, -0.2]])
SPECIES = {
    "H2O": (molecule("H2O"), 0, 1),
    "H3O+": (HYDRONIUM, 1, 1),
    "H2O+": (molecule("H2O"), 1, 2),
    "OH-": (molecule("OH"), -1, 1),
}


def rattled(name: str, n: int, rng: np.random.Generator) -> list[Frame]:
    """Copies with each atom displaced by 0.02-0.06 Å."""
    atoms, charge, multiplicity = SPECIES[name]
    base = Frame.from_ase(atoms, charge=charge, multiplicity=multiplicity)
    shape = base.positions.shape
    return [base.moved_to(base.positions + rng.normal(0, s, shape)) for s in np.linspace(0.02, 0.06, n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n-train", type=int, default=60, help="frames of each species")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--species", nargs="+", default=list(SPECIES), choices=SPECIES)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    names = arguments.species
    train = labeled([f for name in names for f in rattled(name, arguments.n_train, rng)])
    train += labeled([isolated_atom(z) for z in (1, 8)])
    tests = {name: labeled(rattled(name, 60, rng)) for name in names}
    for seed in range(arguments.seeds):
        config = CampaignConfig(name="ions", seed=seed, systems=(System(structure="-"),))
        began = time.process_time()
        model = train_stage(resolve_compute(config, 4), 1, train, {}).model
        ensemble = Ensemble.from_bytes(model.weights)
        said = []
        for name, items in tests.items():
            p = ensemble.predict([i.frame for i in items])
            energy = p.energy - [i.label.energy for i in items]
            forces = p.forces - np.concatenate([i.label.forces for i in items])
            per_atom = 1000 * np.sqrt(np.mean(energy**2)) / items[0].frame.n_atoms
            of_frame = 1000 * np.sqrt(np.mean(forces.reshape(len(items), -1) ** 2, axis=1))
            rmse = np.sqrt(np.mean(of_frame**2))
            said.append(f"{name} {per_atom:.1f} / {rmse:.0f} / {np.median(of_frame):.0f}")
        print(f"seed {seed}, {time.process_time() - began:.0f} CPU s: {', '.join(said)}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
