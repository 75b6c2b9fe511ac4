"""From a campaign's name to its store and configuration; which database is meant."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from al_engine.config import CampaignConfig
from al_engine.errors import InputError
from al_engine.lifecycle import GenerationState
from al_engine.records import Campaign
from db.engine import masked
from db.store import Store

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
    path = url.removeprefix(_SQLITE_FILE)
    if path == url or path in ("", ":memory:") or path.startswith(("/", "file:")):
        return url
    return f"{_SQLITE_FILE}{Path(path).absolute()}"


def open_store(database_url: str | None = None) -> Store:
    """Open a database that is there.

    Raises:
        InputError: It is an SQLite file that does not exist.
    """
    url = database_address(database_url)
    path = url.removeprefix(_SQLITE_FILE)
    if path != url and not path.startswith("file:") and not Path(path).exists():
        raise InputError(f"database = {url!r}: there is no such file; al-engine run makes it")
    return Store.open(url)


@contextmanager
def assemble(campaign: str, database_url: str | None = None) -> Iterator[Assembly]:
    """Open the database and look the campaign up.

    Raises:
        InputError: The database has no such campaign.
    """
    with open_store(database_url) as store:
        found = store.campaign(campaign)
        if found is None:
            known = ", ".join(store.campaign_names()) or "none"
            raise InputError(f"campaign = {campaign!r}: the database has no such campaign; it has {known}")
        yield Assembly(store, found, CampaignConfig.model_validate_json(found.config))


def register(config: CampaignConfig, file: Path, database_url: str | None = None) -> None:
    """Check everything a campaign needs and store it; one that is stored takes the changes it may.

    Args:
        config: What the campaign file says.
        file: That file; relative paths start at its folder.
        database_url: Where to store it.

    Raises:
        InputError: Something cannot be used, or may not change any more; nothing is stored then.
    """
    from al_engine.config_file import located
    from al_engine.stages.prepare import changed_config, prepare

    with Store.open(database_address(database_url)) as store:
        stored = store.campaign(config.name)
        try:
            if stored is None:
                prepared = prepare(config, file.parent)
                store.create_campaign(prepared.campaign, prepared.starts)
                return
            newest = store.latest_generation(config.name)
            changed = changed_config(
                stored,
                config,
                file.parent,
                starts=store.frames(stored.start_frame_ids),
                is_open=newest is not None and newest.state is not GenerationState.CLOSED,
            )
        except InputError as error:
            raise located(error, file) if error.key else error from None
        if changed != CampaignConfig.model_validate_json(stored.config):
            store.update_config(config.name, changed.model_dump_json())


def check_labeler(run: Assembly) -> None:
    """Raise unless this machine labels as the campaign's labels were made.

    Raises:
        CalculatorUnavailableError: Names what has to be installed.
    """
    from al_engine.labeling import Labeler, check_reference

    check_reference(run.config.reference, run.store.frames(run.campaign.start_frame_ids))
    Labeler(run.config.reference, run.config.labeling, run.campaign.level_of_theory)


def shareable(url: str) -> str | None:
    """Return the URL if it may be shown; None if it holds a password: then AL_ENGINE_DATABASE is asked."""
    return url if masked(url) == url else None
