"""A training that is under way has one state, and none when it has ended."""

import pytest
import sqlalchemy as sa
from stored_campaign import COST, NAME, model_of, run_campaign

from db.dump import canonical_dump
from db.store import Store
from db.training_states import keep, kept


def n_rows(store: Store) -> int:
    with store.database.read() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM training_states")).scalar_one())


def test_a_state_is_overwritten_and_goes_when_the_model_comes(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    assert kept(store, NAME, 1) is None
    before = canonical_dump(store, NAME)
    for state in (b"one", b"another", b"\x00" * 100_000):
        assert keep(store, NAME, 1, state)
        assert kept(store, NAME, 1) == state
    assert n_rows(store) == 1
    assert canonical_dump(store, NAME) == before
    assert store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    assert kept(store, NAME, 1) is None
    assert not keep(store, NAME, 1, b"of a driver that was slower")
    assert n_rows(store) == 0


def test_an_aborted_training_keeps_nothing(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    keep(store, NAME, 1, b"state")
    store.abort_generation(NAME, 1, "the user said so")
    assert n_rows(store) == 0
    assert not keep(store, NAME, 1, b"late")


def test_a_model_that_is_not_stored_leaves_the_state(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    keep(store, NAME, 1, b"state")

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("db.store.put_records", fails)  # after the model
    with pytest.raises(OSError, match="disk full"):
        store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    assert kept(store, NAME, 1) == b"state"
