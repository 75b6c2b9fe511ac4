"""Every test of the store runs on SQLite and on PostgreSQL."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import binaries, server

from db.store import Store

_counter = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    if binaries() is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    with server() as address:
        Store.open(f"postgresql://{address}/postgres").close()
        yield address


@contextmanager
def postgres_database(address: str, template: str) -> Iterator[str]:
    """A database of a test's own, dropped at the end."""
    name = f"test{next(_counter)}"
    engine = sa.create_engine(f"postgresql+psycopg://{address}/template1", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield f"postgresql://{address}/{name}"
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
    else:
        with postgres_database(request.getfixturevalue("postgres_server"), "template0") as address:
            yield address


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with the schema and no rows, quickly made from a template."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("_sqlite_template"), tmp_path / "test.db")
        yield f"sqlite:///{tmp_path}/test.db"
    else:
        with postgres_database(request.getfixturevalue("postgres_server"), "postgres") as address:
            yield address


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


@pytest.fixture(scope="module")
def sqlite_store(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An SQLite store for tests that are about Python alone."""
    path = tmp_path_factory.mktemp("module") / "test.db"
    shutil.copy(_sqlite_template, path)
    with Store.open(f"sqlite:///{path}") as opened:
        yield opened
