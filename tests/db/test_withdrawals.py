"""A withdrawn label is where it was and is used no more; a failed one may be tried again."""

from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from stored_campaign import NAME, failure_of, frame_of, label_of, run_campaign, run_generation

from al_engine.errors import DatabaseError, InputError
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import FailureReason
from db.candidacies import candidacies
from db.dump import canonical_dump
from db.failures import failures, record_retry
from db.labels import Recorded
from db.query import query
from db.store import Store
from db.verify import verify
from db.withdrawals import withdraw


def test_a_withdrawn_label_is_out_of_all_that_comes_later(whole: Store) -> None:
    store, before = whole, canonical_dump(whole, NAME)
    trained_on, models = store.labeled(NAME), [store.model(NAME, g) for g in (0, 1)]
    frame = trained_on[0].frame
    done = withdraw(store, frame.frame_id, "wrong spin", NAME)
    assert (done.frame_id, done.reason, done.is_new) == (frame.frame_id, "wrong spin", True)
    left = {item.frame.frame_id for item in store.labeled(NAME)}
    assert left == {item.frame.frame_id for item in trained_on} - {frame.frame_id}
    assert verify(store, NAME) == []
    for number in (0, 1):
        assert str(store.model(NAME, number)) == str(models[number])
    assert candidacies(store, frame.frame_id)[0].withdrawn == "wrong spin"
    (row,) = query(store, "status=withdrawn", NAME)
    assert row.frame_id == frame.frame_id
    assert row.energy_ev == trained_on[0].label.energy
    assert {row.frame_id for row in query(store, "", NAME)} == left
    new = set(canonical_dump(store, NAME).splitlines()) - set(before.splitlines())
    assert set(before.splitlines()) < set(canonical_dump(store, NAME).splitlines())
    assert [line.split('"')[1] for line in new] == ["label_withdrawals"]
    run_generation(store, 2)
    model = store.model(NAME, 2)
    assert model is not None
    assert frame.frame_id not in {item.frame_id for item in model.training_set}
    assert verify(store, NAME) == []


def test_withdrawing_again_or_importing_changes_nothing(whole: Store) -> None:
    frame = whole.labeled(NAME)[0].frame
    withdraw(whole, frame.frame_id, "wrong spin")
    before = canonical_dump(whole, NAME)
    again = withdraw(whole, frame.frame_id[:9], "another reason")
    assert (again.frame_id, again.reason, again.is_new) == (frame.frame_id, "wrong spin", False)
    assert whole.import_labels(NAME, [(frame, label_of(frame))]) == (0, 1, 0)
    assert canonical_dump(whole, NAME) == before
    for sql in ("UPDATE label_withdrawals SET reason = 'none'", "DELETE FROM label_withdrawals"):
        with (
            pytest.raises(DatabaseError, match="a withdrawal is never changed"),
            whole.database.write() as connection,
        ):
            connection.execute(sa.text(sql))


def test_only_one_label_is_meant(whole: Store) -> None:
    frame = whole.labeled(NAME, before=1)[0].frame
    run_campaign(whole, 1, name="same level")
    whole.import_labels(None, [(frame, label_of(frame, level="PBE"))])
    alike = [Frame(np.array([1]), np.array([[x, 0.0, 0.0]])) for x in (2783, 7039)]
    whole.import_labels(None, [(frame, label_of(frame)) for frame in alike])
    for arguments, why in (
        (("0" * 64, "x"), "no such label"),
        ((alike[0].frame_id[:6], "x"), "several frames begin so"),
        (("", "x"), "the first 6 to 64 hexadecimal digits"),
        (("xyz", "x"), "the first 6 to 64 hexadecimal digits"),
        ((frame.frame_id, " "), "say why"),
        ((frame.frame_id, "x"), "it has labels at .* and .*; say --campaign"),
        ((frame.frame_id, "x", "none"), "no such campaign"),
    ):
        with pytest.raises(InputError, match=why):
            withdraw(whole, *arguments)
    withdraw(whole, frame.frame_id, "x", NAME)
    rows = query(whole, "status=withdrawn")
    assert {row.campaign for row in rows} == {NAME, "same level"}, "a label is wrong wherever it is used"
    lone = frame_of(77, [1])
    whole.import_labels(None, [(lone, label_of(lone))])
    withdraw(whole, lone.frame_id, "x")
    assert [row.frame_id for row in query(whole, "status=withdrawn,H=1,natoms=1")] == [lone.frame_id]


def test_a_try_again_is_counted_and_its_label_is_learned_from(whole: Store) -> None:
    store, closed = whole, whole.generations(NAME)
    waiting = failures(store, NAME)
    assert [(number, item.reason, item.attempts) for number, item in waiting] == [
        (0, FailureReason.SCF, 2),
        (1, FailureReason.SCF, 2),
    ]
    assert failures(store, NAME, before=1) == waiting[:1]
    with pytest.raises(InputError, match="no such campaign"):
        failures(store, "none")
    (frame,) = store.frames([waiting[1][1].frame_id])
    again = replace(failure_of(frame), reason=FailureReason.TIMEOUT, attempts=1)
    for _ in range(2):  # what comes twice is counted once
        record_retry(store, NAME, 1, waiting[1][1], again)
    first, (number, later) = failures(store, NAME)
    assert first == waiting[0]
    assert (number, later.frame_id, later.reason, later.attempts) == (
        1, frame.frame_id, FailureReason.TIMEOUT, 3,
    )  # fmt: skip
    for _ in range(2):
        record_retry(store, NAME, 1, later, label_of(frame))
    assert failures(store, NAME) == waiting[:1]
    assert frame.frame_id in {item.frame.frame_id for item in store.labeled(NAME, before=2)}
    states = {c.frame_id: c.state for c in store.candidates(NAME, 1)}
    assert states[frame.frame_id] is CandidateState.LABELED
    with store.database.read() as connection:
        rows = connection.execute(
            sa.text("SELECT reason, attempts FROM label_failures ORDER BY attempts")
        ).all()
    assert [tuple(row) for row in rows] == [("scf", 2), ("timeout", 3)], "the history stays"
    assert store.generations(NAME) == closed
    assert verify(store, NAME) == []
    assert store.record_result(NAME, 1, label_of(frame)) is Recorded.KNOWN
