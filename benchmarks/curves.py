"""Force RMSE against CPU seconds of training, beside MACE 64x0e, in distribution and out.

    python benchmarks/curves.py --set gfn2 --peer ~/peer/bin/python --out curves.json

gfn2: GFN2-xTB ethanol, 400 frames at 300-800 K; 3bpa: 3BPA, 500 frames at 300 K. Each point is a training of
its own with its own schedule: ours by a number of steps, the peer by a budget, which goes to one network
(`MACE`) or in fourths to a committee. CPU time of one thread with children; tests are not counted, nor is
the peer's compiler. Points are added to the file as they come, and those that are in it are not computed
again; a markdown table is printed and a figure written beside the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gfn2_ethanol
import reference_data
from accuracy import errors, isolated
from fitting import Results, fit_ensemble

from al_engine.extxyz import to_extxyz
from al_engine.records import LabeledFrame

PEER = Path(__file__).parent / "peer" / "mace_train.py"
TESTS = {
    "gfn2": {"test": "300-800 K", "hot": "1500 K", "stretched": "stretched"},
    "3bpa": {"mixed_300K": "300 K", "mixed_600K": "600 K", "mixed_1200K": "1200 K"},
}


@dataclass(frozen=True)
class Point:
    """One training: what it cost and what it came to; errors by test, eV/Å and eV."""

    data: str
    method: str
    budget: float
    seed: int
    cpu_s: float
    force_rmse_ev_per_ang: dict[str, float]
    energy_rmse_ev: dict[str, float]


def frames(data: str, name: str) -> list[LabeledFrame]:
    """The frames of a set."""
    return gfn2_ethanol.frames(name) if data == "gfn2" else reference_data.frames(f"3bpa/{name}")


def ours(data: str, preset: str, n_steps: int, seed: int) -> Point:
    """Train an ensemble; errors of the mean of its members."""
    train = frames(data, "train" if data == "gfn2" else "train_300K")
    fitted = fit_ensemble(train, isolated(train), seed=seed, preset=preset, training={"n_steps": n_steps})
    found = {label: errors(fitted.ensemble, frames(data, name)) for name, label in TESTS[data].items()}
    force = {label: e.force_rmse_ev_per_ang for label, e in found.items()}
    energy = {label: e.energy_rmse_ev for label, e in found.items()}
    return Point(data, f"ours, {preset}", n_steps, seed, fitted.cpu_s, force, energy)


def mace(
    python: str, data: str, seconds: Sequence[float], seed: int, arguments: Sequence[str], method: str
) -> Iterator[Point]:
    """Have the peer trained for each budget."""
    train = "train" if data == "gfn2" else "train_300K"
    energies = isolated(frames(data, train))
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.extxyz" for name in (train, *TESTS[data])}
        for name, file in files.items():
            file.write_text("".join(to_extxyz(i.frame, i.label) for i in frames(data, name)))
        command = [
            python, str(PEER), str(files[train]), "--isolated", json.dumps(energies), "--seed", str(seed),
            "--tests", *(f"{name}={files[name]}" for name in TESTS[data]),
            "--seconds", *map(str, seconds), *arguments,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            found = json.loads(line)
            errors = {label: found["tests"][name] for name, label in TESTS[data].items()}
            force, energy = (
                {label: e[kind] for label, e in errors.items()}
                for kind in ("force_rmse_ev_per_ang", "energy_rmse_ev")
            )
            yield Point(data, method, found["cpu_s"], seed, found["cpu_s"], force, energy)
        if process.wait() != 0:
            raise SystemExit(f"the peer ended with exit code {process.returncode}: {' '.join(command)}")


def table(points: Sequence[Point]) -> str:
    """A row a point: force RMSE (meV/Å) / energy RMSE (meV) of each test."""
    lines = []
    for data in dict.fromkeys(p.data for p in points):
        labels = TESTS[data].values()
        lines += [
            "",
            f"| {data} | seed | CPU s | " + " | ".join(labels) + " |",
            "|---" * (3 + len(labels)) + "|",
        ]
        for p in sorted((p for p in points if p.data == data), key=lambda p: (p.method, p.cpu_s)):
            errors = [
                f"{1000 * p.force_rmse_ev_per_ang[label]:.1f} / {1000 * p.energy_rmse_ev[label]:.1f}"
                for label in labels
            ]
            lines.append(f"| {p.method} | {p.seed} | {p.cpu_s:.0f} | " + " | ".join(errors) + " |")
    return "\n".join(lines)


def draw(points: Sequence[Point], file: Path) -> None:
    """A panel a test, a line a method and seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    methods = sorted({p.method for p in points})
    sets = list(dict.fromkeys(p.data for p in points))
    figure, rows = pyplot.subplots(
        len(sets), 3, figsize=(11, 3.4 * len(sets) + 0.5), squeeze=False, layout="constrained"
    )
    for data, axes in zip(sets, rows, strict=True):
        for label, axis in zip(TESTS[data].values(), axes, strict=True):
            for k, method in enumerate(methods):
                chosen = sorted((p for p in points if (p.data, p.method) == (data, method)), key=_cost)
                for seed in {p.seed for p in chosen}:
                    line = [p for p in chosen if p.seed == seed]
                    errors = [1000 * p.force_rmse_ev_per_ang[label] for p in line]
                    axis.plot(list(map(_cost, line)), errors, "o-", color=f"C{k}", label=method)
            axis.set(xscale="log", yscale="log", title=f"{data}, {label}")
            axis.set(xlabel="CPU time of training (s)", ylabel="force RMSE (meV/Å)")
            for side in (axis.xaxis, axis.yaxis):
                side.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
                side.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
                side.set_minor_formatter(matplotlib.ticker.NullFormatter())
            axis.grid(visible=True, which="both", alpha=0.3)
    handles = [pyplot.Line2D([], [], marker="o", color=f"C{k}", label=m) for k, m in enumerate(methods)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(methods))
    figure.savefig(file, dpi=150)


def _cost(point: Point) -> float:
    return point.cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=list(TESTS), action="append", dest="sets")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--steps", nargs="*", type=int, default=[200, 400, 800, 1600, 3200, 6400])
    parser.add_argument("--peer", help="Python of the peer's environment; without it only ours")
    parser.add_argument("--seconds", nargs="*", type=float, default=[60, 120, 300, 600])
    parser.add_argument("--committee", action="store_true", help="the peer as a committee of 4")
    parser.add_argument("--compiled", action="store_true", help="the peer through Inductor")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("curves.json"))
    arguments = parser.parse_args()
    results = Results(arguments.out, Point, "data", "method", "budget", "seed")
    for data in arguments.sets or TESTS:
        for n_steps in arguments.steps:
            if (data, f"ours, {arguments.preset}", n_steps, arguments.seed) not in results:
                results.add(ours(data, arguments.preset, n_steps, arguments.seed))
        if arguments.peer:
            method = f"{'4 ' * arguments.committee}MACE{', compiled' * arguments.compiled}"
            options = ["--members=4"] * arguments.committee + ["--compiled"] * arguments.compiled
            seconds = [s for s in arguments.seconds if (data, method, s, arguments.seed) not in results]
            if seconds:
                for point in mace(arguments.peer, data, seconds, arguments.seed, options, method):
                    results.add(point)
    print(table(results.points))
    draw(results.points, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
