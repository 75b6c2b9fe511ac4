"""Biased against plain dynamics: labels and force evaluations until all turns of ethanol have been visited.

    python benchmarks/coverage.py --seeds 0 1 2 [--kelvin 300] [--generations 8]

Two campaigns (GFN2-xTB by tblite, undecorated) that differ in the sampler alone: `langevin` and
`uncertainty_biased`, few and short walks. After each generation: which of 12 angles of the hydroxyl (C-C-O-H)
and of 4 of the methyl (O-C-C-H modulo 120 degrees) the frames visited so far show, in how many combinations
of both, and how far a bond was pulled (in its own length at the start; 1.5 counts as broken).
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from arms import live_ethanol
from ase import Atoms
from ase.build import molecule
from campaigns import run_campaign
from fitting import Results, markdown

from db.store import Store

SAMPLERS = ("langevin", "uncertainty_biased")
N_HYDROXYL, N_METHYL = 12, 4
START = molecule("CH3CH2OH")
BONDS = [
    (i, j)
    for i in range(len(START))
    for j in range(i)
    if START.get_distance(i, j) < (1.2 if 1 in START.numbers[[i, j]] else 1.7)
]


@dataclass(frozen=True)
class Point:
    """What was visited up to the end of a generation, and what it cost."""

    sampler: str
    kelvin: float
    seed: int
    generation: int
    n_labels: int
    n_force_calls: int
    hydroxyl: int
    methyl: int
    both: int
    stretch: float


@dataclass
class Visited:
    """Turns and bonds of the frames so far."""

    turns: set[tuple[int, int]] = field(default_factory=set)
    stretch: float = 1.0

    def add(self, atoms: Atoms) -> None:
        turn = (
            int(atoms.get_dihedral(*HYDROXYL) // (360 / N_HYDROXYL)) % N_HYDROXYL,
            int(atoms.get_dihedral(*METHYL) % 120 // (120 / N_METHYL)) % N_METHYL,
        )
        self.turns.add(turn)
        ratios = [atoms.get_distance(i, j) / START.get_distance(i, j) for i, j in BONDS]
        self.stretch = max(self.stretch, *ratios)


def _torsions() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Atoms of C-C-O-H and of O-C-C-H."""
    (oxygen,) = np.flatnonzero(START.numbers == 8)
    near, far = sorted(np.flatnonzero(START.numbers == 6), key=lambda c: START.get_distance(oxygen, c))
    hydrogens = np.flatnonzero(START.numbers == 1)
    of_oxygen, of_methyl = (min(hydrogens, key=lambda h: START.get_distance(x, h)) for x in (oxygen, far))
    return (int(far), int(near), int(oxygen), int(of_oxygen)), (
        int(oxygen),
        int(near),
        int(far),
        int(of_methyl),
    )


HYDROXYL, METHYL = _torsions()


def campaign(sampler: str, seed: int, options: argparse.Namespace) -> Iterator[Point]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sections, _ = live_ethanol(folder)
        walks = {"temperatures_k": [options.kelvin], "n_walkers": 8, "n_steps": 200, "stride": 10}
        plain = sections | {
            "name": "coverage",
            "seed": seed,
            "initial": {"n_frames": 10},
            "exploration": {"sampler": {"kind": sampler, **walks}},
            "selection": {"n_frames": 10},
            "audit": {"n_frames": 0},
            "max_generations": options.generations,
        }
        url = run_campaign(plain, folder)
        visited, n_calls = Visited(), 0
        with Store.open(url) as store:
            for generation in store.generations("coverage"):
                number = generation.number
                for frame in store.frames([c.frame_id for c in store.candidates("coverage", number)]):
                    if frame.n_atoms == len(START):
                        visited.add(frame.to_ase())
                n_calls += sum(w.n_steps for w in store.walkers("coverage", number))
                yield Point(
                    sampler, options.kelvin, seed, number,
                    len(store.labeled("coverage", before=number + 1)), n_calls,
                    len({h for h, _ in visited.turns}), len({m for _, m in visited.turns}),
                    len(visited.turns), round(float(visited.stretch), 3),
                )  # fmt: skip


def table(points: list[Point]) -> str:
    """A row a campaign and generation."""
    heads = ["sampler", "T (K)", "seed", "generation", "labels", "force calls"]
    heads += [f"hydroxyl ({N_HYDROXYL})", f"methyl ({N_METHYL})", "both", "longest bond"]
    return markdown(heads, map(astuple, points))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kelvin", type=float, default=300.0)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("coverage.json"))
    options = parser.parse_args()
    results = Results(options.out, Point, "sampler", "kelvin", "seed", "generation")
    for seed in options.seeds:
        for sampler in SAMPLERS:
            if (sampler, options.kelvin, seed, options.generations) in results:
                continue
            for point in campaign(sampler, seed, options):
                results.add(point)
    print(table(results.points))


if __name__ == "__main__":
    main()
