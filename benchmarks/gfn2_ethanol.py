"""GFN2-xTB ethanol: frames to train on at 300-800 K, tests in and out of that distribution; kept in a folder.

    python benchmarks/gfn2_ethanol.py [--folder FOLDER]

train: 400 frames, test: 300, of Langevin runs of 1.6 ps at 300, 400, ... 800 K, a frame each 12.5 fs, the
last 50 of a run are tests; hot: 150 frames at 1500 K; stretched: a hydrogen of a test frame pulled
from a partner (0.8-1.7 Å) to 1.1-1.8 times the distance, without those beyond 30 eV/Å; pressed: a pair
(0.8-2.8 Å) at 55-90 % of its distance, not below 0.55 Å nor beyond 60 eV/Å; isolated: the three atoms.
300K, 600K, 1200K: 150 frames each of runs of their own; torsions: methyl and hydroxyl turned in frames of the
first of them.
"""

from __future__ import annotations

import argparse
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from tblite.ase import TBLite

from al_engine.config import XTB, Labeling
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.labeling import Labeler, level_of_theory, resolve_backend
from al_engine.records import Label, LabeledFrame, Origin
from al_engine.stages.initial import isolated_atom
from al_engine.structures import read_labeled

NAMES = ("train", "test", "hot", "stretched", "pressed", "isolated", "300K", "600K", "1200K", "torsions")
FOLDER = Path(__file__).parent / "cache" / "gfn2_ethanol"


def frames(name: str, folder: Path = FOLDER) -> list[LabeledFrame]:
    """Return a set of `NAMES`; all are made where the folder lacks it (about two minutes)."""
    if not (folder / f"{name}.extxyz").is_file():
        make(folder)
    pairs = [
        e.content for e in read_labeled(folder / f"{name}.extxyz", _level()) if not isinstance(e.content, str)
    ]
    return [LabeledFrame(f, label, 0, Origin.IMPORTED, f.frame_id) for f, label in pairs]


def isolated(folder: Path = FOLDER) -> dict[int, float]:
    """Return the energy of each isolated atom, eV."""
    return {int(i.frame.numbers[0]): i.label.energy for i in frames("isolated", folder)}


def dynamics_tests(folder: Path = FOLDER) -> dict[str, list[LabeledFrame]]:
    """Return the tests of campaigns: 300, 600, 1200 K and torsions."""
    return {name: frames(name, folder) for name in NAMES[-4:]}


def make(folder: Path) -> None:
    """Make all sets with fixed seeds and write them."""
    train: list[Frame] = []
    test: list[Frame] = []
    for seed, temperature in enumerate((300, 400, 500, 600, 700, 800)):
        run = _dynamics(temperature, 120, seed)
        train += run[:67]
        test += run[70:]
    sets = {
        "train": (train[:400], 100.0),
        "test": (test, 100.0),
        "hot": (_dynamics(1500, 150, 77), 100.0),
        "stretched": (_stretched(test, 150), 30.0),
        "pressed": (_pressed(test, 150), 60.0),
        "isolated": ([isolated_atom(z) for z in (1, 6, 8)], 100.0),
        **{f"{t}K": (_dynamics(t, 150, t), 100.0) for t in (300, 600, 1200)},
    }
    sets["torsions"] = (_turned(sets["300K"][0]), 100.0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (chosen, cap) in sets.items():
        reference = resolve_backend(XTB(backend="tblite"))
        labeler = Labeler(reference, Labeling(n_workers=1, force_cap_ev_per_ang=cap), _level())
        results = {r.frame_id: r for r in labeler.label_all(chosen)}
        labels = [(f, label) for f in chosen if isinstance(label := results[f.frame_id], Label)]
        (folder / f"{name}.extxyz").write_text("".join(to_extxyz(f, label) for f, label in labels))
        print(f"{name}: {len(labels)} of {len(chosen)} frames")


@cache
def _level() -> str:
    return level_of_theory(XTB(backend="tblite"))


def _dynamics(temperature: float, n_frames: int, seed: int) -> list[Frame]:
    """Frames of a Langevin run, one each 25 steps of 0.5 fs after 200."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.02, seed=seed)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    rng = np.random.RandomState(seed)
    with warnings.catch_warnings():  # deprecated since, kept so that the frames stay the same
        warnings.simplefilter("ignore")
        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
        run = Langevin(atoms, 0.5 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=rng)
    run.run(200)
    found = []
    for _ in range(n_frames):
        run.run(25)
        found.append(Frame.from_ase(Atoms(numbers=atoms.numbers, positions=atoms.positions)))
    return found


def _stretched(among: list[Frame], n_tries: int) -> list[Frame]:
    """Frames in which a hydrogen is pulled from its partner; a try that finds two heavy atoms is lost."""
    rng, found = np.random.default_rng(0), []
    for _ in range(n_tries):
        atoms, distances, i, j = _draw_pair(among, rng, 0.8, 1.7)
        if atoms.numbers[j] != 1 and atoms.numbers[i] == 1:
            i, j = j, i
        if atoms.numbers[j] == 1:
            atoms.set_distance(i, j, distances[i, j] * rng.uniform(1.1, 1.8), fix=0)
            found.append(Frame.from_ase(atoms))
    return found


def _pressed(among: list[Frame], n_tries: int) -> list[Frame]:
    """Frames in which one atom of a pair is moved toward the other."""
    rng, found = np.random.default_rng(1), []
    for _ in range(n_tries):
        atoms, distances, i, j = _draw_pair(among, rng, 0.8, 2.8)
        atoms.set_distance(i, j, max(0.55, distances[i, j] * rng.uniform(0.55, 0.9)), fix=0)
        found.append(Frame.from_ase(atoms))
    return found


def _turned(frames: list[Frame]) -> list[Frame]:
    """Frames with the hydroxyl (C-C-O-H) and the methyl (O-C-C-H) turned to angles all round."""
    rng, found = np.random.default_rng(2), []
    for frame in frames:
        atoms = frame.to_ase()
        carbon, hydrogen = (np.flatnonzero(frame.numbers == z) for z in (6, 1))
        (oxygen,) = np.flatnonzero(frame.numbers == 8)
        to_oxygen = atoms.get_distances(oxygen, carbon)
        middle, end = carbon[to_oxygen.argsort()]
        (proton,) = hydrogen[atoms.get_distances(oxygen, hydrogen).argsort()[:1]]
        methyl = hydrogen[atoms.get_distances(end, hydrogen).argsort()[:3]]
        atoms.set_dihedral(end, middle, oxygen, proton, rng.uniform(0, 360), indices=[proton])
        atoms.rotate_dihedral(oxygen, middle, end, methyl[0], rng.uniform(0, 360), indices=list(methyl))
        found.append(Frame.from_ase(atoms))
    return found


def _draw_pair(
    among: list[Frame], rng: np.random.Generator, low: float, high: float
) -> tuple[Atoms, np.ndarray, int, int]:
    """Draw a frame and a pair of its atoms between two distances (Å)."""
    atoms = among[rng.integers(len(among))].to_ase()
    distances = atoms.get_all_distances()
    pairs = np.argwhere((distances > low) & (distances < high))
    i, j = pairs[rng.integers(len(pairs))]
    return atoms, distances, int(i), int(j)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
