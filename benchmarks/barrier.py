"""The barrier of a hydrogen transfer, before and after a campaign on its path.

    AL_ENGINE_REFERENCE_DATA=FOLDER python benchmarks/barrier.py [--generations 4] [--seed 0]

Acetylacetone (enol) at GFN2-xTB by tblite: a relaxed frame of the published set, and the other end with its
hydrogen at the other oxygen, relaxed, too. The reference is ASE's nudged elastic band on GFN2-xTB itself. The
campaign has the sampler `reaction_path` alone; of each generation's ensemble a band is relaxed in the same
way: its barrier with the deviation it predicts, and the reference's energy where it has its saddle.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import reference_data
from ase import Atoms
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from campaigns import run_campaign
from tblite.ase import TBLite

from al_engine.exploration.reaction_path import METHOD, Band, interpolated
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from db.store import Store

N_IMAGES, N_STEPS, MAX_FORCE = 9, 200, 0.03


def ends() -> list[Frame]:
    """Both minima."""
    atoms = reference_data.frames("acac/train_300K")[0].frame.to_ase()
    oxygens = np.flatnonzero(atoms.numbers == 8)
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    reach = atoms.get_all_distances()[np.ix_(hydrogens, oxygens)]
    hydrogen = hydrogens[reach.min(axis=1).argmin()]
    near, far = oxygens[np.argsort(atoms.get_all_distances()[hydrogen, oxygens])]
    found = []
    for oxygen, other in ((near, far), (far, near)):
        start = atoms.copy()
        toward = start.positions[other] - start.positions[oxygen]
        start.positions[hydrogen] = start.positions[oxygen] + toward / np.linalg.norm(toward)
        start.calc = TBLite(method="GFN2-xTB", verbosity=0)
        BFGS(start, logfile=None).run(0.01, 500)
        found.append(Frame.from_ase(Atoms(numbers=start.numbers, positions=start.positions)))
    return found


def relax(band: NEB) -> None:
    """Relax, then climb."""
    for climb in (False, True):
        band.climb = climb
        FIRE(band, logfile=None).run(MAX_FORCE, N_STEPS)


def energy(frame: Frame) -> float:
    atoms = frame.to_ase()
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    return float(atoms.get_potential_energy())


def reference(frames: list[Frame]) -> float:
    """The barrier of the reference, eV."""
    images = [frame.to_ase() for frame in frames]
    for image in images:
        image.calc = TBLite(method="GFN2-xTB", verbosity=0)
    band = NEB(images, method=METHOD)
    relax(band)
    energies = [image.get_potential_energy() for image in images]
    return max(energies) - energies[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    first, last = ends()
    images = interpolated(first, last, N_IMAGES)
    at_first = energy(first)
    print(f"reference: {reference(images):.4f} eV, other end {energy(last) - at_first:+.4f} eV", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k, frame in enumerate((first, last)):
            (folder / f"{k}.extxyz").write_text(to_extxyz(frame))
        plain = {
            "name": "barrier",
            "seed": arguments.seed,
            "systems": [{"structure": f"{k}.extxyz"} for k in range(2)],
            "reference": {"kind": "xtb", "backend": "tblite"},
            "initial": {"n_frames": 20},
            "exploration": {
                "sampler": {"kind": "reaction_path", "n_images": N_IMAGES},
                "exits": {"force_error_ev_per_ang": 5.0},  # first ensembles have seen rattled frames only
            },
            "selection": {"n_frames": 20},
            "audit": {"n_frames": 0},
            "max_generations": arguments.generations,
        }
        url = run_campaign(plain, folder)
        print("| generation | labels | barrier (eV) | predicted sd | reference at its saddle |")
        print("|---" * 5 + "|")
        with Store.open(url) as store:
            for generation in store.generations("barrier"):
                model = store.model("barrier", generation.number)
                if model is None:
                    continue
                ensemble = Ensemble.from_bytes(model.weights, device="cpu")
                band = Band(ensemble, images)
                relax(band)
                frames = band.frames()
                members = ensemble.predict(frames).member_energy
                top = int(members.mean(axis=0).argmax())
                barriers = members[:, top] - members[:, 0]
                n_labels = len(store.labeled("barrier", before=generation.number))
                mean, sd = barriers.mean(), barriers.std(ddof=1)
                there = energy(frames[top]) - at_first
                print(
                    f"| {generation.number} | {n_labels} | {mean:.4f} | {sd:.4f} | {there:.4f} |", flush=True
                )


if __name__ == "__main__":
    main()
