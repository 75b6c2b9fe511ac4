"""An old file is upgraded with all that it holds, a newer one refused, and two may open at once."""

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from killed import killed
from stored_campaign import NAME, run_generation

import db.migrations
from al_engine.errors import DatabaseError
from db.dump import canonical_dump
from db.engine import Database
from db.migrate import HEAD, VERSION_TABLE, current, revision_of, upgrade
from db.schema import Base
from db.store import Store
from db.verify import verify

FIXTURES = Path(__file__).parent / "fixtures"
N_KILLS = 6


def revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__file__).parent))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


def test_head_is_the_newest_revision_and_each_has_an_old_file() -> None:
    assert revisions()[0] == HEAD
    assert {path.stem.removeprefix("revision_") for path in FIXTURES.glob("*.db")} == set(revisions())


@pytest.mark.parametrize("revision", revisions())
def test_an_old_file_opens_with_all_that_it_holds(revision: str, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / f"revision_{revision}.db", tmp_path / "old.db")
    with Store.open(f"sqlite:///{tmp_path}/old.db") as store:
        with store.database.read() as connection:
            assert current(connection) == HEAD
        assert canonical_dump(store, NAME) == (FIXTURES / "campaign.dump").read_text()
        assert verify(store, NAME) == []
        run_generation(store, 2)
        assert verify(store, NAME) == []


def test_the_migrated_schema_is_that_of_the_tables(empty_url: str) -> None:
    database = Database(empty_url)
    upgrade(database)
    upgrade(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_a_newer_database_is_refused(store: Store, url: str) -> None:
    with store.database.write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(
        DatabaseError, match="schema revision '9999', this al-engine knows up to '0006'"
    ) as caught:
        Store.open(url)
    assert "s3cret" not in str(caught.value)


def test_a_failed_upgrade_leaves_nothing(empty_url: str) -> None:
    database = Database(empty_url)
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE walkers (id INTEGER)"))  # in the way, half way through
    with pytest.raises(DatabaseError, match="walkers"):
        upgrade(database)
    with database.write() as connection:
        assert sa.inspect(connection).get_table_names() == ["walkers"]
        connection.execute(sa.text("DROP TABLE walkers"))
    upgrade(database)
    database.close()


@pytest.mark.parametrize("revision", [r for r in revisions() if r != HEAD])
def test_an_upgrade_that_is_killed_leaves_the_old_file_or_the_new_one(revision: str, tmp_path: Path) -> None:
    old = FIXTURES / f"revision_{revision}.db"
    urls = [f"sqlite:///{tmp_path}/{i}.db" for i in range(N_KILLS + 1)]
    for i in range(N_KILLS + 1):
        shutil.copy(old, tmp_path / f"{i}.db")
    left = killed("upgrade", int(revision), "", *urls)
    assert len(left) == N_KILLS
    assert "half" in left
    for url in urls:
        database = Database(url)
        assert revision_of(database) in (revision, HEAD)
        database.close()
        with Store.open(url) as store:
            assert canonical_dump(store, NAME) == (FIXTURES / "campaign.dump").read_text()
            assert verify(store, NAME) == []


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "100% of a folder"
    folder.mkdir()
    return folder


def test_it_works_from_any_folder(odd_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(odd_folder)
    with Store.open("sqlite:///a b%.db") as store:
        assert store.campaign_names() == []
    assert (odd_folder / "a b%.db").exists()
