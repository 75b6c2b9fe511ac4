"""Does the stop rule keep its promise? Campaigns whose truth is known exactly, without a network.

    python benchmarks/stop_rule.py

A generation plans 24 walkers of 500 steps. Every planned step has a frame with an error of its own, drawn
from a normal law whose deviation is known, so the share of failing steps is counted, not estimated. The
ensemble claims that deviation (honest) or a part of it. All decisions are the engine's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from al_engine.audit import clopper_pearson_upper, draw_audit
from al_engine.config import Stop
from al_engine.convergence import AuditOutcome, count_looks, decide, doubts, look_size
from al_engine.prediction import Prediction

STOP = Stop(tolerance_ev_per_ang=0.5, fraction=0.95, confidence=0.9)
PLANNED = [500] * 24
N_SMALL, N_ATOMS, N_GENERATIONS = 12, 9, 10
GOOD_SD, BAD_SD = STOP.tolerance_ev_per_ang / 8, 10 * STOP.tolerance_ev_per_ang
"""Deviation of a force component (eV/Å) of steps that never fail (8 sd) and always do (27 components)."""


@dataclass(frozen=True)
class World:
    """What is true of every generation of a campaign.

    Attributes:
        failing: Share of the planned steps whose largest force error is above the tolerance.
        claimed: Deviation that the ensemble claims, over the true one.
        leaves: Step at which every walker leaves; None: none does.
    """

    failing: float
    claimed: float = 1.0
    leaves: int | None = None


def errors_of(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw energy (first) and force errors of all planned steps, and their sds, shape (n_steps, 28)."""
    n_steps = sum(PLANNED)
    is_bad = np.zeros(n_steps, dtype=bool)
    is_bad[rng.permutation(n_steps)[: round(world.failing * n_steps)]] = True
    sd = np.where(is_bad, BAD_SD, GOOD_SD * np.exp(-0.3 * np.abs(rng.normal(size=n_steps))))
    sds = np.repeat(sd[:, None], 1 + 3 * N_ATOMS, axis=1)
    return sds * rng.normal(size=sds.shape), sds


def outcome(world: World, draws: list[tuple[int, int]], errors: np.ndarray, sds: np.ndarray) -> AuditOutcome:
    """Compare the labels of the draws (the truth) with a prediction (zero, with the claimed deviations)."""
    kept = [(w, s) for w, s in draws if world.leaves is None or s <= world.leaves]
    rows = [sum(PLANNED[:w]) + s - 1 for w, s in kept]
    n_exited = len(draws) - len(kept)
    if not rows:
        return AuditOutcome(n_exited=n_exited)
    claimed, n_atoms = (world.claimed * sds[rows]) ** 2, N_ATOMS * len(rows)
    prediction = Prediction(
        frame_index=np.repeat(np.arange(len(rows)), N_ATOMS),
        member_energy=np.zeros((2, len(rows))),
        member_forces=np.zeros((2, n_atoms, 3)),
        noise_variance=np.tile(claimed[:, 0], (2, 1)),
        noise_gradient=np.zeros((2, n_atoms, 3)),
        force_noise=np.tile(claimed[:, 1::3].ravel(), (2, 1)),
        epistemic_scale=1.0,
        features=np.zeros((len(rows), 1)),
    )
    forces = errors[rows, 1:].reshape(n_atoms, 3)
    return AuditOutcome.of_labels(prediction, errors[rows, 0], forces, n_exited=n_exited, n_unlabeled=0)


def campaign(world: World, seed: int) -> tuple[bool, int, int]:
    """Run one campaign; say whether it was called converged, how often it looked, and what it labeled."""
    rng, sizes, n_labels = np.random.default_rng(seed), list[int](), 0
    for _ in range(N_GENERATIONS):
        needed = look_size(1 + count_looks(sizes, STOP), STOP)
        draws = draw_audit(PLANNED, N_SMALL + needed, rng)
        errors, sds = errors_of(world, rng)
        audit = outcome(world, draws[:N_SMALL], errors, sds)
        n_labels += audit.n_labels
        if not doubts(audit, STOP, []):
            audit = outcome(world, draws[N_SMALL:], errors, sds)
            n_labels += audit.n_labels
        decision = decide(audit, STOP, sizes, [])
        sizes.append(audit.n_draws)
        if decision.converged:
            return True, count_looks(sizes, STOP), n_labels
    return False, count_looks(sizes, STOP), n_labels


def covered(share: float, n_repeats: int, seed: int, n: int = 45, confidence: float = 0.9) -> int:
    """Count the audits of n draws whose bound is not below the true share: the last steps of walks fail."""
    rng = np.random.default_rng(seed)
    last_good = [round((1 - share) * steps) for steps in PLANNED]
    truth = 1 - sum(last_good) / sum(PLANNED)
    failing = [sum(s > last_good[w] for w, s in draw_audit(PLANNED, n, rng)) for _ in range(n_repeats)]
    return sum(clopper_pearson_upper(k, n, 1 - confidence) >= truth for k in failing)


WORLDS = (
    ("5.5 % fail", World(0.055), "<= 5"),
    ("7 % fail", World(0.07), "<= 5"),
    ("15 % fail", World(0.15), "<= 5"),
    ("0.2 % fail, sigma honest", World(0.002), ">= 40"),
    ("none fails, sigma honest", World(0.0), ">= 40"),
    ("0.2 % fail, sigma shrunk threefold", World(0.002, claimed=1 / 3), "<= 2"),
    ("none fails, all walkers leave after 50 of 500 steps", World(0.0, leaves=50), "0"),
)


def main() -> None:
    """Print the tables."""
    print("| true share of failing steps | bounds that hold it, of 1,000 | wanted |\n|---|---|---|")
    for share in (0.002, 0.01, 0.05, 0.2):
        print(f"| {100 * share:g} % | {covered(share, 10_000, seed=0) / 10:.0f} | >= 880 |")
    print(f"\n| {N_GENERATIONS} generations | converged, of 50 | wanted | looks | audit labels |")
    print("|---|---|---|---|---|")
    for name, world, wanted in WORLDS:
        found = np.array([campaign(world, seed) for seed in range(50)], dtype=float)
        converged, looks, labels = int(found[:, 0].sum()), found[:, 1].mean(), found[:, 2].mean()
        print(f"| {name} | {converged} | {wanted} | {looks:.1f} | {labels:.0f} |")


if __name__ == "__main__":
    main()
