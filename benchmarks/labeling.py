"""Labels a second in isolated processes against the bare calculator in a loop, on the same cores.

python benchmarks/labeling.py [n_workers]

Clusters of 1, 3 and 10 ethanol molecules (9, 27 and 90 atoms). Both kinds take turns, so that other work on
the machine meets both; CPU times are less disturbed by it than rates.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from ase.build import molecule

from al_engine import Frame
from al_engine.config import XTB, Labeling
from al_engine.labeling import Labeler, level_of_theory
from al_engine.labeling.reference import compute
from al_engine.records import Label

SIZES = {1: 120, 3: 40, 10: 12}
"""Molecules in a frame, and frames a round."""
N_ROUNDS = 3
SPACING_ANG = 6.0


def cluster(n_molecules: int, rng: np.random.Generator) -> Frame:
    ethanol = molecule("CH3CH2OH")
    places = SPACING_ANG * np.array(list(np.ndindex(3, 3, 2)))[:n_molecules]
    positions = np.concatenate([ethanol.positions + place for place in places])
    numbers = np.tile(ethanol.numbers, n_molecules)
    return Frame(numbers, positions + rng.normal(scale=0.05, size=positions.shape))


def cpu_s() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bare(reference: XTB, frames: list[Frame], n_workers: int) -> tuple[float, float]:
    """Return wall and CPU seconds a frame of as many loops as there are workers, without their start."""
    with ProcessPoolExecutor(n_workers) as pool:
        shares = [frames[k::n_workers] for k in range(n_workers)]
        list(pool.map(partial(loop, reference), [share[:1] for share in shares]))
        began = time.perf_counter()
        seconds = sum(pool.map(partial(loop, reference), shares))
        return (time.perf_counter() - began) / len(frames), seconds / len(frames)


def loop(reference: XTB, frames: list[Frame]) -> float:
    began = time.process_time()
    for frame in frames:
        compute(reference, frame)
    return time.process_time() - began


def isolated(labeler: Labeler, frames: list[Frame]) -> tuple[float, float, float]:
    """Return wall and CPU seconds a frame, the first ones left out; and how long the first took."""
    before, began = cpu_s(), time.perf_counter()
    assert sum(isinstance(label, Label) for label in labeler.label_all(frames[: labeler.n_processes]))
    start_cpu, first = cpu_s() - before, time.perf_counter() - began
    before, began = cpu_s(), time.perf_counter()
    labels = labeler.label_all(frames)
    next(labels)
    ready = time.perf_counter()
    n_more = sum(1 for _ in labels)
    wall = (time.perf_counter() - ready) / n_more
    cpu = (cpu_s() - before - start_cpu) / (len(frames) - labeler.n_processes)
    return wall, cpu, first


def main(n_workers: int) -> None:
    for backend in ("xtb-python", "tblite"):
        reference = XTB(backend=backend)
        labeler = Labeler(reference, Labeling(n_workers=n_workers), level_of_theory(reference))
        for n_molecules, n_frames in SIZES.items():
            rng = np.random.default_rng(0)
            frames = [cluster(n_molecules, rng) for _ in range(n_frames)]
            rounds = [
                (*bare(reference, frames, n_workers), *isolated(labeler, frames)) for _ in range(N_ROUNDS)
            ]
            bare_wall, bare_cpu, wall, cpu, first = np.median(rounds, axis=0)
            print(
                f"{backend}, {9 * n_molecules} atoms, {n_workers} workers: {1 / wall:.1f} labels/s, bare "
                f"{1 / bare_wall:.1f}: {bare_wall / wall:.2f} of it; CPU {1e3 * cpu:.1f} ms a label, bare "
                f"{1e3 * bare_cpu:.1f} ms: {bare_cpu / cpu:.2f}; first labels after {first:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
