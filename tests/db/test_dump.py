"""The dump is equal for equal content, and verify finds what is not whole."""

import random
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from stored_campaign import NAME, frame_of, label_of, run_campaign

from al_engine.errors import InputError
from db.dump import canonical_dump
from db.store import Store
from db.verify import verify

TRIGGERS = ("frames", "labels", "models", "generations")


def shuffled(frames: list) -> list:  # type: ignore[type-arg]
    return random.Random(3).sample(frames, len(frames))


def test_the_same_content_in_another_order_and_database(whole: Store, sqlite_store: Store) -> None:
    other = frame_of(5)
    if NAME not in sqlite_store.campaign_names():
        sqlite_store.import_labels(None, [(other, label_of(other))])
        run_campaign(sqlite_store, 1, name="another")
        run_campaign(sqlite_store, 2, order=shuffled)
    dump = canonical_dump(whole, NAME)
    assert dump == canonical_dump(sqlite_store, NAME)
    tables = [line.split('"')[1] for line in dump.splitlines()]
    assert set(tables) == {
        "audit_draws", "campaign", "candidates", "frames", "generations", "label_failures", "labels",
        "metrics", "models", "stop_criteria", "stop_decisions", "training_sets", "walkers",
    }  # fmt: skip
    assert verify(whole, NAME) == verify(sqlite_store, NAME) == []


def test_one_bit_more_is_another_dump(whole: Store) -> None:
    before = canonical_dump(whole, NAME)
    other = float(np.nextafter(first_energy(whole), 0))
    damage(whole, "labels", "UPDATE labels SET energy_ev = :other WHERE id = 1", other=other)
    assert canonical_dump(whole, NAME) != before


def first_energy(store: Store) -> float:
    with store.database.read() as connection:
        return float(connection.execute(sa.text("SELECT energy_ev FROM labels WHERE id = 1")).scalar_one())


def damage(store: Store, table: str, sql: str, **values: object) -> None:
    """Change what triggers protect, as a broken disk would."""
    with store.database.write() as connection:
        if table in TRIGGERS:
            for event in ("update", "delete"):
                on = "" if store.database.is_sqlite else f" ON {table}"
                connection.execute(sa.text(f"DROP TRIGGER IF EXISTS {table}_no_{event}{on}"))
        connection.execute(sa.text(sql), values)


SOME_FRAME = "id IN (SELECT frame_id FROM candidates ORDER BY frame_id LIMIT 1)"


@pytest.mark.parametrize(
    ("table", "sql", "words"),
    [
        ("frames", f"UPDATE frames SET charge = 1 WHERE {SOME_FRAME}", "its content has the id"),
        ("frames", f"UPDATE frames SET positions = :junk WHERE {SOME_FRAME}", "unreadable array"),
        ("frames", f"UPDATE frames SET n_atoms = 8 WHERE {SOME_FRAME}", "number of atoms"),
        ("formula_elements", "UPDATE formula_elements SET count = 5 WHERE z = 6", "elements of C2H6O"),
        ("labels", "UPDATE labels SET forces = :junk WHERE id = 2", "unreadable array"),
        ("labels", "UPDATE labels SET max_force_ev_per_ang = 0 WHERE id = 2", "largest force"),
        ("labels", "DELETE FROM labels WHERE id = 2", "is labeled without a label"),
        ("label_failures", "DELETE FROM label_failures", "failed without a reason"),
        ("candidates", "UPDATE candidates SET state = 'visited' WHERE id = 3", "is 'closed', its candidate"),
        ("candidates", "UPDATE candidates SET state = 'odd' WHERE id = 3", "candidate's state is unknown"),
        ("generations", "UPDATE generations SET state = 'odd' WHERE number = 1", "state is unknown"),
        ("generations", "UPDATE generations SET number = 7 WHERE number = 1", "not 0, 1, 2"),
        ("generations", "UPDATE generations SET n_candidates = 99 WHERE number = 1", "99 candidates"),
        ("models", "UPDATE models SET weights = :junk", "weights of the model"),
        ("models", "DELETE FROM models", "without a model"),
    ],
)
@pytest.mark.parametrize("whole", ["sqlite"], indirect=True)
def test_verify_finds(whole: Store, table: str, sql: str, words: str) -> None:
    damage(whole, table, sql, **({"junk": b"\x01\x02junk"} if ":junk" in sql else {}))
    problems = verify(whole, NAME)
    assert any(words in line for line in problems), problems
    assert len(problems) <= 13


def test_verify_finds_a_lost_parent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with Store.open(url) as store:
        run_campaign(store, 1)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER frames_no_delete")
        connection.exec_driver_sql(f"DELETE FROM frames WHERE {SOME_FRAME}")
    engine.dispose()
    with Store.open(url) as store:
        assert any("refers to a row of frames" in line for line in verify(store, NAME))


def test_unknown_campaigns(sqlite_store: Store) -> None:
    for function in (canonical_dump, verify):
        with pytest.raises(InputError, match="no such campaign"):
            function(sqlite_store, "none")
