"""The choice of a batch: laws over random candidates, and one choice made by hand."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from al_engine.config import Diversity, Score, Selection
from al_engine.lifecycle import CandidateState
from al_engine.records import Candidate, Origin, Uncertainty
from al_engine.selection.select import select

ODD = st.sampled_from([0.0, float("nan"), float("inf")])


def candidate(
    name: str, score: float, at: tuple[float, ...], distance: float, force_sd: float = 1.0
) -> Candidate:
    return Candidate(
        frame_id=name,
        origin=Origin.SELECTED,
        state=CandidateState.VISITED,
        walker=0,
        step=0,
        uncertainty=Uncertainty(score, 0.7, 0, force_sd, 0, 0.3, 0, score),
        features=np.array(at, dtype=np.float32),
        distance=distance,
    )


def audited(one: Candidate) -> Candidate:
    return replace(one, origin=Origin.AUDIT, state=CandidateState.AUDIT)


@st.composite
def pools(draw) -> list[Candidate]:
    """Candidates in the plane around a training frame at the origin; some equal, audited, odd or bare."""
    pool = []
    for k in range(draw(st.integers(0, 14))):
        at = draw(st.tuples(*[st.integers(-3, 3)] * 2))
        score = draw(st.floats(0.01, 5) | ODD)
        one = candidate(f"f{draw(st.integers(0, 9))}", score, at, float(np.hypot(*at)), draw(st.floats(0, 1)))
        one = replace(one, walker=k)
        bare = draw(st.sampled_from(["", "features", "distance", "uncertainty", "audit"]))
        pool.append(audited(one) if bare == "audit" else replace(one, **{bare: None}) if bare else one)
    return pool


CHOICES = st.builds(
    Selection,
    score=st.sampled_from(get_args(Score)),
    diversity=st.sampled_from(get_args(Diversity)),
    threshold_ev_per_ang=st.sampled_from([0.0, 0.3]),
    min_distance=st.sampled_from([0.0, 0.0, 1.2]),
)


def gap(one: Candidate, other: Candidate) -> float:
    """The distance of two candidates; infinite without a descriptor."""
    if one.features is None or other.features is None:
        return np.inf
    return float(np.linalg.norm(one.features - other.features))


def told(chosen: list[Candidate]) -> list[tuple]:
    return [(c.frame_id, c.walker, c.state, c.score, c.rank, c.reason) for c in chosen]


@hypothesis_settings(deadline=None)
@given(pool=pools(), choice=CHOICES, n=st.integers(0, 8), seed=st.integers(0, 99), data=st.data())
def test_laws_of_the_choice(pool, choice, n, seed, data):
    found = select(pool, choice, n, np.random.default_rng(seed))
    chosen = [c for c in found if c.state is CandidateState.SELECTED]
    # the order of the candidates does not matter; neither do the states that a first choice gave them
    shuffled = data.draw(st.permutations([*found, *(c for c in pool if c.origin is Origin.AUDIT)]))
    assert told(select(shuffled, choice, n, np.random.default_rng(seed))) == told(found)
    # every candidate that is not audited comes back once, with score and reason
    assert sorted(c.walker for c in found) == [c.walker for c in pool if c.origin is not Origin.AUDIT]
    assert all(np.isfinite(c.score) and c.score >= 0 and c.reason for c in found)
    assert {c.state for c in found} <= {CandidateState.SELECTED, CandidateState.REJECTED}
    # never two equal frames, none that is audited, none below the threshold, and as many as there are
    taken = [c.frame_id for c in chosen]
    audit = {c.frame_id for c in pool if c.origin is Origin.AUDIT}
    assert len(set(taken)) == len(taken)
    assert not audit & set(taken)
    threshold = choice.threshold_ev_per_ang
    assert all(c.uncertainty is None or c.uncertainty.force_sd_max >= threshold for c in chosen)
    assert [c.rank for c in found] == [*range(len(chosen)), *[None] * (len(found) - len(chosen))]
    # no two are nearer than what makes a near-duplicate, and none is so near to what is known
    others = [c for c in pool if c.origin is Origin.AUDIT]
    for c in chosen:
        assert c.distance is None or c.distance >= choice.min_distance
        assert all(gap(c, other) >= choice.min_distance for other in [*others, *chosen] if other is not c)
    if threshold == 0 and choice.min_distance == 0:
        assert len(chosen) == min(n, len({c.frame_id for c in found} - audit))


@given(
    places=st.lists(st.tuples(*[st.integers(-50, 50)] * 2), unique=True, min_size=1, max_size=12),
    known=st.sets(st.integers(0, 11)),
    scores=st.lists(st.floats(0.1, 5) | ODD, min_size=12, max_size=12),
)
def test_duplicates_of_the_training_set_are_chosen_last(places, known, scores):
    duplicates = {k for k in known if k < len(places)}
    pool = [
        candidate(str(k), scores[k], at, 0.0 if k in duplicates else 0.5 + k) for k, at in enumerate(places)
    ]
    order = select(pool, Selection(min_distance=0), 12, np.random.default_rng(0))
    assert {int(c.frame_id) for c in order[len(places) - len(duplicates) :]} == duplicates
    by_default = select(pool, Selection(), 12, np.random.default_rng(0))
    never = {int(c.frame_id): c.reason for c in by_default if c.state is CandidateState.REJECTED}
    near = "near-duplicate: less than 0.05 from a known or chosen frame"
    assert never == dict.fromkeys(duplicates, near)


@st.composite
def known_pools(draw) -> tuple[list[Candidate], np.ndarray]:
    """Candidates, each with its nearest of some known frames, in the plane."""
    place = st.tuples(*[st.floats(-5, 5, width=32)] * 2)
    at, known = (np.array(draw(st.lists(place, min_size=1, max_size=m, unique=True))) for m in (14, 5))
    table = np.linalg.norm(at[:, None] - known[None], axis=2)
    pool = [
        replace(candidate(f"{k:02}", 1.0, tuple(at[k]), table[k].min()), nearest=f"n{table[k].argmin()}")
        for k in range(len(at))
    ]
    return pool, known


def by_hand(pool: list[Candidate], known: np.ndarray, n: int, *, clusters: bool) -> list[float]:
    """Distances of the picks of farthest point or LCMD, everything anew at each pick."""
    centers, left, found = list(known), [c.features.astype(float) for c in pool], []
    while left and len(found) < n:
        table = np.array([[np.linalg.norm(at - center) for center in centers] for at in left])
        far, own = table.min(axis=1), table.argmin(axis=1)
        sizes = [(far[own == k] ** 2).sum() if (own == k).any() else -1 for k in range(len(centers))]
        among = np.flatnonzero(own == int(np.argmax(sizes))) if clusters else np.arange(len(left))
        row = int(among[far[among].argmax()])
        found.append(float(far[row]))
        centers.append(left.pop(row))
    return found


@hypothesis_settings(deadline=None)
@given(both=known_pools(), n=st.integers(1, 14), diversity=st.sampled_from(["farthest", "lcmd"]))
def test_farthest_point_and_largest_cluster_as_written_anew(both, n, diversity):
    pool, known = both
    settings = Selection(diversity=diversity, min_distance=0)
    found = select(pool, settings, n, np.random.default_rng(0))[: min(n, len(pool))]
    wanted = by_hand(pool, known, n, clusters=diversity == "lcmd")
    # where two are equally far the order may differ, and with it what follows
    has_ties = len(set(np.round(wanted, 5))) < len(wanted)
    assert has_ties or [c.score for c in found] == pytest.approx(wanted, abs=1e-5)


def test_the_largest_cluster_is_that_of_many_and_not_that_of_the_farthest():
    # Five frames 1 from the known frame "p" (size 5), one frame 2 from "q" (size 4).
    crowd = [
        replace(candidate(f"a{k}", 1.0, (np.cos(k), np.sin(k)), 1.0 + 0.01 * (k == 3)), nearest="p")
        for k in range(5)
    ]
    lonely = replace(candidate("b", 9.0, (20, 0), 2.0), nearest="q")
    rng = np.random.default_rng(0)
    first = {
        diversity: select([*crowd, lonely], Selection(diversity=diversity), 1, rng)[0]
        for diversity in get_args(Diversity)
    }
    assert {diversity: c.frame_id for diversity, c in first.items()} == {
        "distance": "b", "none": "b", "farthest": "b", "lcmd": "a3",
    }  # fmt: skip
    assert first["lcmd"].reason == "rank 0: in the largest cluster, 1 from the nearest known frame"
    assert first["farthest"].reason == "rank 0: 2 from the nearest known frame"
    assert first["farthest"].score == 2.0


def test_a_batch_chosen_by_hand():
    # The training set is at the origin.
    pool = [
        candidate("a", 3.0, (0, -2), 2.0),  # merit 6: first
        candidate("h", 2.8, (0, -2.1), 2.1),  # 5.88 alone, but 0.1 from "a": 0.28
        candidate("b", 2.9, (2.1, 0), 2.1),  # 6.09 alone, but 0.1 from the audited frame: 0.29
        candidate("c", 1.0, (0, 3), 3.0),  # 3: second
        candidate("d", 9.0, (0.1, 0), 0.1),  # 0.9: very uncertain, but known: third
        candidate("e", 8.0, (1, 1), 1.4, force_sd=0.01),  # below the threshold
        audited(candidate("f", 5.0, (2.1, 0.1), 2.1)),
        audited(candidate("g", 5.0, (9, 9), 9.0)),
        candidate("g", 5.0, (9, 9), 9.0),
        replace(candidate("c", 1.0, (0, 3), 3.0), walker=1),
    ]
    settings = Selection(threshold_ev_per_ang=0.05)
    found = {(c.frame_id, c.walker): c for c in select(pool, settings, 3, np.random.default_rng(0))}
    assert {key: c.reason for key, c in found.items()} == {
        ("a", 0): "rank 0: information 3 nats, 2 from the nearest known frame",
        ("c", 0): "rank 1: information 1 nats, 3 from the nearest known frame",
        ("d", 0): "rank 2: information 9 nats, 0.1 from the nearest known frame",
        ("h", 0): "not needed: budget of 3 spent",
        ("b", 0): "not needed: budget of 3 spent",
        ("e", 0): "force sd 0.01 eV/Å: below the threshold of 0.05 eV/Å",
        ("g", 0): "duplicate of an audit frame",
        ("c", 1): "duplicate of another candidate",
    }
    assert [found[key].rank for key in (("a", 0), ("c", 0), ("d", 0), ("b", 0))] == [0, 1, 2, None]
    assert found["c", 0].score == 3.0


def test_the_reason_names_the_score_and_what_it_was_compared_with():
    pool = [replace(candidate("a", 1.5, (0,), 1.0), distance=None)]
    rng = np.random.default_rng(0)
    words = {
        (score, diversity): select(pool, Selection(score=score, diversity=diversity), 1, rng)[0].reason
        for score, diversity in (
            ("information", "distance"),
            ("force_sd", "none"),
            ("force_sd_epistemic", "none"),
            ("energy_sd_aleatoric", "none"),
            ("random", "none"),
        )
    }
    assert words == {
        ("information", "distance"): "rank 0: information 1.5 nats, no known frame to compare with",
        ("force_sd", "none"): "rank 0: force sd 1 eV/Å",
        ("force_sd_epistemic", "none"): "rank 0: epistemic force sd 0.3 eV/Å",
        ("energy_sd_aleatoric", "none"): "rank 0: aleatoric energy sd 0.7 eV",
        ("random", "none"): "rank 0: drawn at random",
    }


def test_without_diversity_the_largest_scores_are_chosen_and_random_ones_differ_by_seed():
    rng = np.random.default_rng(0)
    pool = [candidate(f"{k:03}", float(s), (0.1 * k,), 1.0) for k, s in enumerate(rng.permutation(100))]
    best = select(pool, Selection(score="energy_sd", diversity="none"), 10, rng)[:10]
    assert [c.score for c in best] == list(range(99, 89, -1))
    draws = [
        tuple(c.frame_id for c in select(pool, Selection(score="random", diversity="none"), 10, g)[:10])
        for g in map(np.random.default_rng, range(5))
    ]
    assert len(set(draws)) == 5
