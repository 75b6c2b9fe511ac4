"""Stage *explore*: walk with the trained ensemble and keep what was visited, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from al_engine.audit import draw_audit
from al_engine.config import CampaignConfig
from al_engine.exploration.sampler import Sampled, Sampler, Visit
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.model.ensemble import Ensemble
from al_engine.progress import Progress, silent
from al_engine.records import AuditDraw, Candidate, LabeledFrame, Origin, TrainedModel, Walker
from al_engine.seeds import Stage, generator
from al_engine.selection.descriptors import nearest, whitened
from al_engine.selection.score import uncertainties
from al_engine.stages.compute import configure
from al_engine.stages.samplers import Surroundings, samplers_of


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


def explore_stage(
    config: CampaignConfig,
    generation: int,
    model: TrainedModel,
    labeled: Sequence[LabeledFrame],
    *,
    starts: Sequence[Frame],
    progress: Progress = silent,
) -> ExplorationResult:
    """Draw the audit from the planned steps, then visit frames, then predict every frame that was kept.

    The walkers of all samplers are numbered on from one sampler to the next. Visited frames are kept
    once, audited ones first, and not if they have a label.
    """
    configure(config)
    ensemble = Ensemble.from_bytes(model.weights, device=config.device)
    samplers = samplers_of(Surroundings(config, generation, starts, labeled), ensemble, progress)
    rng = generator(config.seed, generation, Stage.AUDIT)
    planned = [n for sampler in samplers for n in sampler.planned]
    drawn = draw_audit(planned, config.audit.n_frames, rng)
    sampled = _sample(samplers, drawn)
    known = {item.frame.frame_id for item in labeled}
    visits: dict[str, tuple[Visit, bool]] = {}
    for is_audit, kept in ((True, sampled.audit.values()), (False, sampled.visits)):
        for visit in kept:
            if visit.frame.frame_id not in known:
                visits.setdefault(visit.frame.frame_id, (visit, is_audit))
    draws = tuple(
        AuditDraw(k, *pair, sampled.audit[pair].frame.frame_id if pair in sampled.audit else None)
        for k, pair in enumerate(drawn)
    )
    return ExplorationResult(
        frames=tuple(visit.frame for visit, _ in visits.values()),
        walkers=sampled.walkers,
        draws=draws,
        candidates=_candidates(
            config, generation, ensemble, tuple(visits.values()), model=model, labeled=labeled
        ),
    )


def _sample(samplers: Sequence[Sampler], drawn: Sequence[tuple[int, int]]) -> Sampled:
    """Let each sampler visit frames; number their walkers one after the other."""
    visits: list[Visit] = []
    audit: dict[tuple[int, int], Visit] = {}
    walkers: list[Walker] = []
    first = 0
    for sampler in samplers:
        last = first + len(sampler.planned)
        found = sampler([(walker - first, step) for walker, step in drawn if first <= walker < last])
        visits += (_numbered(visit, first) for visit in found.visits)
        audit |= {(w + first, step): _numbered(visit, first) for (w, step), visit in found.audit.items()}
        walkers += (replace(walker, index=walker.index + first) for walker in found.walkers)
        first = last
    return Sampled(tuple(visits), audit, tuple(walkers))


def _numbered(visit: Visit, first: int) -> Visit:
    return visit if visit.walker is None else replace(visit, walker=visit.walker + first)


def _candidates(
    config: CampaignConfig,
    generation: int,
    ensemble: Ensemble,
    visits: Sequence[tuple[Visit, bool]],
    *,
    model: TrainedModel,
    labeled: Sequence[LabeledFrame],
) -> tuple[Candidate, ...]:
    """Predict the visited frames and measure how far they are from the training set."""
    if not visits:
        return ()
    prediction = ensemble.predict([visit.frame for visit, _ in visits])
    trained = {entry.frame_id for entry in model.training_set}
    known = [i.frame for i in labeled if i.frame.frame_id in trained]
    training = ensemble.predict(known)
    rng = generator(config.seed, generation, Stage.SELECT)
    base, features = whitened(training.features, prediction.features, rng)
    distances, rows = nearest(features, base)
    return tuple(
        Candidate(
            frame_id=visit.frame.frame_id,
            origin=Origin.AUDIT if is_audit else Origin.SELECTED,
            state=CandidateState.AUDIT if is_audit else CandidateState.VISITED,
            walker=visit.walker,
            step=visit.step,
            temperature=visit.temperature,
            uncertainty=uncertainty,
            features=features[k],
            distance=float(distances[k]),
            nearest=known[rows[k]].frame_id,
            reason=_reason(visit) if is_audit else "",
        )
        for k, ((visit, is_audit), uncertainty) in enumerate(
            zip(visits, uncertainties(prediction), strict=True)
        )
    )


def _reason(visit: Visit) -> str:
    """Say what an audited frame was drawn from."""
    what = "frames of the pool without a label" if visit.walker is None else "planned steps"
    return f"uniform draw from the {what}"
