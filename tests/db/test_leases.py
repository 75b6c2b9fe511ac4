"""One driver at a time, by the database's clock; one whose place was taken writes nothing."""

import threading
import time
from functools import partial

import pytest
import sqlalchemy as sa
from stored_campaign import COST, NAME, begun, candidate_of, initial_frames, label_of

from al_engine.errors import DatabaseError, InputError, StateError
from al_engine.lifecycle import CandidateState
from al_engine.records import Origin
from db.dump import canonical_dump
from db.leases import Lease, check, give_back, renew, take
from db.store import Store

LONG, SHORT = 3600.0, 0.3


def alive(_holder: str) -> bool:
    return False


def held(store: Store, holder: str, seconds: float = LONG) -> Lease:
    lease = take(store, NAME, holder, seconds, alive)
    assert isinstance(lease, Lease)
    return lease


def test_only_one_holds_it_until_it_is_given_back(store: Store) -> None:
    begun(store)
    before = canonical_dump(store, NAME)
    first = held(store, "a:1")
    assert take(store, NAME, "b:2", LONG, alive) == "a:1"
    assert renew(store.database, first)
    give_back(store.database, first)
    second = held(store, "b:2")
    assert (first.after, second.after) == ("", "")
    assert second.token > first.token
    assert not renew(store.database, first)
    give_back(store.database, first)  # it is not the first one's to give
    assert take(store, NAME, "a:1", LONG, alive) == "b:2"
    assert canonical_dump(store, NAME) == before
    with pytest.raises(InputError, match="no such campaign"):
        take(store, "none", "a:1", LONG, alive)


def pass_by(store: Store, seconds: float) -> None:
    """Have the lease know less of the time that it had."""
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE leases SET expires_at = expires_at - :s"), {"s": seconds})


def test_it_runs_out_unless_it_is_renewed(store: Store) -> None:
    begun(store)
    lease = held(store, "a:1")
    for _ in range(2):
        pass_by(store, 0.9 * LONG)
        assert renew(store.database, lease)
        assert take(store, NAME, "b:2", LONG, alive) == "a:1"
    pass_by(store, 1.1 * LONG)
    assert held(store, "b:2").after == "a:1"


def test_that_of_a_dead_process_is_taken_at_once(store: Store) -> None:
    begun(store)
    held(store, "a:1")
    assert isinstance(take(store, NAME, "b:2", LONG, lambda holder: holder == "a:1"), Lease)


def test_who_lost_it_writes_nothing(store: Store, url: str) -> None:
    begun(store)
    frames = initial_frames()
    selected = [candidate_of(f, Origin.INITIAL, CandidateState.SELECTED) for f in frames]
    late = held(store, "a:1")
    store.database.guard = partial(check, lease=late)
    store.finish_initial(NAME, frames, selected, COST)
    pass_by(store, 1.1 * LONG)
    store.record_result(NAME, 0, label_of(frames[0]))  # its time is over, but its place was not taken
    with Store.open(url) as other:
        other.database.guard = partial(check, lease=held(other, "b:2"))
        before = canonical_dump(other, NAME)
        with pytest.raises(StateError, match="another one took its place"):
            store.record_result(NAME, 0, label_of(frames[1]))
        assert canonical_dump(other, NAME) == before
        other.record_result(NAME, 0, label_of(frames[1]))


def test_a_write_that_has_begun_is_waited_for(store: Store, url: str) -> None:
    begun(store)
    store.database.guard = partial(check, lease=held(store, "a:1"))
    order = []

    def take_over() -> None:
        with Store.open(url) as other:
            while not isinstance(take(other, NAME, "b:2", LONG, lambda _: True), Lease):
                pass
            order.append("taken")

    with store.database.write() as connection:
        rival = threading.Thread(target=take_over)
        rival.start()
        rival.join(SHORT / 2)
        connection.execute(sa.text("UPDATE campaigns SET environment = 'late'"))
        order.append("written")
    rival.join()
    assert order == ["written", "taken"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_driver_that_is_stopped_within_a_write_loses_it(store: Store, url: str) -> None:
    begun(store)
    store.database.guard = partial(check, lease=held(store, "a:1", SHORT))
    with pytest.raises(DatabaseError), store.database.write() as connection:  # noqa: PT012
        connection.execute(sa.text("UPDATE campaigns SET environment = 'late'"))
        time.sleep(2 * SHORT)
        with Store.open(url) as other:
            held(other, "b:2")
        connection.execute(sa.text("UPDATE campaigns SET environment = 'later'"))
    found = store.campaign(NAME)
    assert found is not None
    assert found.environment == "{}"
