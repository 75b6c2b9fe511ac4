"""Write the old file of the newest revision: `python tests/db/make_fixture.py`, once a revision."""

from pathlib import Path

from stored_campaign import NAME, run_campaign

from db.dump import canonical_dump
from db.migrate import HEAD
from db.store import Store

FIXTURES = Path(__file__).parent / "fixtures"


def main() -> None:
    """Write the database; the dump, the same for every revision, is written once."""
    path = FIXTURES / f"revision_{HEAD}.db"
    if path.exists():
        raise SystemExit(f"{path} is there; an old file is never written again")
    with Store.open(f"sqlite:///{path}") as store:
        run_campaign(store, 2)
        dump = FIXTURES / "campaign.dump"
        if not dump.exists():
            dump.write_text(canonical_dump(store, NAME))


if __name__ == "__main__":
    main()
