"""A generation goes its way once: each arrow is one transaction, and a late double changes nothing."""

import dataclasses

import numpy as np
import pytest
from stored_campaign import (
    COST,
    NAME,
    STOP,
    begun,
    candidate_of,
    chosen,
    exploration_of,
    frame_of,
    initial_frames,
    label_all,
    label_of,
    metrics_of,
    model_of,
    run_campaign,
    run_generation,
)

from al_engine.errors import InputError, StateError
from al_engine.lifecycle import CandidateState, GenerationState
from al_engine.records import Metric, Origin
from db.dump import canonical_dump
from db.ledger import costs
from db.store import Store
from db.verify import verify


def same(a: object, b: object) -> bool:
    """Equal bit by bit, NaN and arrays included."""
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.tobytes() == b.tobytes()
            and a.shape == b.shape
        )
    if isinstance(a, float):
        return isinstance(b, float) and np.float64(a).tobytes() == np.float64(b).tobytes()
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)
        )
    return a == b


def test_records_come_back_bit_by_bit(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    model = model_of(store, 1)
    assert store.finish_training(NAME, 1, model, [], COST)
    stored = store.model(NAME, 1)
    assert stored is not None
    assert same(stored, dataclasses.replace(model, training_set=stored.training_set))
    assert sorted(model.training_set, key=lambda f: f.frame_id) == list(stored.training_set)
    frames, walkers, draws, candidates = exploration_of(1)
    candidates[0] = dataclasses.replace(candidates[0], nearest=frame_of(1).frame_id)
    assert store.finish_exploration(NAME, 1, frames, walkers, draws, candidates, COST)
    assert same(store.walkers(NAME, 1), walkers)
    assert store.audit_draws(NAME, 1) == draws
    assert same(store.candidates(NAME, 1), sorted(candidates, key=lambda c: c.frame_id))
    decided = chosen(store, 1)
    assert store.finish_selection(NAME, 1, decided, COST)
    audit = [c for c in candidates if c.origin is Origin.AUDIT]
    assert same(store.candidates(NAME, 1), sorted(decided + audit, key=lambda c: c.frame_id))
    label_all(store, 1)
    assert store.finish_labeling(NAME, 1, COST)
    assert store.close_generation(NAME, 1, metrics_of(1), STOP, COST)
    assert same(store.metrics(NAME, 1), sorted(metrics_of(1), key=lambda m: (m.split, m.quantity, m.name)))
    assert same(store.stop_decision(NAME, 1), STOP)
    assert costs(store, NAME)[1] == [COST] * 5
    assert store.frames([f.frame_id for f in frames]) == frames


def test_generation_0_goes_from_open_to_closed_without_a_model(store: Store) -> None:
    begun(store)
    with pytest.raises(StateError, match="generation 0 of 'ethanol' is 'open'; it must be 'selected'"):
        store.finish_labeling(NAME, 0, COST)
    run_generation(store, 0)
    generation = store.generation(NAME, 0)
    assert generation is not None
    assert generation.state is GenerationState.CLOSED
    assert (generation.n_candidates, generation.n_selected, generation.n_labeled, generation.n_failed) == (
        4,
        4,
        3,
        1,
    )
    assert (generation.energy_rmse_ev_per_atom, generation.force_mean_z2) == (None, None)
    assert store.model(NAME, 0) is None
    assert store.latest_generation(NAME) == generation


def test_every_finish_twice_is_once(store: Store) -> None:
    begun(store)
    frames = initial_frames()
    initial = [candidate_of(f, Origin.INITIAL, CandidateState.SELECTED) for f in frames]
    assert store.finish_initial(NAME, frames, initial, COST)
    assert not store.finish_initial(NAME, frames[:1], initial[:1], COST)
    label_all(store, 0)
    label_all(store, 0)
    for again in (False, True):
        assert store.finish_labeling(NAME, 0, COST) is not again
    for again in (False, True):
        assert store.close_generation(NAME, 0, [], STOP, COST) is not again
    assert store.open_generation(NAME, 1)
    assert not store.open_generation(NAME, 1)
    model = model_of(store, 1)
    explored = exploration_of(1)
    for again in (False, True):
        assert store.finish_training(NAME, 1, model, [], COST) is not again
    for again in (False, True):
        assert store.finish_exploration(NAME, 1, *explored, COST) is not again
    decided = chosen(store, 1)
    for again in (False, True):
        assert store.finish_selection(NAME, 1, decided, COST) is not again
    label_all(store, 1)
    store.finish_labeling(NAME, 1, COST)
    store.close_generation(NAME, 1, metrics_of(1), STOP, COST)
    before = canonical_dump(store, NAME)
    assert not store.finish_training(NAME, 1, model_of(store, 2), [], COST)
    assert not store.finish_labeling(NAME, 1, COST)
    assert canonical_dump(store, NAME) == before
    assert len(costs(store, NAME)[1]) == 5


def test_an_arrow_that_fails_leaves_nothing(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    frames, walkers, draws, candidates = exploration_of(1)
    stranger = candidate_of(frame_of(7), Origin.SELECTED, CandidateState.VISITED)
    with pytest.raises(InputError):
        store.finish_exploration(NAME, 1, frames, walkers, draws, [*candidates, stranger], COST)
    assert store.candidates(NAME, 1) == []
    assert store.walkers(NAME, 1) == []
    generation = store.generation(NAME, 1)
    assert generation is not None
    assert generation.state is GenerationState.TRAINED


def test_a_generation_in_progress_is_counted(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    store.finish_exploration(NAME, 1, *exploration_of(1), COST)
    store.finish_selection(NAME, 1, chosen(store, 1), COST)
    first = store.frames(store.unlabeled_ids(NAME, 1)[:1])[0]
    store.record_result(NAME, 1, label_of(first))
    g = store.generation(NAME, 1)
    assert g is not None
    assert (g.n_walkers, g.n_candidates, g.n_selected, g.n_labeled, g.n_failed) == (2, 7, 4, 1, 0)
    assert (g.seconds_training, g.seconds_exploring, g.seconds_labeling) == (1.5, 1.5, 0.0)
    assert g.closed_at is None


def test_labeling_is_not_finished_while_a_frame_waits(store: Store) -> None:
    begun(store)
    frames = initial_frames(2)
    store.finish_initial(
        NAME, frames, [candidate_of(f, Origin.INITIAL, CandidateState.SELECTED) for f in frames], COST
    )
    store.record_result(NAME, 0, label_of(frames[0]))
    with pytest.raises(StateError, match="1 frames without a label"):
        store.finish_labeling(NAME, 0, COST)
    assert store.unlabeled_ids(NAME, 0) == [frames[1].frame_id]


def with_confirming(store: Store) -> list[str]:
    """Generation 1 up to SELECTED, the small audit labeled and two frames of a confirming one undecided."""
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    frames, walkers, draws, candidates = exploration_of(1)
    more = [frame_of(1100 + k) for k in range(2)]
    waiting = [candidate_of(f, Origin.AUDIT, CandidateState.VISITED, walker=1, step=3) for f in more]
    ceiling = Metric("exploration", "forces.system_0", "sd_ceiling_ev_per_ang", 0.5)
    store.finish_exploration(
        NAME, 1, [*frames, *more], walkers, draws, [*candidates, *waiting], COST, [ceiling]
    )
    assert store.metrics(NAME, 1) == [ceiling]
    undecided = sorted(f.frame_id for f in more)
    assert store.unlabeled_ids(NAME, 1, undecided=True) == undecided
    assert not store.decide_confirming(NAME, 1)  # not before the selection
    visited = [c for c in chosen(store, 1) if c.origin is not Origin.AUDIT]
    assert store.finish_selection(NAME, 1, visited, COST)
    label_all(store, 1)
    with pytest.raises(StateError, match="2 frames without a label"):
        store.finish_labeling(NAME, 1, COST)
    assert verify(store, NAME) == []
    return undecided


def states_of(store: Store, ids: list[str]) -> list[tuple[CandidateState, str]]:
    return [(c.state, c.reason) for c in store.candidates(NAME, 1) if c.frame_id in ids]


def test_a_confirming_audit_that_is_wanted_is_labeled_and_those_with_a_label_have_it(store: Store) -> None:
    undecided = with_confirming(store)
    known = store.frames(undecided[:1])[0]
    store.import_labels(None, [(known, label_of(known))])
    for again in (False, True):
        assert store.decide_confirming(NAME, 1) is not again
    assert store.unlabeled_ids(NAME, 1) == undecided[1:]
    assert store.unlabeled_ids(NAME, 1, undecided=True) == []
    store.record_result(NAME, 1, label_of(store.frames(undecided[1:])[0]))
    assert store.finish_labeling(NAME, 1, COST)
    assert states_of(store, undecided) == [(CandidateState.LABELED, "")] * 2
    assert {i.origin for i in store.labeled(NAME) if i.frame.frame_id in undecided} == {Origin.AUDIT}
    assert verify(store, NAME) == []


def test_a_confirming_audit_that_is_not_wanted_is_rejected_with_the_reason(store: Store) -> None:
    undecided = with_confirming(store)
    assert store.decide_confirming(NAME, 1, "too dear")
    assert not store.decide_confirming(NAME, 1)  # what is decided stays
    assert states_of(store, undecided) == [(CandidateState.REJECTED, "too dear")] * 2
    assert store.finish_labeling(NAME, 1, COST)
    assert store.close_generation(NAME, 1, [], STOP, COST)
    assert list(store.stop_decisions(NAME)) == [0, 1]
    assert same(store.stop_decisions(NAME)[1], STOP)
    assert verify(store, NAME) == []


def test_generations_open_in_order_and_abort_with_a_reason(store: Store) -> None:
    begun(store)
    with pytest.raises(StateError, match="generation 1 of 'ethanol' cannot open: the one before is 'open'"):
        store.open_generation(NAME, 1)
    assert store.abort_generation(NAME, 0, "the user said so")
    assert not store.abort_generation(NAME, 0, "again")
    with pytest.raises(StateError):
        store.finish_initial(NAME, [], [], COST)
    assert store.open_generation(NAME, 1)
    run_campaign(store, 1, name="other")
    with pytest.raises(StateError, match="cannot go from 'closed' to 'aborted'"):
        store.abort_generation("other", 0, "too late")


def test_a_decision_is_needed_for_each_visited_candidate(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    store.finish_exploration(NAME, 1, *exploration_of(1), COST)
    with pytest.raises(StateError, match="1 candidates visited but not decided"):
        store.finish_selection(NAME, 1, chosen(store, 1)[1:], COST)


def test_the_audit_keeps_a_frame_that_was_also_visited(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    frames, walkers, draws, candidates = exploration_of(1)
    both = candidate_of(frames[6], Origin.SELECTED, CandidateState.VISITED, walker=0, step=7)
    store.finish_exploration(NAME, 1, frames, walkers, draws, [both, *candidates], COST)
    kept = {c.frame_id: c.state for c in store.candidates(NAME, 1)}
    assert kept[both.frame_id] is CandidateState.AUDIT
    assert len(kept) == 7


def test_campaigns_are_created_once(store: Store) -> None:
    starts = begun(store)
    found = store.campaign(NAME)
    assert found is not None
    assert not store.create_campaign(found, starts)
    with pytest.raises(StateError, match="stored already"):
        store.create_campaign(dataclasses.replace(found, level_of_theory="PBE"), starts)
    store.update_config(NAME, '{"seed": 1}')
    changed = store.campaign(NAME)
    assert changed is not None
    assert changed.config == '{"seed": 1}'
    assert store.campaign_names() == [NAME]
    assert store.campaign("none") is None
    with pytest.raises(
        InputError, match="campaign = 'none': the database has no such campaign; it has ethanol"
    ):
        store.labeled("none")


def test_folds_never_change(store: Store) -> None:
    run_campaign(store, 2)
    store.open_generation(NAME, 2)
    model = model_of(store, 2)
    moved = [dataclasses.replace(f, fold=f.fold + 1) for f in model.training_set]
    with pytest.raises(StateError, match="fold of frame"):
        store.finish_training(NAME, 2, dataclasses.replace(model, training_set=tuple(moved)), [], COST)
    assert store.finish_training(NAME, 2, model, [], COST)
    assert store.folds(NAME) == {f.frame_id: f.fold for f in model.training_set}
