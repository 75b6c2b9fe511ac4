"""Commands about this machine: doctor, server."""

import os
import sqlite3
import time

from al_engine.errors import AlEngineError, InputError
from flows.cli.options import Database


def doctor(*, database: Database = None) -> int:
    """Say what this machine has, what is missing, and the command that mends it."""
    from al_engine.machine import Fact, facts
    from db.engine import masked, wal_is_safe
    from flows.assembly import database_address, look
    from flows.server import answers, configured

    found = facts()
    journal = "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "DELETE journal (no WAL before 3.51.3)"
    found.append(Fact("SQLite", f"{sqlite3.sqlite_version}, {journal}"))
    url = database_address(database)
    try:
        with look(url) as store:
            there = (
                f"{len(store.campaign_names())} campaigns" if store else "none yet; al-engine run makes it"
            )
            found.append(Fact("database", f"{masked(url)}: {there}"))
    except InputError as error:
        found.append(Fact("database", str(error), "start it, or give another --database", is_needed=True))
    api = configured()
    state = "answers" if api and answers(api) else "does not answer; runs start a local one"
    home = os.environ.get("AL_ENGINE_HOME") or "~/.al_engine"
    found.append(Fact("Prefect server", f"{api} {state}" if api else f"none set; local, kept in {home}"))
    width = max(len(fact.name) for fact in found)
    for fact in found:
        mark = "!!" if fact.is_needed else "--" if fact.mend else "ok"
        print(f"{mark} {fact.name:<{width}}  {fact.found}" + (f"  ->  {fact.mend}" if fact.mend else ""))
    return 1 if any(fact.is_needed for fact in found) else 0


def server() -> int:
    """Run the local Prefect server until Ctrl-C, to look at past runs."""
    from flows.server import answers, prefect_server

    with prefect_server() as api_url:
        print(f"Prefect UI: {api_url.removesuffix('/api')}   (Ctrl-C ends it)", flush=True)
        try:
            while answers(api_url, timeout=30):
                time.sleep(2)
        except KeyboardInterrupt:
            return 0
    raise AlEngineError("the Prefect server is gone")
