"""A label is written once; what comes again is recognized, what differs is kept beside it."""

import dataclasses

import numpy as np
import pytest
import sqlalchemy as sa
from stored_campaign import (
    COST,
    NAME,
    begun,
    candidate_of,
    failure_of,
    frame_of,
    initial_frames,
    label_of,
    run_campaign,
)

from al_engine.errors import InputError, StateError
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import Origin
from db.labels import Recorded
from db.store import Store


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
    assert store.import_labels(None, entries[:2]) == (2, 0)
    assert store.import_labels(None, [*entries, entries[2]]) == (1, 3)
    begun(store)
    assert store.import_labels(NAME, entries) == (0, 3)
    assert store.import_labels(NAME, []) == (0, 0)
    labeled = store.labeled(NAME)
    assert [item.frame.frame_id for item in labeled] == sorted(f.frame_id for f in frames)
    assert {item.origin for item in labeled} == {Origin.IMPORTED}
    other = [(f, label_of(f, level="PBE")) for f in frames]
    with pytest.raises(InputError, match="level of theory = 'PBE'"):
        store.import_labels(NAME, other)
    assert count(store, "labels") == 3


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
