"""From the samplers of a campaign file to samplers that can be called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from al_engine.config import CampaignConfig, FileLabels
from al_engine.errors import InputError, blaming
from al_engine.exploration.dynamics import DynamicsSampler
from al_engine.exploration.forces import ForceField
from al_engine.exploration.normal_modes import NormalModeSampler
from al_engine.exploration.pool import PoolSampler
from al_engine.exploration.rattle import RattleSampler
from al_engine.exploration.reaction_path import ReactionPathSampler
from al_engine.exploration.sampler import Sampler
from al_engine.exploration.walkers import MAX_RESTARTS, Start
from al_engine.frames import Frame, elements_of
from al_engine.progress import Progress
from al_engine.records import LabeledFrame, Origin
from al_engine.samplers import Dynamics, NormalModes, Npt, Pool, Rattle, ReactionPath
from al_engine.seeds import Stage, generator, torch_seed
from al_engine.stages.files import sampler_key
from al_engine.stages.pool import pool_frames

_STREAMS: Final = 100_000
"""Random streams of one sampler's walkers (or copies), before those that follow in their places."""


@dataclass(frozen=True)
class Surroundings:
    """What samplers of a generation start from.

    Attributes:
        config: The campaign.
        generation: Its number.
        starts: The given structures.
        labeled: All labels of earlier generations.
        ceilings: Of the force sd, of each system, eV/Å (`ceiling.sd_ceilings`); none: those of the exits.
    """

    config: CampaignConfig
    generation: int
    starts: Sequence[Frame]
    labeled: Sequence[LabeledFrame]
    ceilings: Sequence[float] = ()

    def _stream(self, number: int, k: int, n_before: int = 0) -> int:
        return k + _STREAMS * (n_before + (1 + MAX_RESTARTS) * number)

    def begin(self, number: int, walker: int, n_before: int = 0) -> Start:
        """Return where a walker starts: a given structure, or a frame of an earlier audit.

        Audited frames are a uniform sample of earlier dynamics, so they are thermal; selected ones are the
        strangest of their walks and would bias what the audit speaks about. Walkers take systems in
        turn, and the temperatures of their system in turn.

        Args:
            number: Of the sampler.
            walker: Number of the walker.
            n_before: How many have been in its place before.
        """
        place, turn = walker % len(self.starts), walker // len(self.starts)
        settings = self.config.exploration.samplers[number]
        any_cell = isinstance(settings, Npt)
        system = system_of(self.starts[place], any_cell=any_cell)
        audited = (item.frame for item in self.labeled if item.origin is Origin.AUDIT)
        own = [f for f in (*self.starts, *audited) if system_of(f, any_cell=any_cell) == system]
        kelvin = settings.temperatures_k if isinstance(settings, Dynamics) else (0.0,)
        kelvin = self.config.systems[place].temperatures_k or kelvin
        stream = self._stream(number, walker, n_before)
        rng = generator(self.config.seed, self.generation, Stage.STARTS, stream)
        return Start(
            frame=own[int(rng.integers(len(own)))],
            temperature=kelvin[turn % len(kelvin)],
            seed=torch_seed(self.config.seed, self.generation, Stage.WALKER, stream),
            max_force_sd=self.ceilings[place] if self.ceilings else None,
        )

    def rng(self, number: int, k: int) -> np.random.Generator:
        """Return the generator of the k-th copy that a sampler makes."""
        return generator(self.config.seed, self.generation, Stage.WALKER, self._stream(number, k))


def system_of(frame: Frame, *, any_cell: bool) -> tuple[object, ...]:
    """What stays the same along a walk: atoms, cell (or not), charge, multiplicity, fixed atoms."""
    arrays = (frame.numbers, frame.pbc, frame.fixed_mask, *(() if any_cell else (frame.cell,)))
    return (frame.charge, frame.multiplicity, *(array.tobytes() for array in arrays))


def check_samplers(config: CampaignConfig, starts: Sequence[Frame]) -> None:
    """Raise where a sampler cannot do a structure, or its frames cannot be labeled.

    Raises:
        InputError: Names the sampler and what is wrong.
    """
    for number, settings in enumerate(config.exploration.samplers):
        key = ("exploration", *sampler_key(number))
        if isinstance(config.reference, FileLabels) and not isinstance(settings, Pool):
            with blaming(*key, "kind"):
                raise InputError("the labels of a file go with frames of a pool only")
        match settings:
            case Pool():
                with blaming(*key, "file"):
                    _check_elements(pool_frames(config, settings), starts)
            case Npt():
                with blaming(*key, "kind"):
                    _check_cells(starts)
            case ReactionPath():
                with blaming(*key, "ends"):
                    _check_ends(settings.ends, starts)
            case _:
                pass


def _check_cells(starts: Sequence[Frame]) -> None:
    for frame in starts:
        if not frame.pbc.all() or frame.fixed_mask.any():
            raise InputError(
                f"constant pressure needs three periodic directions and no fixed atom; not so {frame.formula}"
            )


def _check_elements(frames: Sequence[Frame], starts: Sequence[Frame]) -> None:
    unknown = sorted(set(elements_of(frames)) - set(elements_of(starts)))
    if unknown:
        raise InputError(f"it has elements Z = {unknown} that no system has")


def _check_ends(ends: tuple[int, int], starts: Sequence[Frame]) -> None:
    if max(ends) >= len(starts) or ends[0] == ends[1]:
        raise InputError(f"two different ones of the {len(starts)} systems are needed, counted from 0")
    first, last = (starts[end] for end in ends)
    if system_of(first, any_cell=False) != system_of(last, any_cell=False):
        raise InputError(
            f"systems {ends[0]} and {ends[1]} ({first.formula}, {last.formula}) must have the same atoms in "
            "the same order, cell, charge, multiplicity and fixed atoms"
        )


def samplers_of(around: Surroundings, force_field: ForceField, progress: Progress) -> list[Sampler]:
    """Build the samplers of a campaign, in order."""
    exploration = around.config.exploration
    found: list[Sampler] = []
    for number, settings in enumerate(exploration.samplers):
        match settings:
            case NormalModes():
                rng = partial(around.rng, number)
                found.append(NormalModeSampler(settings, force_field, around.starts, rng))
            case Pool():
                known = {item.frame.frame_id for item in around.labeled}
                frames = [f for f in pool_frames(around.config, settings) if f.frame_id not in known]
                found.append(PoolSampler(frames, settings.n_frames, around.rng(number, 0)))
            case ReactionPath():
                first, last = (around.starts[end] for end in settings.ends)
                exits = exploration.exits
                if around.ceilings:
                    ceiling = around.ceilings[settings.ends[0]]
                    exits = exits.model_copy(update={"force_sd_ev_per_ang": ceiling})
                found.append(ReactionPathSampler(settings, exits, force_field, (first, last)))
            case Rattle():
                found.append(RattleSampler(settings, partial(around.begin, number)))
            case _:
                starts = partial(around.begin, number)
                found.append(DynamicsSampler(settings, exploration.exits, force_field, starts, progress))
    return found
