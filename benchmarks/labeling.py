"""Labels a second and the cost of isolation: python benchmarks/labeling.py [n_workers]."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import time

import numpy as np
from ase.build import molecule

from al_engine import Frame
from al_engine.config import XTB, Labeling
from al_engine.labeling import Labeler, level_of_theory
from al_engine.labeling.reference import compute

N_FRAMES = 300


def main(n_workers: int) -> None:
    rng = np.random.default_rng(0)
    ethanol = Frame.from_ase(molecule("CH3CH2OH"))
    frames = [
        ethanol.moved_to(ethanol.positions + rng.normal(scale=0.05, size=(9, 3))) for _ in range(N_FRAMES)
    ]
    for backend in ("xtb-python", "tblite"):
        reference = XTB(backend=backend)
        compute(reference, ethanol)
        began = time.perf_counter()
        for frame in frames:
            compute(reference, frame)
        bare = (time.perf_counter() - began) / N_FRAMES
        labeler = Labeler(reference, Labeling(n_workers=n_workers), level_of_theory(reference))
        began = time.perf_counter()
        labels = labeler.label_all(frames)
        next(labels)
        first = time.perf_counter()
        n_more = sum(1 for _ in labels)
        rate = n_more / (time.perf_counter() - first)
        print(
            f"{backend}, ethanol, {n_workers} workers: {rate:.0f} labels/s; bare {1e3 * bare:.1f} ms, "
            f"isolation adds {1e3 * (n_workers / rate - bare):.1f} ms; first after {first - began:.2f} s"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
