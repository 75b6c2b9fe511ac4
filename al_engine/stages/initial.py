"""Generation 0: frames worth labeling before there is a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from al_engine.config import CampaignConfig, FileLabels
from al_engine.exploration.rattle import rattled
from al_engine.frames import Frame, elements_of
from al_engine.labeling import ground_state_multiplicity
from al_engine.lifecycle import CandidateState
from al_engine.records import Candidate, Origin
from al_engine.samplers import Pool
from al_engine.seeds import Stage, generator
from al_engine.stages.pool import pool_frames, pool_of


@dataclass(frozen=True)
class InitialResult:
    """Frames of generation 0 and why each is there."""

    frames: tuple[Frame, ...]
    candidates: tuple[Candidate, ...]


def initial_stage(config: CampaignConfig, starts: Sequence[Frame]) -> InitialResult:
    """Choose the initial frames: the given structures, rattled copies, and isolated atoms.

    With a pool: a uniform draw from it in place of structures and copies. With the labels of a file:
    those isolated atoms that the pool has.
    """
    pool = pool_of(config)
    chosen = _rattled_copies(config, starts) if pool is None else _drawn(config, pool)
    if not isinstance(config.reference, FileLabels):
        for z in elements_of(starts):
            chosen.setdefault(isolated_atom(z), "isolated atom: the zero of the potential's energy")
    return InitialResult(
        tuple(chosen),
        tuple(
            Candidate(frame.frame_id, Origin.INITIAL, CandidateState.SELECTED, rank=k, reason=reason)
            for k, (frame, reason) in enumerate(chosen.items())
        ),
    )


def _rattled_copies(config: CampaignConfig, starts: Sequence[Frame]) -> dict[Frame, str]:
    """Return the given structures and rattled copies, with the reason of each."""
    chosen: dict[Frame, str] = {}
    for frame in starts:
        chosen.setdefault(frame, "given structure")
    amplitudes = np.linspace(*config.initial.rattle_ang, config.initial.n_frames)
    for k, amplitude in enumerate(amplitudes):
        frame = rattled(
            starts[k % len(starts)], float(amplitude), generator(config.seed, 0, Stage.INITIAL, k)
        )
        chosen.setdefault(frame, f"rattled by {amplitude:.3f} Å")
    return chosen


def _drawn(config: CampaignConfig, pool: Pool) -> dict[Frame, str]:
    """Return a uniform draw of the pool's frames, and its isolated atoms."""
    frames = pool_frames(config, pool)
    single = [frame for frame in frames if frame.n_atoms == 1 and not frame.is_periodic]
    bonded = [frame for frame in frames if frame.n_atoms > 1 or frame.is_periodic]
    n = min(config.initial.n_frames, len(bonded))
    rows = generator(config.seed, 0, Stage.INITIAL).choice(len(bonded), n, replace=False)
    chosen = {bonded[int(row)]: "uniform draw from the pool" for row in rows}
    return chosen | dict.fromkeys(single, "isolated atom of the pool")


def isolated_atom(z: int) -> Frame:
    """One neutral atom in its ground state's multiplicity."""
    return Frame(np.array([z]), np.zeros((1, 3)), multiplicity=ground_state_multiplicity(z))
