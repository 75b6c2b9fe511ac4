"""Campaigns go to another database bit by bit, whatever kind it is, what it holds, and when it is killed."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from conftest import Fresh
from killed import killed
from stored_campaign import LEVEL, NAME, begun, frame_of, label_of, run_campaign, run_generation

from al_engine.errors import DatabaseError, InputError
from al_engine.frames import Frame
from al_engine.records import Label
from db.dump import canonical_dump
from db.schema import Base
from db.store import Store
from db.training_states import keep
from db.transfer import transfer
from db.verify import verify
from db.withdrawals import withdraw

N_KILLS = 5
PAIRS = [("sqlite", "postgresql"), ("postgresql", "sqlite")]
OWN_KEYS = {"id", "campaign_id", "generation_id", "candidate_id", "label_id", "level_id"}


def fill(store: Store) -> None:
    """A row in every table: two campaigns, a conflict, a withdrawal, a lone label, a state of a training."""
    run_campaign(store, 2)
    run_campaign(store, 1, name="open")
    store.update_config("open", '{"seed": 1}')
    store.open_generation("open", 1)
    keep(store, "open", 1, bytes(range(256)))
    frame = store.labeled(NAME)[0].frame
    store.import_labels(None, [(frame, label_of(frame, shift=1.0)), (frame_of(5), label_of(frame_of(5)))])
    withdraw(store, store.labeled(NAME)[1].frame.frame_id, "wrong spin")


@contextmanager
def two(fresh: Fresh, kind: str, content: str, other: str) -> Iterator[tuple[Store, Store]]:
    """A source with some content, and a target with none."""
    with (
        fresh(kind, content) as url,
        fresh(other, "schema") as to,
        Store.open(url) as here,
        Store.open(to) as there,
    ):
        yield here, there


def content(store: Store) -> dict[str, list[str]]:
    """Every row of every table, without the keys that a database gives by itself."""
    found = {}
    with store.database.read() as connection:
        for table in (t for t in Base.metadata.sorted_tables if t.name != "leases"):
            columns = [c for c in table.c if c.name not in OWN_KEYS or table.name == "frames"]
            rows = connection.execute(sa.select(*columns)).all()
            found[table.name] = sorted(str([_exact(value) for value in row]) for row in rows)
    return found


def _exact(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_all_that_a_database_holds_arrives(kind: str, other: str, fresh: Fresh) -> None:
    with two(fresh, kind, "schema", other) as (here, there):
        fill(here)
        done = list(transfer(here, there))
        assert [(d.campaign, d.is_new) for d in done] == [(NAME, True), ("open", True)]
        assert [d.n_lines for d in done] == [canonical_dump(here, d.campaign).count("\n") for d in done]
        before = content(here)
        assert all(before.values()), "each table has a row"
        assert content(there) == before
        for name in (NAME, "open"):
            assert canonical_dump(there, name) == canonical_dump(here, name)
            assert verify(there, name) == []
        again = list(transfer(here, there))
        assert [(d.campaign, d.is_new, d.n_rows) for d in again] == [(NAME, False, 0), ("open", False, 0)]
        assert content(there) == before
        run_generation(there, 2)  # its keys go on after those that were copied
        assert verify(there, NAME) == []


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_it_goes_beside_what_is_there(kind: str, other: str, fresh: Fresh) -> None:
    with two(fresh, kind, "campaign", other) as (here, there):
        run_campaign(there, 1, name="mine")
        mine = canonical_dump(there, "mine")
        (done,) = transfer(here, there)
        assert done.is_new
        assert there.campaign_names() == ["mine", NAME]
        assert canonical_dump(there, "mine") == mine
        assert canonical_dump(there, NAME) == canonical_dump(here, NAME)
        assert verify(there, NAME) == verify(there, "mine") == []


def test_another_campaign_of_the_same_name_is_refused(whole: Store, fresh: Fresh) -> None:
    with fresh("sqlite", "schema") as to, Store.open(to) as there:
        begun(there)
        before = content(there)
        with pytest.raises(InputError, match="holds another one of this name"):
            list(transfer(whole, there))
        assert content(there) == before


def test_another_label_of_the_same_frame_is_refused(whole: Store, fresh: Fresh) -> None:
    frame = whole.labeled(NAME)[0].frame
    with fresh("sqlite", "schema") as to, Store.open(to) as there:
        there.import_labels(None, [(frame, label_of(frame, shift=1.0))])
        with pytest.raises(InputError, match="other labels of its frames"):
            list(transfer(whole, there))
        assert there.campaign_names() == []


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_a_copy_that_is_killed_goes_on(kind: str, other: str, fresh: Fresh) -> None:
    with fresh(kind, "schema") as url, fresh(other, "schema") as first, fresh(other, "schema") as to:
        with Store.open(url) as here:
            fill(here)
            expected = content(here)
        left = killed("copy", 1, url, first, *[to] * N_KILLS)
        assert len(left) == N_KILLS
        assert set(left) != {"whole"}
        with Store.open(url) as here, Store.open(to) as there:
            names = there.campaign_names()
            done = list(transfer(here, there))
            assert {d.campaign: d.is_new for d in done} == {n: n not in names for n in (NAME, "open")}
            assert content(there) == expected


def test_it_is_streamed(fresh: Fresh) -> None:
    rng = np.random.default_rng(0)
    frames = [Frame(np.full(500, 29), rng.normal(size=(500, 3))) for _ in range(800)]
    with two(fresh, "sqlite", "schema", "sqlite") as (here, there):
        here.import_labels(None, [(f, Label(f.frame_id, LEVEL, 0.0, f.positions)) for f in frames])
        n_bytes = sum(2 * frame.positions.nbytes for frame in frames)
        del frames
        tracemalloc.start()
        list(transfer(here, there))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert content(there)["labels"] == content(here)["labels"]
    assert peak < n_bytes / 2


def test_a_damaged_row_is_one_line(fresh: Fresh) -> None:
    with two(fresh, "sqlite", "campaign", "sqlite") as (here, there):
        with here.database.write() as connection:
            connection.execute(sa.text("DROP TRIGGER labels_no_update"))
            connection.execute(sa.text("UPDATE labels SET forces = x'00' WHERE id = 2"))
        with pytest.raises(DatabaseError, match="a row of labels is damaged"):
            list(transfer(here, there))
