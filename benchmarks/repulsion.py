"""Do the repulsion and the floor of distances help? Ethanol, GFN2-xTB: tested on pressed bonds.

python benchmarks/repulsion.py [--seeds 3]
"""

import argparse

import numpy as np
import torch
from ase.build import molecule
from gfn2_labels import labeled

from al_engine.config import CampaignConfig, System
from al_engine.evaluation import evaluate
from al_engine.frames import Frame, minimum_distance
from al_engine.model import repulsion
from al_engine.model.ensemble import Ensemble
from al_engine.stages.compute import resolve_compute
from al_engine.stages.initial import isolated_atom
from al_engine.stages.train import train_stage


def pressed(frame: Frame, rng: np.random.Generator) -> Frame:
    """One pair of neighbors brought to 55-90 % of its distance, not below 0.55 Å."""
    atoms = frame.to_ase()
    distances = atoms.get_all_distances()
    pairs = np.argwhere((distances > 0.8) & (distances < 2.8))
    i, j = pairs[rng.integers(len(pairs))]
    atoms.set_distance(i, j, max(0.55, distances[i, j] * rng.uniform(0.55, 0.9)), fix=0)
    return Frame.from_ase(atoms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    base = Frame.from_ase(molecule("CH3CH2OH"))
    rattled = [base.moved_to(base.positions + rng.normal(0, s, (9, 3))) for s in rng.uniform(0.02, 0.1, 120)]
    train, test = rattled[:60], rattled[60:]
    press = [f for f in (pressed(f, rng) for f in test) if minimum_distance(f) > 0.5]
    train_set = labeled([*train, *(isolated_atom(z) for z in (1, 6, 8))])
    tests = {"rattled": labeled(test), "pressed": labeled(press)}
    coulomb, floor = repulsion.COULOMB, repulsion.FLOOR
    variants = {"neither": (0.0, 1e-3), "repulsion": (coulomb, 1e-3), "both": (coulomb, floor)}
    for kind, (repulsion.COULOMB, repulsion.FLOOR) in variants.items():
        for seed in range(arguments.seeds):
            config = resolve_compute(
                CampaignConfig(name="repulsion", seed=seed, systems=(System(structure="-"),)), 9
            )
            model = train_stage(config, 1, train_set, {}).model
            ensemble = Ensemble.from_bytes(model.weights)
            errors = []
            for name, items in tests.items():
                p = ensemble.predict([i.frame for i in items])
                forces = np.concatenate([i.label.forces for i in items])
                e = evaluate(p, [i.label.energy for i in items], forces)
                errors.append(f"{name} {1000 * e.forces.rmse_ev_per_ang:.0f} meV/Å")
            print(f"{kind}, seed {seed}: {', '.join(errors)}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
