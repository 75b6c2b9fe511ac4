"""A label is written once; what comes again is recognized, what differs is kept beside it."""

import dataclasses

import numpy as np
import pytest
import sqlalchemy as sa
from stored_campaign import (
    COST,
    NAME,
    STOP,
    begun,
    candidate_of,
    chosen,
    exploration_of,
    failure_of,
    frame_of,
    initial_frames,
    label_of,
    model_of,
    run_campaign,
)

from al_engine.errors import InputError, StateError
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import Origin
from db.dump import canonical_dump
from db.labels import Recorded
from db.query import query
from db.results import record_all
from db.store import Store
from db.verify import verify


@pytest.fixture
def waiting(store: Store) -> list[Frame]:
    begun(store)
    frames = initial_frames()
    store.finish_initial(
        NAME, frames, [candidate_of(f, Origin.INITIAL, CandidateState.SELECTED) for f in frames], COST
    )
    return frames


def states(store: Store) -> dict[str, CandidateState]:
    return {c.frame_id: c.state for c in store.candidates(NAME, 0)}


def count(store: Store, table: str) -> int:
    with store.database.read() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_label_twice_is_one_label(store: Store, waiting: list[Frame]) -> None:
    label = label_of(waiting[0])
    assert store.record_result(NAME, 0, label) is Recorded.NEW
    assert store.record_result(NAME, 0, dataclasses.replace(label, seconds=9.0)) is Recorded.KNOWN
    assert count(store, "labels") == 1
    (labeled,) = store.labeled(NAME)
    assert labeled.label.energy == label.energy
    assert labeled.label.forces.tobytes() == label.forces.tobytes()
    assert (labeled.group, labeled.origin, labeled.generation) == (waiting[0].frame_id, Origin.INITIAL, 0)


def test_another_value_is_a_conflict_and_the_first_stays(store: Store, waiting: list[Frame]) -> None:
    label = label_of(waiting[0])
    other = dataclasses.replace(label, energy=float(np.nextafter(label.energy, 0)))
    store.record_result(NAME, 0, label)
    for _ in range(2):
        assert store.record_result(NAME, 0, other) is Recorded.CONFLICT
    assert store.labeled(NAME)[0].label.energy == label.energy
    assert count(store, "label_conflicts") == 1


def test_a_failure_is_kept_and_a_later_label_wins(store: Store, waiting: list[Frame]) -> None:
    frame = waiting[0]
    assert store.record_result(NAME, 0, failure_of(frame)) is Recorded.NEW
    assert store.record_result(NAME, 0, failure_of(frame)) is Recorded.KNOWN
    assert states(store)[frame.frame_id] is CandidateState.FAILED
    assert store.record_result(NAME, 0, label_of(frame)) is Recorded.NEW
    assert store.record_result(NAME, 0, failure_of(frame)) is Recorded.KNOWN
    assert states(store)[frame.frame_id] is CandidateState.LABELED


def test_results_that_come_together_are_stored_together_or_not_at_all(
    store: Store, waiting: list[Frame]
) -> None:
    first, second, third, _ = waiting
    wrong = dataclasses.replace(label_of(second), energy=float("nan"))
    with pytest.raises(InputError, match="not finite"):
        record_all(store.database, NAME, 0, [label_of(first), wrong])
    assert count(store, "labels") == 0
    assert set(states(store).values()) == {CandidateState.SELECTED}
    record_all(store.database, NAME, 0, [label_of(first), label_of(second), failure_of(third)])
    record_all(store.database, NAME, 0, [label_of(first)])
    assert count(store, "labels") == 2
    assert states(store)[third.frame_id] is CandidateState.FAILED


def test_results_that_nobody_asked_for_are_refused(store: Store, waiting: list[Frame]) -> None:
    with pytest.raises(StateError, match="no candidate of generation 0"):
        store.record_result(NAME, 0, label_of(frame_of(5)))
    with pytest.raises(StateError, match="level 'PBE' in a campaign of"):
        store.record_result(NAME, 0, label_of(waiting[0], level="PBE"))
    with pytest.raises(StateError, match="has no generation 3"):
        store.record_result(NAME, 3, label_of(waiting[0]))
    bad = label_of(waiting[0])
    for broken, words in (
        (dataclasses.replace(bad, energy=float("nan")), "not finite"),
        (dataclasses.replace(bad, forces=bad.forces[:2]), r"must be \(9, 3\)"),
        (dataclasses.replace(bad, stress=np.zeros(6)), "stress"),
    ):
        with pytest.raises(InputError, match=words):
            store.record_result(NAME, 0, broken)
    assert count(store, "labels") == 0
    assert set(states(store).values()) == {CandidateState.SELECTED}


def test_import_stores_each_once(store: Store) -> None:
    frames = [frame_of(i) for i in range(3)]
    entries = [(f, label_of(f)) for f in frames]
    assert store.import_labels(None, entries[:2]) == (2, 0, 0)
    assert store.import_labels(None, [*entries, entries[2]]) == (1, 3, 0)
    begun(store)
    assert store.import_labels(NAME, entries) == (0, 3, 0)
    assert store.import_labels(NAME, []) == (0, 0, 0)
    labeled = store.labeled(NAME)
    assert [item.frame.frame_id for item in labeled] == sorted(f.frame_id for f in frames)
    assert {item.origin for item in labeled} == {Origin.IMPORTED}
    other = [(f, label_of(f, level="PBE")) for f in frames]
    with pytest.raises(InputError, match="level of theory = 'PBE'"):
        store.import_labels(NAME, other)
    assert count(store, "labels") == 3


def test_an_import_tells_other_values_from_known_ones(store: Store) -> None:
    frames = [frame_of(i) for i in range(3)]
    entries = [(f, label_of(f)) for f in frames]
    store.import_labels(None, entries[:2])
    entries[0] = (frames[0], label_of(frames[0], shift=0.5))
    assert store.import_labels(None, entries) == (1, 1, 1)


def test_a_campaign_that_gets_its_own_export_stays_what_it_is(whole: Store) -> None:
    before, dump = whole.labeled(NAME), canonical_dump(whole, NAME)
    assert {item.origin for item in before} == {Origin.INITIAL, Origin.SELECTED, Origin.AUDIT}
    assert whole.import_labels(NAME, [(i.frame, i.label) for i in before]) == (0, len(before), 0)
    assert canonical_dump(whole, NAME) == dump
    audits = {i.frame.frame_id for i in before if i.origin is Origin.AUDIT}
    assert not audits & {i.frame.frame_id for i in whole.labeled(NAME, before=1)}
    rows = query(whole, "", NAME)
    assert sorted(row.frame_id for row in rows) == [i.frame.frame_id for i in whole.labeled(NAME)]


def test_an_import_does_not_take_frames_from_a_running_generation(whole: Store) -> None:
    """Before selection, while labeling, and between labeling and close: audits stay audits, with labels."""
    whole.open_generation(NAME, 2)
    whole.finish_training(NAME, 2, model_of(whole, 2), [], COST)
    frames, walkers, draws, found = exploration_of(2)
    early = next(c for c in found if c.state is CandidateState.VISITED).frame_id
    audit = draws[0].frame_id
    by_id = {frame.frame_id: frame for frame in frames}

    def import_one(frame_id: str | None) -> None:
        frame = by_id[str(frame_id)]
        whole.import_labels(NAME, [(frame, label_of(frame))])

    whole.finish_exploration(NAME, 2, frames, walkers, draws, found, COST)
    import_one(early)
    import_one(audit)
    whole.finish_selection(NAME, 2, chosen(whole, 2), COST)
    waiting = whole.unlabeled_ids(NAME, 2)
    assert not {early, audit} & set(waiting)
    import_one(waiting[0])
    assert whole.unlabeled_ids(NAME, 2) == waiting[1:]
    for frame in whole.frames(waiting):
        whole.record_result(NAME, 2, label_of(frame))
    whole.finish_labeling(NAME, 2, COST)
    labeled = {i.frame.frame_id: i for i in whole.labeled(NAME)}
    for frame_id in by_id:
        import_one(frame_id)
    after = {i.frame.frame_id: i for i in whole.labeled(NAME)}
    own = {f for f, c in labeled.items() if c.generation == 2}
    assert own == {c.frame_id for c in whole.candidates(NAME, 2) if c.state is CandidateState.LABELED}
    for frame_id, item in labeled.items():
        assert (after[frame_id].generation, after[frame_id].origin) == (item.generation, item.origin)
    assert after[str(audit)].origin is Origin.AUDIT
    rejected = [c.frame_id for c in whole.candidates(NAME, 2) if c.state is CandidateState.REJECTED]
    assert {after[frame_id].origin for frame_id in rejected} == {Origin.IMPORTED}
    assert whole.close_generation(NAME, 2, [], STOP, COST)
    assert verify(whole, NAME) == []


def test_a_failed_candidate_takes_an_imported_label(whole: Store) -> None:
    failed = [
        (number, c) for number in (0, 1) for c in whole.candidates(NAME, number)
        if c.state is CandidateState.FAILED
    ]  # fmt: skip
    assert [number for number, _ in failed] == [0, 1]
    frames = whole.frames([c.frame_id for _, c in failed])
    assert whole.import_labels(NAME, [(f, label_of(f)) for f in frames]) == (2, 0, 0)
    labeled = {i.frame.frame_id: (i.generation, i.origin) for i in whole.labeled(NAME)}
    for number, candidate in failed:
        assert labeled[candidate.frame_id] == (number, candidate.origin)
    assert not any(c.origin is Origin.IMPORTED for c in whole.candidates(NAME, 0))
    assert verify(whole, NAME) == []


def test_a_known_label_is_not_computed_again(store: Store) -> None:
    frames = initial_frames()
    store.import_labels(None, [(frames[0], label_of(frames[0]))])
    begun(store)
    store.finish_initial(
        NAME, frames, [candidate_of(f, Origin.INITIAL, CandidateState.SELECTED) for f in frames], COST
    )
    assert frames[0].frame_id not in store.unlabeled_ids(NAME, 0)
    assert store.labeled(NAME)[0].origin is Origin.INITIAL


def test_labels_of_earlier_generations_only(store: Store) -> None:
    run_campaign(store, 2)
    before = store.labeled(NAME, before=1)
    assert {item.generation for item in before} == {0}
    later = [item for item in store.labeled(NAME) if item.generation == 1]
    assert {item.group for item in later} <= {"g1w0", "g1w1"}
    assert len(before) + len(later) == len(store.labeled(NAME))


def test_unknown_frames_are_named(store: Store) -> None:
    with pytest.raises(InputError, match="no such frame"):
        store.frames(["ab" * 32])
    with pytest.raises(InputError, match=r"^frame id = 'xy': a frame id has 64 hexadecimal digits"):
        store.frames(["xy"])
