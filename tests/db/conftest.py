"""Tests of the store run on SQLite and on PostgreSQL, each in a database of its own, from a template."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import binaries, server
from stored_campaign import run_campaign

from db.store import Store

KINDS = ["sqlite", "postgresql"]
Fresh = Callable[[str, str], AbstractContextManager[str]]
"""(kind, "empty" | "schema" | "campaign") -> URL of a new database with that content."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of the server, with the databases `schema` and `campaign` as templates."""
    if binaries() is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    with server() as started:
        address = started.address
        admin = sa.create_engine(f"postgresql+psycopg://{address}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE schema")
            Store.open(f"postgresql://{address}/schema").close()
            connection.exec_driver_sql("CREATE DATABASE campaign TEMPLATE schema")
        admin.dispose()
        with Store.open(f"postgresql://{address}/campaign") as store:
            run_campaign(store, 2)
        yield address


@pytest.fixture(scope="session")
def sqlite_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder (in memory where there is one: a commit waits for the disk) with the same templates."""
    memory = Path("/dev/shm")
    folder = tmp_path_factory.mktemp("sqlite")
    if memory.is_dir():
        folder = memory / f"al-engine-{folder.parent.name}-{folder.name}-{id(folder)}"
        folder.mkdir()
    Store.open(f"sqlite:///{folder}/schema.db").close()
    shutil.copy(folder / "schema.db", folder / "campaign.db")
    with Store.open(f"sqlite:///{folder}/campaign.db") as store:
        run_campaign(store, 2)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fresh(request: pytest.FixtureRequest) -> Fresh:
    names = (f"test{i}" for i in itertools.count())

    @contextmanager
    def make(kind: str, content: str) -> Iterator[str]:
        name = next(names)
        if kind == "sqlite":
            folder = request.getfixturevalue("sqlite_folder")
            if content != "empty":
                shutil.copy(folder / f"{content}.db", folder / f"{name}.db")
            yield f"sqlite:///{folder}/{name}.db"
            return
        address = request.getfixturevalue("postgres_server")
        template = "template0" if content == "empty" else content
        admin = sa.create_engine(f"postgresql+psycopg://{address}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
            yield f"postgresql://{address}/{name}"
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        admin.dispose()

    return make


@pytest.fixture(params=KINDS)
def empty_url(request: pytest.FixtureRequest, fresh: Fresh) -> Iterator[str]:
    """A database without tables."""
    with fresh(request.param, "empty") as url:
        yield url


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, fresh: Fresh) -> Iterator[str]:
    """A database with the schema and no rows."""
    with fresh(request.param, "schema") as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def whole(request: pytest.FixtureRequest, fresh: Fresh) -> Iterator[Store]:
    """A store with `run_campaign(store, 2)`."""
    with fresh(request.param, "campaign") as url, Store.open(url) as opened:
        yield opened


@pytest.fixture(scope="module", params=KINDS)
def module_store(request: pytest.FixtureRequest, fresh: Fresh) -> Iterator[Store]:
    """An empty store that the tests of a module share."""
    with fresh(request.param, "schema") as url, Store.open(url) as opened:
        yield opened


@pytest.fixture(scope="module")
def sqlite_store(fresh: Fresh) -> Iterator[Store]:
    """The same, on SQLite alone, for tests that are about Python."""
    with fresh("sqlite", "schema") as url, Store.open(url) as opened:
        yield opened
