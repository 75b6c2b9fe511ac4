"""From a campaign's name to its store and configuration; which database is meant."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from al_engine.config import CampaignConfig, stored_config
from al_engine.errors import InputError, blaming
from al_engine.lifecycle import GenerationState
from al_engine.records import Campaign
from db.engine import Database, masked
from db.migrate import HEAD, revision_of
from db.store import Store

if TYPE_CHECKING:
    from al_engine.labeling import Labeler
    from al_engine.stages.prepare import Prepared

Guard = Callable[[Any], None]
"""Called with the connection of every write of this driver; raises where it may not write any more."""
_guard: ContextVar[Guard | None] = ContextVar("guard", default=None)

DEFAULT_DATABASE = "sqlite:///al_engine.db"
_SQLITE_FILE = "sqlite:///"


@dataclass(frozen=True)
class Assembly:
    """What a step needs: the open store, the campaign and its configuration."""

    store: Store
    campaign: Campaign
    config: CampaignConfig


def database_address(given: str | None = None) -> str:
    """Return the URL that was given, else AL_ENGINE_DATABASE, else the file in the working folder.

    The path of an SQLite file is made absolute, so that it means the same in every process.
    """
    url = given or os.environ.get("AL_ENGINE_DATABASE") or DEFAULT_DATABASE
    return f"{_SQLITE_FILE}{Path(url.removeprefix(_SQLITE_FILE)).absolute()}" if is_relative(url) else url


def is_relative(url: str) -> bool:
    """Whether it names an SQLite file by a path that starts in the working folder."""
    path = url.removeprefix(_SQLITE_FILE)
    return path != url and path not in ("", ":memory:") and not path.startswith(("/", "file:"))


def open_store(database_url: str | None = None) -> Store:
    """Open a database that is there.

    Raises:
        InputError: It is an SQLite file that does not exist.
    """
    return Store.open(_existing(database_address(database_url)))


def revision(database_url: str | None = None) -> tuple[str, str | None]:
    """Return the shown URL and the schema revision of a database that is there; nothing is changed.

    Raises:
        InputError: It is an SQLite file that does not exist, or a newer al-engine wrote it.
    """
    database = Database(_existing(database_address(database_url)))
    try:
        return database.url, revision_of(database)
    finally:
        database.close()


def _existing(url: str) -> str:
    if _lacks_file(url):
        raise InputError(f"database = {url!r}: there is no such file; al-engine run makes it")
    return url


def _lacks_file(url: str) -> bool:
    path = url.removeprefix(_SQLITE_FILE)
    return path != url and not path.startswith("file:") and not Path(path).exists()


@contextmanager
def look(database_url: str | None = None) -> Iterator[Store | None]:
    """Open a database as it is, None where it is empty or not there; nothing is created or upgraded.

    Raises:
        InputError: It does not answer, or has another schema.
    """
    url = database_address(database_url)
    database = Database(url)
    if _lacks_file(url):
        yield None
        return
    try:
        found = revision_of(database)
        if found not in (None, HEAD):
            raise InputError(f"database = {database.url!r}: its schema is {found!r}; al-engine db upgrade")
        yield Store(database) if found else None
    finally:
        database.close()


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Have every write of what is assembled inside guarded."""
    token = _guard.set(guard)
    try:
        yield
    finally:
        _guard.reset(token)


@contextmanager
def assemble(campaign: str, database_url: str | None = None) -> Iterator[Assembly]:
    """Open the database and look the campaign up.

    Raises:
        InputError: The database has no such campaign.
    """
    with open_store(database_url) as store:
        store.database.guard = _guard.get()
        found = store.campaign(campaign)
        if found is None:
            known = ", ".join(store.campaign_names()) or "none"
            raise InputError(f"campaign = {campaign!r}: the database has no such campaign; it has {known}")
        yield Assembly(store, found, stored_config(found))


def register(config: CampaignConfig, file: Path, database_url: str | None = None) -> None:
    """Check everything a campaign needs and store it; one that is stored takes the changes it may.

    Args:
        config: What the campaign file says.
        file: That file; relative paths start at its folder.
        database_url: Where to store it.

    Raises:
        InputError: Something cannot be used, or may not change any more; nothing is stored then.
    """
    with Store.open(database_address(database_url)) as store:
        checked, stored = check(config, file, store), store.campaign(config.name)
        if stored is None:
            store.create_campaign(checked.campaign, checked.starts)
        elif stored_config(stored) != stored_config(checked.campaign):
            store.update_config(config.name, checked.campaign.config)


def check(config: CampaignConfig, file: Path, store: Store | None) -> "Prepared":
    """Return the campaign as it would be stored; nothing is.

    Raises:
        InputError: Something cannot be used, or may not change any more.
    """
    from al_engine.config_file import located
    from al_engine.stages.prepare import Prepared, changed_config, prepare

    stored = store.campaign(config.name) if store else None
    try:
        if store is not None:
            check_shared(config, store)
        if store is None or stored is None:
            return prepare(config, file.parent)
        newest = store.latest_generation(config.name)
        starts = tuple(store.frames(stored.start_frame_ids))
        changed = changed_config(
            stored,
            config,
            file.parent,
            starts=starts,
            is_open=newest is not None and newest.state is not GenerationState.CLOSED,
        )
    except InputError as error:
        raise located(error, file) if error.key else error from None
    return Prepared(replace(stored, config=changed.model_dump_json()), starts)


def check_shared(config: CampaignConfig, store: Store) -> None:
    """Raise unless the processes that label can all write to the database.

    Raises:
        InputError: It is an SQLite file, and they may run on other machines.
    """
    where, here = config.labeling.where, ("localhost", "127.0.0.1", "[::1]", socket.gethostname())
    is_here = where is None or (
        where.kind == "dask" and urlsplit(where.address).netloc.rpartition(":")[0] in here
    )
    if store.database.is_sqlite and not is_here:
        with blaming("labeling", "where"):
            raise InputError(
                "its jobs may run on other machines, where an SQLite file is not safe: give a PostgreSQL "
                "database by --database or AL_ENGINE_DATABASE (docs/postgresql.md)"
            )


def check_labeler(run: Assembly) -> "Labeler":
    """Return the campaign's labeler; raise unless this machine labels as its labels were made.

    Raises:
        CalculatorUnavailableError: Names what has to be installed.
    """
    from al_engine.labeling import Labeler, check_reference

    check_reference(run.config.reference, run.store.frames(run.campaign.start_frame_ids))
    return Labeler(run.config.reference, run.config.labeling, run.campaign.level_of_theory)


def shareable(url: str) -> str | None:
    """Return the URL if it may be shown; None if it holds a password: then AL_ENGINE_DATABASE is asked."""
    return url if masked(url) == url else None
