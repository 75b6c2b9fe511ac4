"""A choice that was made, made again: the same with the settings of then, and by hand with others."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_campaign import config

from al_engine.config import Budget, CampaignConfig, Diversity, Score, Selection
from al_engine.lifecycle import CandidateState
from al_engine.records import AuditDraw, Candidate, Origin, Uncertainty
from al_engine.stages.replay import Replay, replay_stage, with_settings
from al_engine.stages.select import select_stage

_C = CandidateState
N_SMALL = 2


def candidate(name: str, at: tuple[float, float], force_sd: float, origin: Origin, state: _C) -> Candidate:
    """A candidate at a place in the plane, around a training frame at the origin."""
    sds = Uncertainty(force_sd, force_sd / 2, 0, force_sd, 0, force_sd / 3, 0, force_sd)
    return Candidate(
        name, origin, state, walker=0, step=0, uncertainty=sds, features=np.array(at, dtype=np.float32),
        distance=float(np.hypot(*at)), nearest="n", reason="drawn" if origin is Origin.AUDIT else "",
    )  # fmt: skip


@st.composite
def visited(draw) -> tuple[list[Candidate], list[AuditDraw]]:
    """What an exploration leaves: visited frames, a small audit, and mostly a confirming one."""
    names = [f"f{k:02}" for k in draw(st.permutations(range(draw(st.integers(0, 14)))))]
    n_confirming = draw(st.integers(0, 4))
    places = st.tuples(*[st.integers(-3, 3)] * 2)
    found, draws = [], []
    for k, name in enumerate(names):
        origin, state = Origin.SELECTED, _C.VISITED
        if k < N_SMALL + n_confirming:
            origin, state = Origin.AUDIT, _C.AUDIT if k < N_SMALL else _C.VISITED
            draws.append(AuditDraw(k, 0, k, name))
        found.append(candidate(name, draw(places), draw(st.floats(0, 2)), origin, state))
    return found, draws


def ended(found: list[Candidate], decided: list[Candidate], data: st.DataObject) -> list[Candidate]:
    """The candidates of the generation when it is closed, by frame id."""
    by_id = {c.frame_id: c for c in [*found, *decided]}
    confirms = data.draw(st.booleans())

    def end(c: Candidate) -> Candidate:
        if c.state is _C.VISITED and not confirms:
            return replace(c, state=_C.REJECTED, reason="confirming audit not labeled")
        labeled = _C.LABELED if data.draw(st.booleans()) else _C.FAILED
        return c if c.state is _C.REJECTED else replace(c, state=labeled)

    return sorted(map(end, by_id.values()), key=lambda c: c.frame_id)


SETTINGS = st.builds(
    Selection,
    n_frames=st.integers(0, 6),
    score=st.sampled_from(get_args(Score)),
    diversity=st.sampled_from(get_args(Diversity)),
    threshold_ev_per_ang=st.sampled_from([0.0, 0.5]),
    min_distance=st.sampled_from([0.0, 1.2]),
)


@settings(deadline=None)
@given(
    found=visited(), selection=SETTINGS, labels=st.none() | st.integers(1, 20), seed=st.integers(0, 99),
    data=st.data(),
)  # fmt: skip
def test_with_the_settings_of_then_it_is_the_choice_of_then(found, selection, labels, seed, data):
    candidates, draws = found
    then = config(selection=selection, budget=Budget(labels=labels), audit={"n_frames": N_SMALL}, seed=seed)
    decided = select_stage(then, 3, candidates, 10)
    closed = ended(candidates, decided, data)
    again = replay_stage(then, 3, closed, draws, 10)
    assert [replace(c, features=None) for c in again.candidates] == [
        replace(c, features=None) for c in decided
    ]
    assert again.chosen == again.chosen_then == again.kept
    assert again.new == again.dropped == ()
    same = with_settings(then, selection.threshold_ev_per_ang, selection.n_frames)
    assert replay_stage(same, 3, closed, draws, 10).chosen == again.chosen
    # other settings: kept and new are what would be chosen, kept and dropped what was
    threshold, n = data.draw(st.floats(0, 2)), data.draw(st.integers(0, 8))
    other = replay_stage(with_settings(then, threshold, n), 3, closed, draws, 10)
    assert {*other.kept, *other.new} == set(other.chosen)
    assert {*other.kept, *other.dropped} == set(other.chosen_then) == set(again.chosen_then)
    assert not set(other.new) & set(other.chosen_then)
    assert not set(other.dropped) & set(other.chosen)
    assert len(other.chosen) <= n
    sds = {c.frame_id: c.uncertainty.force_sd_max for c in candidates}
    assert all(sds[frame_id] >= threshold for frame_id in other.chosen)


def by_hand(then: CampaignConfig, threshold: float | None, n: int | None) -> Replay:
    """Replay of a generation that chose a and b; the merit is force sd times distance."""
    visited = (Origin.SELECTED, _C.REJECTED)
    closed = [
        candidate("a", (0, 4), 1.0, Origin.SELECTED, _C.LABELED),  # 4
        candidate("b", (3, 0), 1.0, Origin.SELECTED, _C.FAILED),  # 3
        candidate("c", (0, -1), 2.0, *visited),  # 2
        candidate("d", (-1, 0), 1.5, *visited),  # 1.5
        candidate("e", (9, 9), 9.0, Origin.AUDIT, _C.LABELED),
        candidate("f", (-9, 9), 9.0, Origin.AUDIT, _C.REJECTED),  # to confirm
    ]
    closed = [replace(c, rank={"a": 0, "b": 1}.get(c.frame_id)) for c in closed]
    draws = [AuditDraw(0, 0, 1, "e"), AuditDraw(1, 0, 2, None), AuditDraw(2, 0, 3, "f")]
    return replay_stage(with_settings(then, threshold, n), 1, closed, draws, 10)


@pytest.mark.parametrize(
    ("threshold", "n", "chosen", "new", "dropped"),
    [
        (None, None, "ab", "", ""),
        (0.0, 2, "ab", "", ""),
        (None, 3, "abc", "c", ""),
        (None, 1, "a", "", "b"),
        (None, 0, "", "", "ab"),
        (1.2, None, "cd", "cd", "ab"),
        (1.2, 1, "c", "c", "ab"),
        (9.5, 5, "", "", "ab"),
    ],
)
def test_other_settings_by_hand(threshold, n, chosen, new, dropped):
    then = config(selection={"n_frames": 2, "score": "force_sd"}, audit={"n_frames": N_SMALL})
    again = by_hand(then, threshold, n)
    assert ["".join(ids) for ids in (again.chosen, again.new, again.dropped)] == [chosen, new, dropped]
    assert again.kept == tuple(i for i in "ab" if i in chosen)
    told = again.to_json()
    assert told["chosen"] == list(chosen)
    assert [row["frame_id"] for row in told["candidates"] if row["status"] == "selected"] == list(chosen)
    assert {row["frame_id"] for row in told["candidates"]} == set("abcd")


@pytest.mark.parametrize(("labels", "chosen"), [(11, ""), (12, "a"), (13, "ab"), (99, "abcd")])
def test_the_budget_of_labels_holds_beside_the_small_audit(labels, chosen):
    # 10 labels and the one of the small audit that has a frame; a confirming audit comes after.
    then = config(
        selection={"n_frames": 2, "score": "force_sd"}, audit={"n_frames": N_SMALL}, budget={"labels": labels}
    )
    assert "".join(by_hand(then, None, 5).chosen) == chosen
