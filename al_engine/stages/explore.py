"""Stage *explore*: walk with the trained ensemble and keep what was visited, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice

import numpy as np

from al_engine.audit import draw_audit
from al_engine.config import CampaignConfig
from al_engine.convergence import look_size
from al_engine.exploration.sampler import Sampled, Sampler, Visit
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.model.ensemble import Ensemble
from al_engine.progress import Progress, silent
from al_engine.records import AuditDraw, Candidate, LabeledFrame, Metric, Origin, TrainedModel, Walker
from al_engine.seeds import Stage, generator
from al_engine.selection.descriptors import nearest, whitened
from al_engine.selection.score import uncertainties
from al_engine.stages.ceiling import newest_audit, sd_ceilings
from al_engine.stages.compute import configure
from al_engine.stages.samplers import Surroundings, samplers_of


class _Kind(Enum):
    """Why a visited frame is kept."""

    VISITED = auto()
    AUDIT = auto()
    CONFIRMING = auto()


@dataclass(frozen=True)
class ExplorationResult:
    """Everything a generation visited.

    Attributes:
        frames: Visited frames and audited ones, each once.
        walkers: How each trajectory went.
        draws: The draws of the small audit, then those of the confirming one, each with its frame or none.
        candidates: One a frame, VISITED or AUDIT; those of the confirming audit are VISITED, of origin AUDIT.
        metrics: The ceiling of the force sd of each system.
    """

    frames: tuple[Frame, ...]
    walkers: tuple[Walker, ...]
    draws: tuple[AuditDraw, ...]
    candidates: tuple[Candidate, ...]
    metrics: tuple[Metric, ...]


def explore_stage(
    config: CampaignConfig,
    generation: int,
    model: TrainedModel,
    labeled: Sequence[LabeledFrame],
    *,
    starts: Sequence[Frame],
    n_looks: int = 0,
    progress: Progress = silent,
) -> ExplorationResult:
    """Draw the audits from the planned steps, then visit frames, then predict every frame that was kept.

    The walkers of all samplers are numbered on from one sampler to the next. Visited frames are kept
    once, audited ones first, and not if they have a label.

    Args:
        config: The campaign.
        generation: Its number.
        model: The ensemble to explore with.
        labeled: All labels of earlier generations.
        starts: The given structures.
        n_looks: Looks of earlier generations (`convergence.count_looks`).
        progress: Told the steps done and the news.
    """
    configure(config)
    ensemble = Ensemble.from_bytes(model.weights, device=config.device)
    exits = config.exploration.exits
    ceilings = sd_ceilings(exits, ensemble, newest_audit(model, labeled, generation), starts)
    samplers = samplers_of(Surroundings(config, generation, starts, labeled, ceilings), ensemble, progress)
    rng = generator(config.seed, generation, Stage.AUDIT)
    planned = [n for sampler in samplers for n in sampler.planned]
    drawn = _draw(config, planned, look_size(1 + n_looks, config.stop), rng)
    sampled = _sample(samplers, drawn)
    known = {item.frame.frame_id for item in labeled}
    visits: dict[str, tuple[Visit, _Kind]] = {}
    audited = [
        (sampled.audit[pair], _Kind.AUDIT if k < config.audit.n_frames else _Kind.CONFIRMING)
        for k, pair in enumerate(drawn)
        if pair in sampled.audit
    ]
    for visit, kind in (*audited, *((visit, _Kind.VISITED) for visit in sampled.visits)):
        if visit.frame.frame_id not in known:
            visits.setdefault(visit.frame.frame_id, (visit, kind))
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
        metrics=tuple(
            Metric("exploration", f"forces.system_{k}", "sd_ceiling_ev_per_ang", ceiling)
            for k, ceiling in enumerate(ceilings)
        ),
    )


def _draw(
    config: CampaignConfig, planned: Sequence[int], needed: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw the small audit and, after it, the confirming one of `needed` other steps.

    There is no second one where the first is so large itself, is left out, or leaves too few steps.
    """
    n_small = config.audit.n_frames
    small = draw_audit(planned, n_small, rng)
    if not 0 < n_small < needed or n_small + needed > sum(planned):
        return small
    others = (pair for pair in draw_audit(planned, n_small + needed, rng) if pair not in small)
    return [*small, *islice(others, needed)]


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
    visits: Sequence[tuple[Visit, _Kind]],
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
            origin=Origin.SELECTED if kind is _Kind.VISITED else Origin.AUDIT,
            state=CandidateState.AUDIT if kind is _Kind.AUDIT else CandidateState.VISITED,
            walker=visit.walker,
            step=visit.step,
            temperature=visit.temperature,
            uncertainty=uncertainty,
            features=features[k],
            distance=float(distances[k]),
            nearest=known[rows[k]].frame_id,
            reason="" if kind is _Kind.VISITED else _reason(visit, kind),
        )
        for k, ((visit, kind), uncertainty) in enumerate(zip(visits, uncertainties(prediction), strict=True))
    )


def _reason(visit: Visit, kind: _Kind) -> str:
    """Say what an audited frame was drawn from."""
    what = "frames of the pool without a label" if visit.walker is None else "planned steps"
    return f"uniform draw from the {what}{', to confirm' if kind is _Kind.CONFIRMING else ''}"
