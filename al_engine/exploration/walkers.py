"""A batch of walkers: all advance together, each stops at an end of its own, and another takes its place."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from al_engine.config import Exits
from al_engine.exploration.exits import Exit
from al_engine.exploration.forces import ForceField
from al_engine.exploration.group import Group, Start
from al_engine.frames import Frame
from al_engine.progress import Progress, silent
from al_engine.records import ExitReason
from al_engine.samplers import Dynamics

__all__ = ["MAX_RESTARTS", "Restart", "Start", "Walk", "walk"]

Restart = Callable[[int, int], Start]
"""Gives the start of the n-th walker (from 1) in place of one that stopped early, by that one's number."""
MAX_RESTARTS: Final = 3
"""Walkers that may follow one another in the place of one: a bad potential ends, too."""


@dataclass(frozen=True)
class Walk:
    """What became of one walker.

    Attributes:
        index: Its number: the place among the starts; those that took a place over are numbered on.
        start: Where it started.
        n_planned: The steps it should have done.
        n_steps: Its last good step: the one before it crossed a limit (0 where the start or the first
            step did), or the planned number. Audited steps up to this one have a frame, later ones none.
        exit_reason: Why it stopped.
        exit_value: The number that crossed its limit (eV/Å, Å, eV/atom, K, or a ratio); NaN else.
        trace: As `Walker.trace`: a row at step 0, every `stride` steps, and where it crossed a limit.
        snapshots: (step, frame) every `stride` steps, and at the last good step before an early exit;
            audited steps are left out.
        audit: The frames at the audited steps that it reached, by step.
    """

    index: int
    start: Start
    n_planned: int
    n_steps: int
    exit_reason: ExitReason
    exit_value: float
    trace: NDArray[np.float32]
    snapshots: tuple[tuple[int, Frame], ...]
    audit: Mapping[int, Frame]


def walk(
    force_field: ForceField,
    starts: Sequence[Start],
    settings: Dynamics,
    exits: Exits,
    audit: Iterable[tuple[int, int]] = (),
    *,
    restart: Restart | None = None,
    progress: Progress = silent,
) -> list[Walk]:
    """Walk from all starts at once, up to `settings.n_steps` steps each.

    A walker depends only on its own start: those that stop are taken out of the batch and the others go
    on unchanged. The same arguments give the same bits on the same machine.

    Args:
        force_field: Gives energies, forces and their standard deviations.
        starts: One a walker.
        settings: Kind of dynamics, time step, number of steps, stride; temperatures are in `starts`.
        exits: When a walker stops early.
        audit: (walker, step) pairs whose frames are kept, steps from 1.
        restart: Who takes the place of a walker that stopped, for the steps that are left; such walkers
            are never audited, as whether there is one depends on the walk. None: nobody does.
        progress: Told the steps done, the steps planned, and the news.

    Returns:
        The walkers of `starts` in order, then those that took a place over.
    """
    if not starts:
        return []
    audited: dict[int, set[int]] = defaultdict(set)
    for walker, step in audit:
        audited[walker].add(step)
    logs = [_Log(n, start, n, 0, 0, settings.n_steps, audited[n]) for n, start in enumerate(starts)]
    group = Group(force_field, starts, settings, exits)
    for step in range(settings.n_steps + 1):
        before = group.state
        if step > 0:
            group.advance()
        measured = group.watch.measure(group.state)
        if gone := group.watch.exits(measured):
            rows, last = group.rows(_steps(group, logs, step), measured), group.frames(before)
            for end in gone:
                log = logs[group.numbers[end.place]]
                log.end(step, end, rows[end.place], last[end.place])
                news = f"walker {log.index} stopped at step {step}: {end.reason} ({end.value:.3g})"
                progress(step, settings.n_steps, news)
            places = {end.place for end in gone}
            stay = [place for place in range(len(group.numbers)) if place not in places]
            first, left = len(logs), settings.n_steps - step
            if restart is not None and left >= settings.stride:
                for place in sorted(places):
                    log = logs[group.numbers[place]]
                    if log.n_before < MAX_RESTARTS:
                        logs.append(log.follower(restart, step, len(logs)))
            if not stay and len(logs) == first:
                break
            group.change(stay, [log.start for log in logs[first:]], first)
            measured = group.watch.measure(group.state)
        _write_down(group, logs, step, measured, settings.stride)
        if step % settings.stride == 0:
            progress(step, settings.n_steps, f"{len(group.numbers)} of {len(starts)} walkers")
    return [log.walk() for log in logs]


def _steps(group: Group, logs: Sequence[_Log], step: int) -> list[int]:
    """Return the number of steps that each walker of the group has done itself."""
    return [step - logs[number].begin for number in group.numbers]


def _write_down(group: Group, logs: Sequence[_Log], step: int, measured: Tensor, stride: int) -> None:
    """Note rows of the trace and frames of those walkers for which it is time."""
    steps = _steps(group, logs, step)
    due = [own % stride == 0 for own in steps]
    if any(due):
        for number, is_due, row in zip(group.numbers, due, group.rows(steps, measured), strict=True):
            if is_due:
                logs[number].rows.append(row)
    wanted = [
        own > 0 and (is_due or own in logs[number].audited)
        for number, own, is_due in zip(group.numbers, steps, due, strict=True)
    ]
    if any(wanted):
        for number, own, is_wanted, frame in zip(
            group.numbers, steps, wanted, group.frames(group.state), strict=True
        ):
            if is_wanted:
                logs[number].kept[own] = frame


@dataclass
class _Log:
    """What is written down of one walker while it walks.

    `place` is the number of the walker among the starts whose place this one has; `n_before` others had it.
    """

    index: int
    start: Start
    place: int
    n_before: int
    begin: int
    n_planned: int
    audited: set[int] = field(default_factory=set)
    n_steps: int = -1
    exit_reason: ExitReason = ExitReason.STEP_LIMIT
    exit_value: float = math.nan
    rows: list[list[float]] = field(default_factory=list)
    kept: dict[int, Frame] = field(default_factory=dict)

    def end(self, step: int, found: Exit, row: list[float], last: Frame) -> None:
        """Stop: the frame of the step before is the last good one."""
        self.n_steps = max(step - self.begin - 1, 0)
        self.exit_reason, self.exit_value = found.reason, found.value
        self.rows.append(row)
        self.kept[self.n_steps] = last

    def follower(self, restart: Restart, step: int, index: int) -> _Log:
        """Return the log of the walker that takes this one's place."""
        n_before = self.n_before + 1
        n_planned = self.begin + self.n_planned - step
        return _Log(index, restart(self.place, n_before), self.place, n_before, step, n_planned)

    def walk(self) -> Walk:
        """Return what became of the walker."""
        with np.errstate(over="ignore"):  # an exploding walker's numbers may be infinite in single precision
            trace = np.array(self.rows, dtype=np.float32).reshape(-1, 5)
        return Walk(
            index=self.index,
            start=self.start,
            n_planned=self.n_planned,
            n_steps=self.n_planned if self.n_steps < 0 else self.n_steps,
            exit_reason=self.exit_reason,
            exit_value=self.exit_value,
            trace=trace,
            snapshots=tuple((step, frame) for step, frame in self.kept.items() if step not in self.audited),
            audit={step: frame for step, frame in self.kept.items() if step in self.audited},
        )
