"""Stage *explore*: walk with the trained ensemble and keep what was visited, with its uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from al_engine.audit import draw_audit
from al_engine.config import CampaignConfig
from al_engine.exploration.walkers import Start, Walk, walk
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.model.ensemble import Ensemble
from al_engine.progress import Progress, silent
from al_engine.records import AuditDraw, Candidate, LabeledFrame, Origin, TrainedModel, Walker
from al_engine.seeds import Stage, generator, torch_seed
from al_engine.selection.descriptors import nearest_distance, whitened
from al_engine.selection.score import uncertainties
from al_engine.stages.compute import configure

_STREAMS = 100_000
"""More than there are walkers: streams of random numbers of those that follow in a walker's place."""


@dataclass(frozen=True)
class ExplorationResult:
    """Everything a generation visited.

    Attributes:
        frames: Visited frames and audited ones, each once.
        walkers: How each trajectory went.
        draws: The audit's draws, each with its frame or none.
        candidates: One a frame, VISITED or AUDIT.
    """

    frames: tuple[Frame, ...]
    walkers: tuple[Walker, ...]
    draws: tuple[AuditDraw, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class _Visit:
    """A frame on a walk."""

    frame: Frame
    walker: int
    step: int
    temperature: float
    is_audit: bool


def explore_stage(
    config: CampaignConfig,
    generation: int,
    model: TrainedModel,
    labeled: Sequence[LabeledFrame],
    *,
    starts: Sequence[Frame],
    progress: Progress = silent,
) -> ExplorationResult:
    """Draw the audit from the planned steps, then walk, then predict every frame that was kept."""
    configure(config)
    ensemble = Ensemble.from_bytes(model.weights, device=config.device)
    sampler = config.exploration.sampler
    rng = generator(config.seed, generation, Stage.AUDIT)
    drawn = draw_audit(sampler.n_walkers, sampler.n_steps, config.audit.n_frames, rng)
    origins = WalkStarts(config, generation, labeled, starts)
    begins = [origins(k) for k in range(sampler.n_walkers)]
    exits = config.exploration.exits
    walks = walk(ensemble, begins, sampler, exits, drawn, restart=origins, progress=progress)
    known = {item.frame.frame_id for item in labeled}
    visits = _visits(walks, known)
    draws = tuple(
        AuditDraw(k, walker, step, frame.frame_id if (frame := walks[walker].audit.get(step)) else None)
        for k, (walker, step) in enumerate(drawn)
    )
    return ExplorationResult(
        frames=tuple(visit.frame for visit in visits),
        walkers=tuple(map(_record, walks)),
        draws=draws,
        candidates=_candidates(config, generation, ensemble, visits, model=model, labeled=labeled),
    )


class WalkStarts:
    """Where walkers start: a given structure, or a frame of an earlier audit.

    Audited frames are a uniform sample of earlier dynamics, so they are thermal; selected ones are the
    strangest of their walks and would bias what the audit speaks about.
    """

    def __init__(
        self,
        config: CampaignConfig,
        generation: int,
        labeled: Sequence[LabeledFrame],
        starts: Sequence[Frame],
    ) -> None:
        self._config, self._generation = config, generation
        pool = [*starts, *(item.frame for item in labeled if item.origin is Origin.AUDIT)]
        self._of_system = [[f for f in pool if _system(f) == _system(s)] for s in starts]

    def __call__(self, walker: int, n_before: int = 0) -> Start:
        """Return the start of a walker, or of the one that follows after `n_before` others in its place.

        Walkers take systems in turn, and the temperatures of their system in turn.
        """
        seed, generation, sampler = self._config.seed, self._generation, self._config.exploration.sampler
        stream = walker + n_before * _STREAMS
        n_systems = len(self._of_system)
        own = self._of_system[walker % n_systems]
        rng = generator(seed, generation, Stage.STARTS, stream)
        return Start(
            frame=own[int(rng.integers(len(own)))],
            temperature=sampler.temperatures_k[(walker // n_systems) % len(sampler.temperatures_k)],
            seed=torch_seed(seed, generation, Stage.WALKER, stream),
        )


def _system(frame: Frame) -> tuple[object, ...]:
    """What stays the same along a walk: atoms, cell, charge, multiplicity, fixed atoms."""
    arrays = (frame.numbers, frame.cell, frame.pbc, frame.fixed_mask)
    return (frame.charge, frame.multiplicity, *(array.tobytes() for array in arrays))


def _visits(walks: Iterable[Walk], known: set[str]) -> list[_Visit]:
    """List the kept frames, audited ones first, each once and none that has a label."""
    every = [
        _Visit(frame, w.index, step, w.start.temperature, is_audit)
        for w in walks
        for is_audit, kept in ((True, w.audit.items()), (False, w.snapshots))
        for step, frame in kept
    ]
    visits: dict[str, _Visit] = {}
    for visit in sorted(every, key=lambda v: not v.is_audit):
        if visit.frame.frame_id not in known:
            visits.setdefault(visit.frame.frame_id, visit)
    return list(visits.values())


def _candidates(
    config: CampaignConfig,
    generation: int,
    ensemble: Ensemble,
    visits: Sequence[_Visit],
    *,
    model: TrainedModel,
    labeled: Sequence[LabeledFrame],
) -> tuple[Candidate, ...]:
    """Predict the visited frames and measure how far they are from the training set."""
    if not visits:
        return ()
    prediction = ensemble.predict([visit.frame for visit in visits])
    trained = {entry.frame_id for entry in model.training_set}
    training = ensemble.predict([i.frame for i in labeled if i.frame.frame_id in trained])
    rng = generator(config.seed, generation, Stage.SELECT)
    base, features = whitened(training.features, prediction.features, rng)
    distances = nearest_distance(features, base)
    return tuple(
        Candidate(
            frame_id=visit.frame.frame_id,
            origin=Origin.AUDIT if visit.is_audit else Origin.SELECTED,
            state=CandidateState.AUDIT if visit.is_audit else CandidateState.VISITED,
            walker=visit.walker,
            step=visit.step,
            temperature=visit.temperature,
            uncertainty=uncertainty,
            features=features[k],
            distance=float(distances[k]),
            reason="uniform draw from the planned steps" if visit.is_audit else "",
        )
        for k, (visit, uncertainty) in enumerate(zip(visits, uncertainties(prediction), strict=True))
    )


def _record(w: Walk) -> Walker:
    return Walker(
        index=w.index,
        start_frame_id=w.start.frame.frame_id,
        temperature=w.start.temperature,
        n_planned=w.n_planned,
        n_steps=w.n_steps,
        exit_reason=w.exit_reason,
        exit_value=w.exit_value,
        trace=w.trace,
    )
