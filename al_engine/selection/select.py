"""Which candidates are labeled: a pure function of what is stored, so that a choice can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from al_engine.config import Selection
from al_engine.lifecycle import CandidateState
from al_engine.records import Candidate, Origin, Uncertainty
from al_engine.selection.descriptors import nearest_distance
from al_engine.selection.diversity import Pick, pick

_SCORES: dict[str, tuple[Callable[[Uncertainty], float], str]] = {
    "information": (lambda u: u.information, "information {:.3g} nats"),
    "force_sd": (lambda u: u.force_sd_max, "force sd {:.3g} eV/Å"),
    "energy_sd": (lambda u: u.energy_sd, "energy sd {:.3g} eV"),
}


def select(
    candidates: Sequence[Candidate], settings: Selection, n: int, rng: np.random.Generator
) -> list[Candidate]:
    """Choose up to n frames for labeling, by score times distance (math 11), and say why.

    The distance is that to the nearest of the training set (`Candidate.distance`), the audited frames and
    those chosen before. Nothing but the arguments matters, and not the order of the candidates: ties go by
    frame id. A score that is not finite counts as zero.

    Args:
        candidates: Of one generation, audited ones included; the states of the others do not matter.
        settings: Score, diversity, threshold.
        n: How many at most; `settings.n_frames` is not looked at.
        rng: Draws the scores where they are random.

    Returns:
        The candidates that are not audited: those chosen by rank (SELECTED), then the others by frame id
        (REJECTED), each with score, rank and reason.
    """
    audited = [c for c in candidates if c.origin is Origin.AUDIT]
    pool = sorted((c for c in candidates if c.origin is not Origin.AUDIT), key=_order)
    if not pool:
        return []
    refused = _refused(pool, {c.frame_id for c in audited}, settings.threshold_ev_per_ang)
    scores, features = _scores(pool, settings, rng), None
    distances = np.array([np.inf if c.distance is None else c.distance for c in pool])
    if settings.diversity == "distance":
        features, of_audit = np.split(_features([*pool, *audited]), [len(pool)])
        known = of_audit[np.isfinite(of_audit).all(axis=1)]
        distances = np.fmin(distances, nearest_distance(features, known))
    free = np.array([reason is None for reason in refused], dtype=bool)
    picks, merit = pick(scores, features, distances, free, n)
    chosen = [
        replace(
            pool[p.row], state=CandidateState.SELECTED, score=p.merit, rank=rank,
            reason=_reason(rank, float(scores[p.row]), p, settings),
        )
        for rank, p in enumerate(picks)
    ]  # fmt: skip
    rows = {p.row for p in picks}
    spent = f"not needed: budget of {n} spent"
    passed_over = [
        replace(c, state=CandidateState.REJECTED, score=float(m), rank=None, reason=reason or spent)
        for row, (c, m, reason) in enumerate(zip(pool, merit, refused, strict=True))
        if row not in rows
    ]
    return chosen + passed_over


def _order(candidate: Candidate) -> tuple[str, int, int]:
    """Sort by frame id; the same frame by who visited it first."""
    return (candidate.frame_id, candidate.walker or 0, candidate.step or 0)


def _refused(pool: Sequence[Candidate], audited: set[str], threshold: float) -> list[str | None]:
    """Say for each candidate why it cannot be chosen; None where it can."""
    reasons: list[str | None] = []
    seen: set[str] = set()
    for c in pool:
        force_sd = np.inf if c.uncertainty is None else c.uncertainty.force_sd_max
        if c.frame_id in audited:
            reasons.append("duplicate of an audit frame")
        elif c.frame_id in seen:
            reasons.append("duplicate of another candidate")
        elif force_sd < threshold:
            reasons.append(f"force sd {force_sd:.3g} eV/Å: below the threshold of {threshold:g} eV/Å")
        else:
            reasons.append(None)
        seen.add(c.frame_id)
    return reasons


def _scores(pool: Sequence[Candidate], settings: Selection, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the scores, finite and not negative, shape (n_candidates,)."""
    if settings.score == "random":
        return rng.random(len(pool))
    value, _ = _SCORES[settings.score]
    scores = [0.0 if c.uncertainty is None else value(c.uncertainty) for c in pool]
    return np.maximum(np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0), 0.0)


def _features(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """Stack descriptors, shape (n_candidates, n_features); NaN where one is missing."""
    given = next((c.features for c in candidates if c.features is not None), np.zeros(1, dtype=np.float32))
    missing = np.full_like(given, np.nan)
    rows = [missing if c.features is None else c.features for c in candidates]
    return np.array(rows, dtype=np.float32).reshape(len(candidates), -1)


def _reason(rank: int, score: float, found: Pick, settings: Selection) -> str:
    """Say in words why a frame was chosen."""
    words = "drawn at random" if settings.score == "random" else _SCORES[settings.score][1].format(score)
    if settings.diversity == "none":
        return f"rank {rank}: {words}"
    if np.isinf(found.distance):
        return f"rank {rank}: {words}, no known frame to compare with"
    return f"rank {rank}: {words}, {found.distance:.2g} from the nearest known frame"
