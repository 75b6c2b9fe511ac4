"""A database that does not answer is one line; no password is ever shown."""

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from al_engine.errors import DatabaseError
from db.engine import Database, masked, wal_is_safe
from db.store import Store

SECRET = "hu/nter2"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a database URL"),
        ("", "not a database URL"),
        (f"mysql://me:{SECRET}@host/db", "scheme 'mysql' is not supported"),
        (f"postgresql://me:{SECRET}@host:port/db", "not a database URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////no/such/folder/x.db", "there is no folder '/no/such/folder'"),
        (f"postgresql://me:{SECRET.replace('/', '%2F')}@127.0.0.1:PORT/db", "efused"),
        (f"postgresql://me@127.0.0.1:PORT/db?password={SECRET}", "efused"),
        (f"postgresql://127.0.0.1:PORT/db?user=me&password={SECRET}&sslmode=disable", "efused"),
        (f"postgresql://127.0.0.1:PORT/db?password={SECRET}&nonsense=1", "nonsense"),
    ],
)
def test_a_wrong_url_is_one_line_without_the_password(url: str, words: str) -> None:
    with pytest.raises(DatabaseError, match=words) as caught:
        Store.open(url.replace("PORT", str(closed_port())))
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    assert "hu%2Fnter2" not in text
    assert text.startswith("database = ")


def test_a_wrong_password_is_not_shown(postgres_server: str) -> None:
    user, place = postgres_server.rsplit("@", 1)
    wrong = user.split(":")[0] + ":" + "sesame"
    with pytest.raises(DatabaseError, match="password authentication failed") as caught:
        Store.open(f"postgresql://{wrong}@{place}/postgres")
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database, but long enough to be taken for one " * 50)
    with pytest.raises(DatabaseError, match="file is not a database"):
        Store.open(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="unable to open database file"):
        Store.open(f"sqlite:///{tmp_path}")


def test_a_missing_driver_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError('psycopg')")
    code = "import sys; from db.store import Store; Store.open('postgresql://me:sesame@h/d')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1].endswith('pip install "al-engine[postgres]"')
    assert "sesame" not in done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@h/d", "postgresql://me:***@h/d"),
        ("postgresql://me:p@w:x@h/d", "postgresql://me:***@h/d"),
        ("postgresql://h/d?user=me&password=pw&x=1", "postgresql://h/d?user=me&password=***&x=1"),
        ("postgresql://me:pw@h/d?PASSWORD=pw", "postgresql://me:***@h/d?PASSWORD=***"),
        ("sqlite:///folder/a.db", "sqlite:///folder/a.db"),
    ],
)
def test_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_errors_show_no_parameters(store: Store) -> None:
    with pytest.raises(DatabaseError) as caught, store.database.write() as connection:
        connection.execute(sa.text("INSERT INTO levels (id, name) VALUES (1, :x), (1, :x)"), {"x": "private"})
    assert "private" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 45, 0), False),
        ((3, 50, 6), False), ((3, 50, 7), True), ((3, 51, 2), False), ((3, 51, 3), True), ((4, 0, 0), True),
    ],
)  # fmt: skip
def test_wal_only_where_it_cannot_corrupt(version: tuple[int, int, int], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_sqlite_is_set_up(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with database.read() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("foreign_keys", "journal_mode", "busy_timeout", "mmap_size", "recursive_triggers")
        }
    assert pragma["journal_mode"] == ("wal" if wal_is_safe(sqlite3.sqlite_version_info) else "delete")
    assert (pragma["foreign_keys"], pragma["busy_timeout"], pragma["recursive_triggers"]) == (1, 60_000, 1)
    assert not pragma["mmap_size"]
    database.close()


def test_the_journal_mode_follows_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    for safe, mode in ((True, "wal"), (False, "delete")):
        monkeypatch.setattr("db.engine.wal_is_safe", lambda _version, safe=safe: safe)
        with Store.open(url) as store, store.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == mode


def test_a_writer_takes_the_lock_before_it_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    Store.open(url).close()
    database = Database(url)
    with database.write():
        other = sqlite3.connect(tmp_path / "a.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    database.close()
