"""Commands about whole databases: db upgrade, db current, copy."""

from typing import Annotated

from cyclopts import App, Parameter

from flows.cli.options import Database

app = App(name="db", help="The schema of a database: which it has, and the newest.")


@app.command
def upgrade(*, database: Database = None) -> int:
    """Upgrade the schema in one transaction, with all that the database holds."""
    from flows.assembly import open_store, revision

    _, before = revision(database)
    open_store(database).close()
    url, now = revision(database)
    print(f"{url}: revision {now}, the newest" + (f" (was {before or 'empty'})" if before != now else ""))
    return 0


@app.command
def current(*, database: Database = None) -> int:
    """Say the revision of the schema, and whether it is the newest."""
    from db.migrate import HEAD
    from flows.assembly import revision

    url, now = revision(database)
    older = f"the newest is {HEAD}; al-engine db upgrade brings it there"
    print(f"{url}: revision {now or 'none'}, {'the newest' if now == HEAD else older}")
    return 0


def copy(
    source: Annotated[str, Parameter(help="URL of the database that has the campaigns.")],
    target: Annotated[str, Parameter(help="URL of the other one; its tables are made if it has none.")],
) -> int:
    """Copy all campaigns to another database, and prove that both hold the same."""
    from db.store import Store
    from db.transfer import transfer
    from flows.assembly import database_address, open_store

    with open_store(source) as here, Store.open(database_address(target)) as there:
        for done in transfer(here, there):
            what = f"copied, {done.n_rows} rows" if done.is_new else "there already"
            print(f"{done.campaign}: {what}; both dumps have {done.n_lines} equal lines", flush=True)
    return 0
