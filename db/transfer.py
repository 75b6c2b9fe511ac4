"""All campaigns of a database to another one: streamed, a campaign in one transaction, proved by its dump.

Keys of rows are the target's own; rows find their parents there by what names them in both: a level and a
campaign by name, a generation by its number, a candidate and a label by its frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from al_engine.errors import InputError
from db import campaigns, generations
from db.dump import digest
from db.labels import level_id
from db.rows import stream
from db.schema import Base, CandidateRow, FrameRow, GenerationRow, LevelRow
from db.store import Store

_TABLES: Final = [table for table in Base.metadata.sorted_tables if table.name != "leases"]
"""Parents first; who drives a campaign here does not drive it there."""
_CAMPAIGNS, _LABELS, _CANDIDATES = (Base.metadata.tables[n] for n in ("campaigns", "labels", "candidates"))
_BY_FRAME: Final = {"candidate_id": (_CANDIDATES, "generation_id"), "label_id": (_LABELS, "level_id")}
"""Keys of many rows, which are looked up some at a time: table, and what names a row beside its frame."""
_OF_CAMPAIGN: Final = {"campaign_id", "generation_id", "candidate_id"}

Keys = Mapping[str, Mapping[int, int]]
"""By column: keys of the source and those of the target."""


@dataclass(frozen=True)
class Transferred:
    """A campaign that both databases hold; `n_rows` were written, `n_lines` of the dumps compared."""

    campaign: str
    is_new: bool
    n_rows: int
    n_lines: int


def transfer(source: Store, target: Store) -> Iterator[Transferred]:
    """Copy what the target lacks; yield each campaign once it is proved. What is there is never changed.

    Frames and labels go first and are the same for all campaigns; a campaign is there as a whole or not at
    all. Killed at any moment and called again, it ends with the same.

    Raises:
        InputError: The target has another campaign of a name, or another label of a frame; it is the source.
    """
    if source.database.url == target.database.url:
        raise InputError(f"{target.database.url}: the copy needs another database than its source")
    with source.database.snapshot() as here:
        url, names, known = target.database.url, campaigns.names(here), target.campaign_names()
        for name in (name for name in names if name in known):
            with target.database.read() as there:
                n_lines = _prove(name, here, there, url)
            yield Transferred(name, False, 0, n_lines)
        _content(here, target)
        for name in (name for name in names if name not in known):
            with target.database.write() as there:
                n_rows = _campaign(here, there, name)
                n_lines = _prove(name, here, there, url)
            yield Transferred(name, True, n_rows, n_lines)


def _prove(name: str, here: Connection, there: Connection, url: str) -> int:
    """Return how many lines the equal dumps of a campaign have; InputError where they differ."""
    ours, theirs = digest(here, name), digest(there, name)
    if ours != theirs:
        raise InputError(
            f"campaign = {name!r}: {url} holds another one of this name, another state of it, or other "
            "labels of its frames; it was not copied; give an empty database"
        )
    return ours.n_lines


def _content(here: Connection, target: Store) -> None:
    """Copy levels, frames, labels and what belongs to them, of whatever campaign; in many transactions."""
    with target.database.write() as there:
        levels = {row[0]: level_id(there, row[1]) for row in here.execute(select(LevelRow.id, LevelRow.name))}
    for table in _TABLES:
        if not _OF_CAMPAIGN & {*table.c.keys()} and table.name not in ("levels", "campaigns"):
            for rows in stream(here, _ordered(table), table):
                with target.database.write() as there:
                    _insert(here, there, table, rows, {"level_id": levels})


def _campaign(here: Connection, there: Connection, name: str) -> int:
    """Copy a campaign whose frames and labels are there; return the number of rows."""
    row = here.execute(select(_CAMPAIGNS).where(_CAMPAIGNS.c.name == name)).mappings().one()
    level, level_name = campaigns.level(here, row["id"])
    levels = {level: level_id(there, level_name)}
    n_rows = _insert(here, there, _CAMPAIGNS, [dict(row)], {"level_id": levels})
    keys: dict[str, dict[int, int]] = {
        "level_id": levels,
        "campaign_id": {row["id"]: campaigns.key(there, name)},
        "generation_id": {},
    }
    mine = select(CandidateRow.id).join(GenerationRow).where(GenerationRow.campaign_id == row["id"])
    for table in (t for t in _TABLES if _OF_CAMPAIGN & {*t.c.keys()}):
        query = _ordered(table)
        if "candidate_id" in table.c:
            query = query.where(table.c.candidate_id.in_(mine))
        for column in ("campaign_id", "generation_id"):
            if column in table.c:
                query = query.where(table.c[column].in_(list(keys[column])))
        for rows in stream(here, query, table):
            n_rows += _insert(here, there, table, rows, keys)
        if table is GenerationRow.__table__:
            numbers = here.execute(
                select(GenerationRow.id, GenerationRow.number).where(GenerationRow.campaign_id == row["id"])
            )
            keys["generation_id"] = {key: generations.key(there, name, number) for key, number in numbers}
    return n_rows


def _ordered(table: Table) -> Select[Any]:
    return select(table).order_by(*table.primary_key.columns)


def _insert(here: Connection, there: Connection, table: Table, rows: list[dict[str, Any]], keys: Keys) -> int:
    """Insert the rows that are not there yet, with the target's keys; return how many were handed in."""
    of_frames = {
        column: _keys_by_frame(here, there, column, [row[column] for row in rows], keys)
        for column in _BY_FRAME.keys() & {*table.c.keys()}
    }
    all_keys = {**keys, **of_frames}
    own_key = "" if table is FrameRow.__table__ else "id"
    translated = [
        {k: all_keys[k][v] if k in all_keys else v for k, v in row.items() if k != own_key} for row in rows
    ]
    make = sqlite_insert if there.dialect.name == "sqlite" else postgresql_insert
    there.execute(make(table).on_conflict_do_nothing(), translated)
    return len(rows)


def _keys_by_frame(
    here: Connection, there: Connection, column: str, ids: list[int], keys: Keys
) -> dict[int, int]:
    """Return the target's keys of labels or candidates, by the source's."""
    table, other = _BY_FRAME[column]
    frame, group = table.c.frame_id, table.c[other]
    names = (table.c.id, frame, group)
    ours = here.execute(select(*names).where(table.c.id.in_(ids))).all()
    groups = keys[other].values()
    query = select(*names).where(frame.in_({row[1] for row in ours}), group.in_(groups))
    theirs = {(row[1], row[2]): row[0] for row in there.execute(query)}
    return {row[0]: theirs[row[1], keys[other][row[2]]] for row in ours}
