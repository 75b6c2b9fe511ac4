"""Speed of the stacked ensemble beside 4 MACE 64x0e and a loop over single members, in one run.

    python benchmarks/speed.py --peer ~/peer/bin/python [--compiled] [--threads 2] [--out speed.json]

Microseconds per (atom x member), float32: of inference (energies and forces of every member) and of a
training step (loss, double backward, optimizer). One thread: CPU time; more: wall time. The shortest over
rounds, in which peer and project take turns, so that both meet the same noise. Batches and neighbor lists
are made before the clock starts. The peer's network is timed once: its committee is four such evaluations
one after another. `benchmarks/peer/README.md` says how its environment is made.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import gfn2_ethanol
import numpy as np
import reference_data
import torch
from torch import Tensor

from al_engine.config import CampaignConfig, System
from al_engine.extxyz import to_extxyz
from al_engine.frames import elements_of
from al_engine.model.checkpoint import Provenance
from al_engine.model.ensemble import Ensemble
from al_engine.model.potential import StackedPotential
from al_engine.records import LabeledFrame
from al_engine.stages.train import atomic_energies, fresh_networks
from al_engine.training.crossfit import assign_folds
from al_engine.training.dataset import TrainingBatch, build_dataset
from al_engine.training.optimizer import Optimizer
from al_engine.training.step import GradientStep

PEER = Path(__file__).parent / "peer" / "mace_speed.py"
CONFIG = CampaignConfig(name="speed", systems=(System(structure="-"),), device="cpu")
SECONDS = 0.3
"""At least this long is a step repeated in a round."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """The shortest time of a step: µs per (atom x member)."""

    batch: str
    row: str
    kind: str
    microseconds: float


def batch_of(name: str) -> list[LabeledFrame]:
    """The first frames of ethanol or 3BPA, such as `ethanol_16`."""
    molecule, n = name.split("_")
    known = (
        gfn2_ethanol.frames("train") if molecule == "ethanol" else reference_data.frames("3bpa/train_300K")
    )
    return known[: int(n)]


def steps(items: Sequence[LabeledFrame], *, compiled: bool) -> Iterator[tuple[str, str, Step]]:
    """Yield (row, kind, step) of this project for one batch."""
    energies = atomic_energies(items, elements_of([i.frame for i in items]))
    dataset = build_dataset(items, assign_folds(items, {}, 4), energies, CONFIG.model.r_max_ang)
    batch = dataset.batch(range(len(items)), device=torch.device("cpu"), dtype=torch.float32)
    net = fresh_networks(CONFIG, dataset, sorted(energies), 0)
    singles = [StackedPotential(replace(net.arch, n_members=1)) for _ in range(net.arch.n_members)]
    frozen, frozen_singles = (copy.deepcopy(n) for n in (net, singles))
    for each in (frozen, *frozen_singles):
        each.requires_grad_(False)
    yield "stacked", "inference", inference([frozen], batch)
    yield "stacked, mean force alone", "inference", mean_force(frozen, batch)
    yield "stacked, a walker's step", "inference", walkers(frozen, items, compiled=False)
    yield "loop over single members", "inference", inference(frozen_singles, batch)
    for likelihood, loss in ((True, "likelihood"), (False, "squared errors")):
        single = f"loop over single members, {loss}"
        yield f"stacked, {loss}", "training", training([net], batch, likelihood=likelihood)
        yield single, "training", training(singles, batch, likelihood=likelihood)
    if compiled:
        run = walkers(frozen, items, compiled=True)
        yield "stacked, a walker's step, compiled", "inference", ready(run)
        for likelihood, loss in ((True, "likelihood"), (False, "squared errors")):
            run = training([net], batch, likelihood=likelihood, compiled=True)
            yield f"stacked, {loss}, compiled", "training", ready(run)


def ready(run: Step) -> Step:
    """Compile a step by its first call, and say what that took (of all processes)."""
    began = sum(os.times()[:4])
    run()
    print(f"compiled in {sum(os.times()[:4]) - began:.0f} s", file=sys.stderr, flush=True)
    return run


def walkers(net: StackedPotential, items: Sequence[LabeledFrame], *, compiled: bool) -> Step:
    """What a step of dynamics asks for: forces of every member, deviations and bias; lists are kept."""
    energies = dict.fromkeys(net.arch.elements, 0.0)
    field = Ensemble(net, Provenance(energies, (1.0, 1.0, 1.0), "none", "0" * 64))
    frames = [item.frame for item in items]
    bound = field.bind(frames, 10**9 if compiled else 0)
    return partial(bound, torch.tensor(np.concatenate([frame.positions for frame in frames])))


def inference(nets: Sequence[StackedPotential], batch: TrainingBatch) -> Step:
    """Energies and forces of every member of each network, one network after another."""
    offset = batch.frames.offset()

    def run() -> list[tuple[Tensor, Tensor]]:
        found = []
        for net in nets:
            x = batch.frames.positions.expand(net.arch.n_members, -1, -1).clone().requires_grad_()
            energy = batch.frames.sum_over_atoms(net(x, offset, batch.frames).energy)
            found.append((energy, torch.autograd.grad(energy.sum(), x)[0]))
        return found

    return run


def mean_force(net: StackedPotential, batch: TrainingBatch) -> Step:
    """Energies of every member and the gradient of their mean."""
    offset = batch.frames.offset()

    def run() -> tuple[Tensor, Tensor]:
        x = batch.frames.positions.clone().requires_grad_()
        energy = batch.frames.sum_over_atoms(
            net(x.expand(net.arch.n_members, -1, -1), offset, batch.frames).energy
        )
        return energy, torch.autograd.grad(energy.mean(dim=0).sum(), x)[0]

    return run


def training(
    nets: Sequence[StackedPotential], batch: TrainingBatch, *, likelihood: bool, compiled: bool = False
) -> Step:
    """One step of every network, one after another."""
    pairs = [(GradientStep(net, CONFIG.training, compiled=compiled), Optimizer(net)) for net in nets]

    def run() -> None:
        for gradients, optimizer in pairs:
            gradients(batch, likelihood=likelihood)
            optimizer.step(1e-5)

    return run


def shortest(run: Step, clock: Callable[[], float]) -> float:
    """Shortest time of a step, s."""
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(times) < 2 or time.perf_counter() < until:
        began = clock()
        run()
        times.append(clock() - began)
    return min(times)


@contextmanager
def peer(
    python: str | None, files: Sequence[Path], arguments: Sequence[str]
) -> Iterator[Callable[[], list[dict]]]:
    """Start the peer; gives a function that has it time everything once."""
    if python is None:
        yield list
        return
    command = [python, str(PEER), *map(str, files), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == '"ready"':
            break

    def ask() -> list[dict]:
        print(file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait()


def measure(arguments: argparse.Namespace) -> list[Timing]:
    """Time everything in turns; the shortest over the rounds."""
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    chosen = {name: batch_of(name) for name in arguments.batches}
    weight = {name: sum(i.frame.n_atoms for i in items) for name, items in chosen.items()}
    best: dict[tuple[str, str, str], float] = {}

    def keep(batch: str, row: str, kind: str, microseconds: float) -> None:
        key = (batch, row, kind)
        best[key] = min(best.get(key, microseconds), microseconds)

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.extxyz" for name in chosen]
        for file, items in zip(files, chosen.values(), strict=True):
            file.write_text("".join(to_extxyz(i.frame, i.label) for i in items))
        options = [f"--threads={arguments.threads}", *(["--compiled"] if arguments.compiled else [])]
        ours = {name: list(steps(items, compiled=arguments.compiled)) for name, items in chosen.items()}
        with peer(arguments.peer, files, options) as ask:
            for _ in range(arguments.rounds):
                for name, triples in ours.items():
                    for row, kind, run in triples:
                        keep(name, row, kind, 1e6 * shortest(run, clock) / (4 * weight[name]))
                for answer in ask():
                    kind, _, how = answer["kind"].partition(" ")
                    seconds = answer["cpu_s" if arguments.threads == 1 else "wall_s"]
                    row = f"4 MACE 64x0e{', ' * bool(how)}{how}"
                    keep(answer["batch"], row, kind, 1e6 * seconds / weight[answer["batch"]])
    return [Timing(*key, value) for key, value in best.items()]


def table(timings: Sequence[Timing]) -> str:
    """A markdown table: a row a way, a column a batch."""
    names = list(dict.fromkeys(t.batch for t in timings))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for kind in ("inference", "training"):
        for row in dict.fromkeys(t.row for t in timings if t.kind == kind):
            value = {t.batch: t.microseconds for t in timings if (t.row, t.kind) == (row, kind)}
            lines.append(f"| {kind}: {row} | " + " | ".join(f"{value[n]:.1f}" for n in names) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peer", help="Python of the peer's environment; without it only the project is timed"
    )
    parser.add_argument(
        "--compiled", action="store_true", help="also compiled, which takes minutes to prepare"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--batches", nargs="+", default=["ethanol_1", "ethanol_16", "ethanol_64", "3bpa_8", "3bpa_32"]
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    timings = measure(arguments)
    clock = "CPU time of one thread" if arguments.threads == 1 else f"wall time, {arguments.threads} threads"
    print(f"µs per (atom x member), {clock}, torch {torch.__version__}, {platform.machine()}\n")
    print(table(timings))
    if arguments.out:
        arguments.out.write_text(json.dumps([vars(t) for t in timings], indent=1) + "\n")


if __name__ == "__main__":
    main()
