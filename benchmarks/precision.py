"""The same bits twice, and single against double precision.

    python benchmarks/precision.py [--threads 1 2] [--labels 100]

Trains the default preset on GFN2-xTB ethanol twice for each number of threads, each in a process of its own,
and compares the bytes of the weights; then evaluates one of them in both precisions on frames near the data,
hot and stretched, beside the errors against the reference.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import gfn2_ethanol
import numpy as np
import torch
from fitting import fit_ensemble

from al_engine.model.ensemble import Ensemble


def train(n_labels: int, threads: int, file: Path) -> None:
    """Train in this process; the weights go to a file."""
    items = gfn2_ethanol.frames("train")[:: 400 // n_labels]
    fit_ensemble(items, gfn2_ethanol.isolated(), threads=threads).ensemble.save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--train-only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train_only:
        train(arguments.labels, arguments.threads[0], arguments.train_only)
        return
    with tempfile.TemporaryDirectory() as folder:
        for threads in arguments.threads:
            files = [Path(folder) / f"{threads}-{k}" for k in range(2)]
            for file in files:
                options = ["--labels", str(arguments.labels), "--threads", str(threads)]
                command = [sys.executable, __file__, *options, "--train-only", str(file)]
                subprocess.run(command, check=True)
            digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files]
            same = "the same bits" if len(set(digests)) == 1 else "DIFFERENT"
            print(f"{threads} threads: {same} ({', '.join(digests)})", flush=True)
        single, double = (
            Ensemble.load(files[0], device="cpu", dtype=d) for d in (torch.float32, torch.float64)
        )
    print(
        "| frames | energy, float32 - float64 (meV): max | forces (meV/Å): RMSE, max | force error (meV/Å) |"
    )
    print("|---|---|---|---|")
    for name in ("test", "hot", "stretched"):
        items = gfn2_ethanol.frames(name)
        frames = [i.frame for i in items]
        p, q = single.predict(frames), double.predict(frames)
        energy, force = np.abs(p.energy - q.energy).max(), p.forces - q.forces
        error = q.forces - np.concatenate([i.label.forces for i in items])
        print(
            f"| {name} | {1e3 * energy:.1e} | {1e3 * np.sqrt(np.mean(force**2)):.1e}, "
            f"{1e3 * np.abs(force).max():.1e} | {1e3 * np.sqrt(np.mean(error**2)):.0f} |"
        )


if __name__ == "__main__":
    main()
