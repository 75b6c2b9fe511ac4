"""A batch of walkers: all advance together, and each stops at an end of its own."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from al_engine.config import Exits, Langevin
from al_engine.exploration.exits import Exit
from al_engine.exploration.forces import ForceField
from al_engine.exploration.group import Group, Start
from al_engine.frames import Frame
from al_engine.progress import Progress, silent
from al_engine.records import ExitReason

__all__ = ["Start", "Walk", "walk"]


@dataclass(frozen=True)
class Walk:
    """What became of one walker.

    Attributes:
        index: Its place among the starts.
        n_steps: Its last good step: the one before it crossed a limit (0 where the start or the first
            step did), or the planned number. Audited steps up to this one have a frame, later ones none.
        exit_reason: Why it stopped.
        exit_value: The number that crossed its limit (eV/Å, Å, eV/atom or K); NaN else.
        trace: As `Walker.trace`: a row at step 0, every `stride` steps, and where it crossed a limit.
        snapshots: (step, frame) every `stride` steps, and at the last good step before an early exit;
            audited steps are left out.
        audit: The frames at the audited steps that it reached, by step.
    """

    index: int
    n_steps: int
    exit_reason: ExitReason
    exit_value: float
    trace: NDArray[np.float32]
    snapshots: tuple[tuple[int, Frame], ...]
    audit: Mapping[int, Frame]


def walk(
    force_field: ForceField,
    starts: Sequence[Start],
    settings: Langevin,
    exits: Exits,
    audit: Iterable[tuple[int, int]] = (),
    *,
    progress: Progress = silent,
) -> list[Walk]:
    """Walk from all starts at once, up to `settings.n_steps` steps each.

    A walker depends only on its own start: those that stop are taken out of the batch and the others go
    on unchanged. The same arguments give the same bits on the same machine.

    Args:
        force_field: Gives energies, forces and their standard deviations.
        starts: One a walker.
        settings: Time step, friction, number of steps, stride; temperatures are in `starts`.
        exits: When a walker stops early.
        audit: (walker, step) pairs whose frames are kept, steps from 1.
        progress: Told the steps done, the steps planned, and the news.
    """
    if not starts:
        return []
    audited: dict[int, set[int]] = defaultdict(set)
    for walker, step in audit:
        audited[walker].add(step)
    logs = [_Log(start.frame, audited[walker], settings.n_steps) for walker, start in enumerate(starts)]
    audit_steps = frozenset[int]().union(*audited.values())
    group = Group(force_field, starts, settings, exits)
    for step in range(settings.n_steps + 1):
        before = group.state.positions
        if step > 0:
            group.advance()
        measured = group.watch.measure(group.state)
        if gone := group.watch.exits(measured):
            rows, positions = group.rows(step, measured), group.layout.split(before)
            for end in gone:
                walker = group.numbers[end.place]
                logs[walker].end(step, end, rows[end.place], positions[end.place])
                news = f"walker {walker} stopped at step {step}: {end.reason} ({end.value:.3g})"
                progress(step, settings.n_steps, news)
            places = {end.place for end in gone}
            stay = [place for place in range(len(group.numbers)) if place not in places]
            if not stay:
                break
            group.keep(stay)
            measured = measured[:, stay]
        due = step % settings.stride == 0
        if due:
            for walker, row in zip(group.numbers, group.rows(step, measured), strict=True):
                logs[walker].rows.append(row)
            progress(step, settings.n_steps, f"{len(group.numbers)} of {len(starts)} walkers")
        if step > 0 and (due or step in audit_steps):
            for walker, at in zip(group.numbers, group.layout.split(group.state.positions), strict=True):
                if due or step in logs[walker].audited:
                    logs[walker].keep(step, at)
    return [log.walk(walker) for walker, log in enumerate(logs)]


@dataclass
class _Log:
    """What is written down of one walker while it walks."""

    start: Frame
    audited: set[int]
    n_steps: int
    exit_reason: ExitReason = ExitReason.STEP_LIMIT
    exit_value: float = math.nan
    rows: list[list[float]] = field(default_factory=list)
    kept: dict[int, Frame] = field(default_factory=dict)

    def keep(self, step: int, positions: NDArray[np.float64]) -> None:
        """Keep the frame at a step."""
        self.kept[step] = self.start.moved_to(positions)

    def end(self, step: int, found: Exit, row: list[float], before: NDArray[np.float64]) -> None:
        """Stop: the frame of the step before is the last good one."""
        self.n_steps, self.exit_reason, self.exit_value = max(step - 1, 0), found.reason, found.value
        self.rows.append(row)
        self.keep(self.n_steps, before)

    def walk(self, index: int) -> Walk:
        """Return what became of the walker."""
        with np.errstate(over="ignore"):  # an exploding walker's numbers may be infinite in single precision
            trace = np.array(self.rows, dtype=np.float32).reshape(-1, 5)
        return Walk(
            index=index,
            n_steps=self.n_steps,
            exit_reason=self.exit_reason,
            exit_value=self.exit_value,
            trace=trace,
            snapshots=tuple((step, frame) for step, frame in self.kept.items() if step not in self.audited),
            audit={step: frame for step, frame in self.kept.items() if step in self.audited},
        )
