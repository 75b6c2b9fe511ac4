"""Bring a database to this program's schema, or refuse it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, inspect, select, table
from sqlalchemy.sql.expression import column

from al_engine.errors import DatabaseError
from db.engine import Database

HEAD: Final = "0006"
"""The newest revision in `migrations/versions`."""
VERSION_TABLE: Final = "al_engine_version"
"""Not alembic's default: Prefect's tables may live in the same database."""
_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x616C656E67696E65
"""Key of PostgreSQL's advisory lock ("alengine")."""


def current(connection: Connection) -> str | None:
    """Return the revision of a database; None for an empty one."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()


def revision_of(database: Database) -> str | None:
    """Return the revision of a database as it is; None for an empty one.

    Raises:
        DatabaseError: It is unknown: a newer program wrote this database.
    """
    with database.read() as connection:
        return _known(database, current(connection))


def _known(database: Database, revision: str | None) -> str | None:
    known = [path.name[:4] for path in (_FOLDER / "versions").glob("[0-9]*.py")]
    if revision is not None and revision not in known:
        raise DatabaseError(
            f"database = {database.url!r}: has schema revision {revision!r}, this al-engine knows "
            f"up to {HEAD!r}; install a newer al-engine: pip install --upgrade al-engine"
        )
    return revision


def upgrade(database: Database) -> None:
    """Create the schema, or upgrade an older one, in one transaction; processes wait for each other.

    Raises:
        DatabaseError: The revision is unknown: a newer program wrote this database.
    """
    with database.read() as connection:
        if current(connection) == HEAD:
            return
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        if _known(database, current(connection)) == HEAD:
            return
        from alembic import command
        from alembic.config import Config

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
        command.upgrade(config, "head")
