"""Time and memory of one force call against the number of atoms: 100 to 10,000, periodic copies of water.

python benchmarks/growth.py [--atoms 96 288 960 3000 9984] [--members 4]

Default preset, random weights, float32, one thread; each size in a process of its own, the second call is
timed (CPU). Prints the exponents fitted to both.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from al_engine.config import Model
from al_engine.frames import Frame
from al_engine.model.batch import graph
from al_engine.model.checkpoint import Provenance
from al_engine.model.ensemble import Ensemble
from al_engine.model.potential import Architecture, StackedPotential

SPACING = 3.104
"""Å between molecules on a cubic grid: 1 g/cm³."""
REPEATS = {96: (2, 2, 1), 288: (3, 2, 2), 960: (5, 4, 2), 3000: (5, 5, 5), 9984: (8, 4, 13)}
CALLS = ("predict", "bind")


def water(n_atoms: int) -> Frame:
    """Copies of a cell of 8 molecules, turned at random."""
    rng = np.random.default_rng(0)
    cell = Atoms(cell=[2 * SPACING] * 3, pbc=True)
    for place in np.ndindex(2, 2, 2):
        one = molecule("H2O")
        turned = Rotation.random(rng=rng).apply(one.positions - one.positions.mean(axis=0))
        cell += Atoms(one.numbers, turned + SPACING * np.array(place))
    return Frame.from_ase(cell.repeat(REPEATS[n_atoms]))


def ensemble(n_members: int) -> Ensemble:
    preset = Model()
    torch.manual_seed(0)
    arch = Architecture(
        n_members=n_members,
        elements=(1, 8),
        n_channels=preset.n_channels,
        n_layers=preset.n_layers,
        n_radial=preset.n_radial,
        r_max=preset.r_max_ang,
        mean_neighbors=50.0,
        force_scale=1.0,
    )
    return Ensemble(StackedPotential(arch), Provenance({1: -1.0, 8: -2.0}, (1.0, 1.0, 1.0), "none", "0" * 64))


def peak() -> float:
    """Peak memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(n_atoms: int, call: str, n_members: int) -> dict[str, float]:
    torch.set_num_threads(1)
    frame = water(n_atoms)
    model = ensemble(n_members)
    before = peak()
    model.predict([water(96)])  # everything imported and loaded
    began = time.process_time()
    n_pairs = int((~graph(frame, model.elements, model.net.arch.r_max).table.is_pad).sum())
    search = time.process_time() - began
    if call == "predict":
        repeat: Callable[[], object] = partial(model.predict, [frame])
    else:
        repeat = partial(model.bind([frame]), torch.tensor(frame.positions))
    repeat()
    began = time.process_time()
    repeat()
    seconds = time.process_time() - began
    neighbors = n_pairs / n_atoms
    return {"search": search, "seconds": seconds, "mib": peak() - before, "neighbors": neighbors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--atoms", type=int, nargs="+", default=list(REPEATS), choices=REPEATS)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--one", choices=CALLS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.atoms[0], arguments.one, arguments.members)))
        return
    for call in CALLS:
        found = []
        for n in arguments.atoms:
            options = ["--atoms", str(n), "--members", str(arguments.members), "--one", call]
            done = subprocess.run(
                [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True
            )
            row = json.loads(done.stdout)
            found.append((n, row["seconds"], row["mib"]))
            each = 1e6 * row["seconds"] / n / arguments.members
            print(
                f"{call}, {n} atoms, {row['neighbors']:.0f} neighbors: {row['seconds']:.3f} s "
                f"({each:.0f} µs per atom and member), search {row['search']:.3f} s, "
                f"{row['mib']:.0f} MiB ({1024 * row['mib'] / n:.0f} KiB/atom)",
                flush=True,
            )
        if len(found) > 1:
            n, *values = np.log(np.array(found)).T
            time_power, memory_power = (np.polyfit(n, value, 1)[0] for value in values)
            print(f"{call}: time ~ n^{time_power:.2f}, memory ~ n^{memory_power:.2f}")


if __name__ == "__main__":
    main()
