"""How a campaign comes into the database: from its file, from a form, or it is there; the same checks."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from al_engine.config import CampaignConfig
from al_engine.errors import ConfigError
from al_engine.stages.plan import End
from flows.assembly import assemble, check_labeler, look, register
from flows.driver import end

if TYPE_CHECKING:
    from al_engine.form import Form


def read_file(file: Path, max_generations: int | None = None) -> CampaignConfig:
    """Read a campaign file; a calculator may be a module beside it.

    Raises:
        ConfigError: One line that names file, line, key, value and what is allowed.
    """
    from al_engine.config_file import load_config

    beside = str(file.parent.absolute())
    if beside not in sys.path:
        sys.path.append(beside)
    return _up_to(load_config(file), max_generations)


def register_form(form: "Form", max_generations: int | None, database_url: str | None = None) -> str:
    """Store the campaign of a form as if it had been a file; return its name.

    Raises:
        InputError: Names the field, its value and what is allowed; nothing is stored then.
    """
    from al_engine.config_file import load_config
    from al_engine.form import in_words_of_form, write_campaign

    with tempfile.TemporaryDirectory() as folder:
        file = write_campaign(form, Path(folder))
        try:
            config = _up_to(load_config(file), max_generations)
            register(config, file, database_url)
        except ConfigError as error:
            raise in_words_of_form(error, form) from None
    return config.name


def is_stored(name: Path, database_url: str | None = None) -> bool:
    """Whether this is no file, and the name of a campaign that the database has."""
    if name.exists():
        return False
    with look(database_url) as store:
        return store is not None and str(name) in store.campaign_names()


def go_on(campaign: str, max_generations: int | None, database_url: str | None = None) -> str:
    """Let a stored campaign have another number of generations, if one is given; return its name.

    Raises:
        InputError: The database has no such campaign.
    """
    with assemble(campaign, database_url) as run:
        if max_generations not in (None, run.config.max_generations):
            changed = _up_to(run.config, max_generations)
            run.store.update_config(campaign, changed.model_dump_json())
    return campaign


def what_is_left(campaign: str, database_url: str | None = None) -> End | None:
    """Return why a stored campaign is over; None where it is not, and this machine can label for it.

    Raises:
        CalculatorUnavailableError: Names what has to be installed.
    """
    with assemble(campaign, database_url) as run:
        over = end(run)
        if over is None:
            check_labeler(run)
    return over


def _up_to(config: CampaignConfig, max_generations: int | None) -> CampaignConfig:
    """Return the configuration with another number of generations, if one is given."""
    return (
        config if max_generations is None else config.model_copy(update={"max_generations": max_generations})
    )
