"""Which candidates are labeled: a pure function of what is stored, so that a choice can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from al_engine.config import Selection
from al_engine.lifecycle import CandidateState
from al_engine.records import Candidate, Origin, Uncertainty
from al_engine.selection.descriptors import nearest
from al_engine.selection.diversity import Pick, Pool, choose

_SCORES: dict[str, tuple[Callable[[Uncertainty], float], str]] = {
    "information": (lambda u: u.information, "information {:.3g} nats"),
    "force_sd": (lambda u: u.force_sd_max, "force sd {:.3g} eV/Å"),
    "force_sd_epistemic": (lambda u: u.force_sd_max_epistemic, "epistemic force sd {:.3g} eV/Å"),
    "energy_sd": (lambda u: u.energy_sd, "energy sd {:.3g} eV"),
    "energy_sd_aleatoric": (lambda u: u.energy_sd_aleatoric, "aleatoric energy sd {:.3g} eV"),
}


def select(
    candidates: Sequence[Candidate], settings: Selection, n: int, rng: np.random.Generator
) -> list[Candidate]:
    """Choose up to n frames for labeling, by score and distance (math 11), and say why.

    The distance is that to the nearest of the training set (`Candidate.distance`), the audited frames and
    those chosen before. Nothing but the arguments matters, and not the order of the candidates: ties go by
    frame id. A score that is not finite counts as zero.

    Args:
        candidates: Of one generation, audited ones included; the states of the others do not matter.
        settings: Score, diversity, threshold, distance of near-duplicates.
        n: How many at most; `settings.n_frames` is not looked at.
        rng: Draws the scores where they are random.

    Returns:
        The candidates that are not audited: those chosen by rank (SELECTED), then the others by frame id
        (REJECTED), each with score, rank and reason.
    """
    audited = sorted((c for c in candidates if c.origin is Origin.AUDIT), key=_order)
    pool = sorted((c for c in candidates if c.origin is not Origin.AUDIT), key=_order)
    if not pool:
        return []
    refused = _refused(pool, {c.frame_id for c in audited}, settings.threshold_ev_per_ang)
    scores = _scores(pool, settings, rng)
    found = choose(_pool(pool, audited, scores, refused), n, settings.diversity, settings.min_distance)
    chosen = [
        replace(
            pool[p.row], state=CandidateState.SELECTED, score=p.merit, rank=rank,
            reason=_reason(rank, float(scores[p.row]), p, settings),
        )
        for rank, p in enumerate(found.picks)
    ]  # fmt: skip
    rows = {p.row for p in found.picks}
    spent = f"not needed: budget of {n} spent"
    near = f"near-duplicate: less than {settings.min_distance:g} from a known or chosen frame"
    passed_over = [
        replace(
            c, state=CandidateState.REJECTED, score=float(found.merit[row]), rank=None,
            reason=refused[row] or (near if found.too_near[row] else spent),
        )
        for row, c in enumerate(pool)
        if row not in rows
    ]  # fmt: skip
    return chosen + passed_over


def _pool(
    pool: Sequence[Candidate],
    audited: Sequence[Candidate],
    scores: NDArray[np.float64],
    refused: Sequence[str | None],
) -> Pool:
    """Put what the choice rests on side by side; the audited frames are known ones."""
    names = sorted({c.nearest for c in pool if c.nearest is not None})
    number = {name: k for k, name in enumerate(names)}
    distances = np.array([np.inf if c.distance is None else c.distance for c in pool])
    center = np.array([-1 if c.nearest is None else number[c.nearest] for c in pool])
    features, of_audit = np.split(_features([*pool, *audited]), [len(pool)])
    to_audit, which = nearest(features, of_audit)
    closer = to_audit < np.where(np.isnan(distances), np.inf, distances)
    return Pool(
        scores=scores,
        features=features,
        distances=np.where(closer, to_audit, distances),
        nearest=np.where(closer, len(names) + which, center),
        free=np.array([reason is None for reason in refused], dtype=bool),
    )


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
    words = [f"rank {rank}:"]
    if settings.diversity in ("distance", "none"):
        is_random = settings.score == "random"
        words.append("drawn at random" if is_random else _SCORES[settings.score][1].format(score))
    if settings.diversity == "none":
        return " ".join(words)
    if settings.diversity == "lcmd":
        words.append("in the largest cluster")
    far = f"{found.distance:.2g} from the nearest known frame"
    words.append("no known frame to compare with" if np.isinf(found.distance) else far)
    return f"{words[0]} {', '.join(words[1:])}"
