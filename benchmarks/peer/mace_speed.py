"""CPU and wall time of one MACE 64x0e: inference (energy, forces) and one training step.

    python mace_speed.py FILE.extxyz ... [--threads N] [--compiled]

Each file is one batch, made before the clock starts. Each line on standard input is answered by one line of
JSON, [{"batch", "kind", "cpu_s", "wall_s"}, ...], the shortest of several runs each, so that a caller can
take turns with its own. A training step is the weighted squared error of energies and forces, its double
backward and a step of Adam with AMSGrad. Eager inference goes through TorchScript, the faster way.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import torch
from e3nn.util import jit
from mace import modules
from mace_network import build, loader, read, tensors

SECONDS = 0.3


def shortest(run):
    """Shortest CPU and wall time of a run, within about `SECONDS`."""
    times = []
    while len(times) < 2 or sum(wall for _, wall in times) < SECONDS:
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(cpu for cpu, _ in times), min(wall for _, wall in times)


def steps(path, *, compiled):
    """The two things to time for one batch."""
    elements = sorted({int(z) for c in read(path, dict.fromkeys(range(119), 0.0)) for z in c.atomic_numbers})
    configs = read(path, dict.fromkeys(elements, 0.0))
    batch = next(iter(loader(configs, elements, len(configs))))
    values = tensors(batch)
    trained = build(configs, elements, for_compile=compiled)
    if compiled:
        frozen = build(configs, elements, for_compile=True).requires_grad_(False)
    else:
        frozen = jit.compile(copy.deepcopy(trained).requires_grad_(False).eval())
    loss_function = modules.WeightedEnergyForcesLoss(energy_weight=15, forces_weight=1000)
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-4, amsgrad=True)

    def inference():
        frozen(values, training=compiled)

    def training():
        optimizer.zero_grad(set_to_none=True)
        loss_function(batch, trained(values, training=True)).backward()
        optimizer.step()

    return {"inference": inference, "training": training}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compiled", action="store_true", help="through Inductor too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = {}
    for path in arguments.files:
        for compiled in (False, True) if arguments.compiled else (False,):
            for kind, run in steps(path, compiled=compiled).items():
                began = time.process_time()
                for _ in range(3):  # TorchScript specializes, Inductor compiles
                    run()
                name = f"{kind} compiled" if compiled else kind
                runs[Path(path).stem, name] = run
                print(f"{path} {name}: ready in {time.process_time() - began:.0f} s", file=sys.stderr)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        times = [(batch, kind, *shortest(run)) for (batch, kind), run in runs.items()]
        print(
            json.dumps([dict(zip(("batch", "kind", "cpu_s", "wall_s"), t, strict=True)) for t in times]),
            flush=True,
        )


if __name__ == "__main__":
    main()
