"""Rows in and out: inserts that keep what is there, in either dialect, and records as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, LargeBinary, Select, Table, insert, inspect, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from al_engine.errors import DatabaseError
from db.schema import Base

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
R = TypeVar("R", bound="DataclassInstance")
CHUNK = 500
"""Values in an IN list, rows of arrays in memory."""


def chunked(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Yield the items in order, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def stream(connection: Connection, query: Select[Any], table: Table) -> Iterator[list[dict[str, Any]]]:
    """Yield rows of a table, some at a time, so that a database larger than the memory can be read.

    Raises:
        DatabaseError: A value that cannot be read.
    """
    has_files = any(type(column.type) is LargeBinary for column in table.columns)
    options = {"yield_per": 1 if has_files else CHUNK // 5}
    try:
        for some in connection.execute(query, execution_options=options).mappings().partitions():
            yield [dict(row) for row in some]
    except (ValueError, LookupError) as error:
        raise DatabaseError(
            f"a row of {table.name} is damaged ({error}); al-engine verify finds it"
        ) from None


def insert_new(
    connection: Connection,
    table: type[Base],
    rows: Sequence[Mapping[str, Any]],
    returning: Sequence[Any] = (),
) -> list[tuple[Any, ...]]:
    """Insert the rows whose keys are not there yet; return the asked columns of those inserted.

    Rows must come in the order of their keys, so that two writers cannot wait for each other.
    """
    if not rows:
        return []
    make = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    statement: Any = make(table).on_conflict_do_nothing()
    statement = statement.returning(*returning) if returning else statement
    result = connection.execute(statement, _by_column(table, rows))
    return [tuple(row) for row in result] if returning else []


def put_records(
    connection: Connection, table: type[Base], records: Sequence[DataclassInstance], **keys: Any
) -> None:
    """Insert records whose fields are columns; `keys` are the other columns, the same for all."""
    rows = [{**keys, **vars(record)} for record in records]
    if rows:
        connection.execute(insert(table), _by_column(table, rows))


def get_records(connection: Connection, table: type[Base], kind: type[R], generation_id: int) -> list[R]:
    """Return the records of a generation, in the order of the table's primary key."""
    mapper = inspect(table)
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    columns = [getattr(table, item.name) for item in fields(kind)]
    query = select(*columns).where(getattr(table, "generation_id") == generation_id)  # noqa: B009
    return [kind(*row) for row in connection.execute(query.order_by(*(getattr(table, k) for k in keys)))]


def _by_column(table: type[Base], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rename attributes to columns."""
    names = {attribute.key: attribute.columns[0].key for attribute in inspect(table).column_attrs}
    return [{names[key]: value for key, value in row.items()} for row in rows]
