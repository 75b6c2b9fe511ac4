"""Frames along a reaction path, the way Transition1x was made: a nudged elastic band that relaxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.optimize import FIRE

from al_engine.config import Exits
from al_engine.exploration.exits import Watch, Watched
from al_engine.exploration.forces import ForceField
from al_engine.exploration.layout import Layout
from al_engine.exploration.sampler import Sampled, Visit
from al_engine.exploration.state import State
from al_engine.frames import Frame
from al_engine.records import ExitReason, Walker
from al_engine.samplers import ReactionPath

METHOD: Final = "improvedtangent"
MAX_FORCE_EV_PER_ANG: Final = 0.05
"""A band whose forces are all smaller has arrived."""


class Band(NEB):  # type: ignore[misc]
    """ASE's nudged elastic band, all images evaluated at once by a force field."""

    def __init__(self, force_field: ForceField, frames: Sequence[Frame]) -> None:
        super().__init__([frame.to_ase() for frame in frames], method=METHOD)
        self._frames = list(frames)
        self._layout = Layout.of(frames, [0.0] * len(frames), force_field.device)
        self._forces = force_field.bind(frames)
        self._last: State | None = None

    def frames(self) -> list[Frame]:
        """Return all images, ends included."""
        return [f.moved_to(image.positions) for f, image in zip(self._frames, self.images, strict=True)]

    def state(self) -> State:
        """Evaluate all images where they are; once, as the optimizer asks several times in a place."""
        at = torch.tensor(np.concatenate([i.positions for i in self.images]), device=self._layout.device)
        if self._last is None or not torch.equal(at, self._last.positions):
            memory = at.new_zeros(len(self.images), 3)
            self._last = State(at, torch.zeros_like(at), None, memory, self._forces(at))
        return self._last

    def get_forces(self) -> Any:
        """Evaluate all images, then let ASE nudge their forces."""
        found = self.state().step_forces
        for image, energy, own in zip(
            self.images, found.energy.tolist(), self._layout.split(found.forces), strict=True
        ):
            image.calc = SinglePointCalculator(image, energy=energy, forces=own)
        return super().get_forces()

    def watch(self, exits: Exits) -> Watch:
        """Watch the images; bonds may break."""
        freely = exits.model_copy(update={"bond_stretch": None})
        return Watch(self._layout, freely, self._frames, self.state().step_forces.energy)


@dataclass(frozen=True)
class ReactionPathSampler:
    """The images of one band, as it relaxes; they count as visited by one walker."""

    settings: ReactionPath
    exits: Exits
    force_field: ForceField
    ends: tuple[Frame, Frame]

    @property
    def planned(self) -> Sequence[int]:
        """One walker, never audited."""
        return [0]

    def __call__(self, _audit: Sequence[tuple[int, int]]) -> Sampled:
        """Relax the band, climbing in the second half, until it has arrived or an image must stop.

        The images between the ends are kept every `stride` steps, when the band has arrived, and at the
        last good step before an early exit.
        """
        s = self.settings
        band = Band(self.force_field, interpolated(*self.ends, s.n_images))
        watch, visits, rows = band.watch(self.exits), [Visit(self.ends[1], 0, 0)], []
        before = band.frames()
        n_steps, reason, value = 0, ExitReason.STEP_LIMIT, math.nan
        optimizer = FIRE(band, logfile=None)
        for step, arrived in enumerate(optimizer.irun(MAX_FORCE_EV_PER_ANG, s.n_steps)):
            band.climb = step >= s.n_steps // 2
            state = band.state()
            measured = watch.measure(state)
            gone = watch.exits(measured)
            last = bool(gone) or step == s.n_steps or bool(arrived)
            if last or step % s.stride == 0:
                n_steps = max(step - 1, 0) if gone else step
                visits += (Visit(frame, 0, n_steps) for frame in (before if gone else band.frames())[1:-1])
                rows.append(_row(step, state, measured))
            if gone:
                _, reason, value = gone[0]
                break
            before = band.frames()
        trace = np.array(rows, dtype=np.float32)
        start = self.ends[0].frame_id
        walker = Walker(0, start, 0.0, s.n_steps, n_steps, reason, value, trace)
        return Sampled(tuple(visits), walkers=(walker,))


def _row(step: int, state: State, measured: torch.Tensor) -> list[float]:
    """Return a row of the trace: that of the image of highest energy."""
    found = state.step_forces
    top = int(found.energy.argmax())
    sd, force_sd = float(found.energy_sd[top]), float(measured[Watched.FORCE_SD, top])
    return [step, float(found.energy[top]), 0.0, sd, force_sd]


def interpolated(first: Frame, last: Frame, n_images: int) -> list[Frame]:
    """Put frames between two ends by image dependent pair potentials; the second end of a molecule is turned.

    Returns:
        Both ends and `n_images` between them.
    """
    one, other = first.to_ase(), last.to_ase()
    if not first.is_periodic and not first.fixed_mask.any():
        minimize_rotation_and_translation(one, other)
    images: list[Atoms] = [one, *(one.copy() for _ in range(n_images)), other]
    NEB(images, method=METHOD).interpolate(method="idpp", mic=first.is_periodic, apply_constraint=False)
    return [first.moved_to(image.positions) for image in images]
