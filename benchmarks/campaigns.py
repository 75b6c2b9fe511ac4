"""Campaigns of the benchmarks: undecorated, on one thread, in a folder of their own."""

import json
from pathlib import Path
from typing import Any

from al_engine import load_config
from flows.assembly import register
from flows.driver import drive


def run_campaign(plain: dict[str, Any], folder: Path) -> str:
    """Run a campaign to its end; return the URL of its database.

    Args:
        plain: As in a campaign file.
        folder: Where the structures that it names are; the file and the database go there.
    """
    file, url = folder / "campaign.yaml", f"sqlite:///{folder}/campaign.db"
    file.write_text(json.dumps(plain | {"device": "cpu", "n_threads": 1}))
    register(load_config(file), file, url)
    drive(plain["name"], url)
    return url
