"""Trainings of the benchmarks: one call, what it cost, and a file of results that is gone on with."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from al_engine.config_file import parse_config
from al_engine.model.ensemble import Ensemble
from al_engine.progress import Progress, silent
from al_engine.records import LabeledFrame, TrainedModel
from al_engine.stages.train import fit

T = TypeVar("T")


@dataclass(frozen=True)
class Fitted:
    """A trained ensemble and what it cost: CPU time with children (the compiler's), wall time."""

    ensemble: Ensemble
    model: TrainedModel
    cpu_s: float
    wall_s: float


def fit_ensemble(
    train: Sequence[LabeledFrame],
    energies: Mapping[int, float],
    *,
    seed: int = 0,
    preset: str = "default",
    threads: int = 1,
    unseen: Sequence[LabeledFrame] = (),
    generation: int = 1,
    folds: Mapping[str, int] | None = None,
    previous: TrainedModel | None = None,
    progress: Progress = silent,
    **sections: Mapping[str, Any],
) -> Fitted:
    """Train as a campaign does.

    Args:
        train: Labeled frames to learn from.
        energies: Of isolated atoms, eV, for every element.
        seed: Of the networks and the order of the frames.
        preset: Of a campaign file.
        threads: Of the network.
        unseen: Frames to fit the final scales on.
        generation: Its number; the seeds depend on it.
        folds: Folds given earlier.
        previous: Networks for a warm start.
        progress: Told at each check.
        sections: `model` and `training` of a campaign file, over the preset.
    """
    plain: dict[str, Any] = {
        "name": "benchmark",
        "seed": seed,
        "preset": preset,
        "n_threads": threads,
        "device": "cpu",
        "systems": [{"structure": "-"}],
        **sections,
    }
    config = parse_config(json.dumps(plain), "benchmark")
    cpu, wall = sum(os.times()[:4]), time.perf_counter()
    model = fit(
        config, generation, train, unseen,
        folds=folds or {}, energies=energies, previous=previous, progress=progress,
    ).model  # fmt: skip
    cpu, wall = sum(os.times()[:4]) - cpu, time.perf_counter() - wall
    return Fitted(Ensemble.from_bytes(model.weights, device="cpu"), model, cpu, wall)


class Results(Generic[T]):
    """Points in a JSON file: written one by one as they come; those that are there are known."""

    def __init__(self, file: Path, kind: type[T], *key: str) -> None:
        self.file, self.key = file, key
        self.points: list[T] = [kind(**p) for p in json.loads(file.read_text())] if file.is_file() else []

    def __contains__(self, key: tuple[object, ...]) -> bool:
        return any(key == tuple(getattr(p, name) for name in self.key) for p in self.points)

    def add(self, point: T) -> None:
        """Keep a point; what it says goes to stderr too."""
        self.points.append(point)
        values: list[dict[str, Any]] = [asdict(p) for p in self.points]
        self.file.write_text(json.dumps(values, indent=1) + "\n")
        print(values[-1], file=sys.stderr, flush=True)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table for BENCHMARKS.md."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)
