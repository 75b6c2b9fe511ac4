"""The database behind a URL: short transactions, one-line errors, and no password in any of them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError

from al_engine.errors import AlEngineError, DatabaseError

BUSY_SECONDS: Final = 60
"""How long a writer waits for another."""
_SECRETS = ("password", "sslpassword")
_ALLOWED = "use sqlite:///FILE or postgresql://USER@HOST/DATABASE"


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite cannot corrupt a WAL database with several writers (sqlite.org/wal.html)."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def masked(url: str) -> str:
    """Return a database URL without passwords, be they before the host or in the query."""
    shown = re.sub(r"(://[^/?#]*?:).*@", r"\1***@", url)
    return re.sub(rf"((?:{'|'.join(_SECRETS)})=)[^&#\s]*", r"\1***", shown, flags=re.IGNORECASE)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        kind = parsed.drivername.split("+")[0]
    except (ArgumentError, ValueError):
        raise DatabaseError(f"database = {masked(url)!r}: not a database URL; {_ALLOWED}") from None
    if kind == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise DatabaseError(f"database = {masked(url)!r}: a campaign needs a file; {_ALLOWED}")
    if kind == "sqlite":
        folder = Path(str(parsed.database)).parent
        if not str(parsed.database).startswith("file:") and not folder.is_dir():
            raise DatabaseError(f"database = {masked(url)!r}: there is no folder {str(folder)!r}")
        return parsed.set(drivername="sqlite+pysqlite")
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise DatabaseError(f"database = {masked(url)!r}: the scheme {kind!r} is not supported; {_ALLOWED}")


def _configure_sqlite(connection: Any, _record: object) -> None:
    """Set what SQLite forgets between connections; transactions are begun by `_begin_sqlite` alone."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}")
    for name, value in (("foreign_keys", 1), ("recursive_triggers", 1), ("mmap_size", 0)):
        cursor.execute(f"PRAGMA {name} = {value}")
    mode = "wal" if wal_is_safe(sqlite3.sqlite_version_info) else "delete"
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != mode:
        with suppress(sqlite3.OperationalError):  # in use by another process, which set it or will
            cursor.execute(f"PRAGMA journal_mode = {mode}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once: a transaction that reads, then writes, could not get it later."""
    immediate = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite+pysqlite":
        engine = create_engine(url, hide_parameters=True)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    timeout = {} if "connect_timeout" in url.query else {"connect_timeout": 10}
    return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=timeout)


class Database:
    """An engine whose every error is one line with the URL, passwords masked."""

    def __init__(self, url: str) -> None:
        """Prepare to connect; nothing is opened yet.

        Raises:
            DatabaseError: Not a URL, an unknown scheme, a missing folder or driver.
        """
        self.url: Final = masked(url)
        self.guard: Callable[[Connection], None] | None = None
        """Called at the beginning of every writing transaction; may refuse it."""
        parsed = _parse(url)
        query = [parsed.query.get(key, "") for key in _SECRETS]
        self._secrets = [str(secret) for secret in (parsed.password, *query) if secret]
        try:
            self._engine = _engine(parsed)
        except ModuleNotFoundError:
            raise DatabaseError(
                f'database = {self.url!r}: the driver is missing: pip install "al-engine[postgres]"'
            ) from None
        except (SQLAlchemyError, TypeError, ValueError) as error:
            raise self._one_line(error) from None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, else PostgreSQL."""
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is rolled back: read, and leave soon."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Give a connection to read from; all its statements see the database as it is now."""
        with self.read() as connection:
            if not self.is_sqlite:  # whose transactions are like that
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection in a transaction that holds the write lock and is committed at the end."""
        with self._translated(), self._engine.connect() as plain:
            connection = plain.execution_options(writes=True)
            with connection.begin():
                if self.guard is not None:
                    self.guard(connection)
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            if isinstance(error, StatementError) and isinstance(error.orig, AlEngineError):
                raise error.orig from None  # from a column type
            raise self._one_line(error) from error

    def _one_line(self, error: Exception) -> DatabaseError:
        cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
        diagnosis = getattr(cause, "diag", None)
        primary = getattr(diagnosis, "message_primary", None)  # without PostgreSQL's values
        text = " ".join(str(primary or cause).split()) or type(cause).__name__
        for secret in self._secrets:
            for form in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(form, "***")
        return DatabaseError(f"database = {self.url!r}: {text}")
