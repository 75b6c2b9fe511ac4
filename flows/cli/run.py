"""Command `run`: starts a campaign or goes on where it was; the same command."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt
from rich.console import Console

from al_engine.errors import AlEngineError
from flows.cli.live import live
from flows.cli.look import print_campaign
from flows.cli.options import Database
from flows.cli.plan import show_plan

if TYPE_CHECKING:
    from al_engine.stages.plan import End

log = logging.getLogger("al_engine.campaign")


def run(
    config: Annotated[Path, Parameter(help="The campaign file.")],
    *,
    database: Database = None,
    max_generations: Annotated[
        PositiveInt | None, Parameter(help="Generations with a model, instead of what the file says.")
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Only check, measure, and say what would be done and its cost.")
    ] = False,
) -> int:
    """Start the campaign of a file, or go on where it was."""
    from al_engine.config_file import load_config
    from flows.assembly import assemble, check_labeler, database_address, register
    from flows.driver import end

    loaded = load_config(config)
    if max_generations is not None:
        loaded = loaded.model_copy(update={"max_generations": max_generations})
    url = database_address(database)
    beside = str(config.parent.absolute())
    if beside not in sys.path:
        sys.path.append(beside)  # a calculator may be a module beside the campaign file
    if dry_run:
        return show_plan(loaded, config, url)
    console = Console(soft_wrap=True)
    register(loaded, config, url)
    with assemble(loaded.name, url) as assembly:
        over = end(assembly)
        if over is None:
            check_labeler(assembly)
    if over is None:
        with live(console):
            over = _orchestrate(loaded.name, url, console)
    with assemble(loaded.name, url) as assembly:
        print_campaign(assembly)
    print(over.sentence(loaded.name))
    return 0


def _orchestrate(name: str, url: str, console: Console) -> "End":
    """Run the campaign in Prefect; without it, should its server be gone for good."""
    from flows.assembly import shareable
    from flows.driver import drive
    from flows.server import answers, prefect_server

    shown, began = shareable(url), time.time()
    if shown is None:
        os.environ["AL_ENGINE_DATABASE"] = url  # a password is no parameter of a run
    with prefect_server() as api_url:
        console.print(f"Prefect UI: {api_url.removesuffix('/api')}", highlight=False)
        from flows.campaign import run_campaign

        try:
            return run_campaign(name, shown)
        except AlEngineError:
            raise
        except Exception as error:
            if answers(api_url):
                raise
            log.warning(
                "the Prefect server is gone (%s); the campaign goes on without it", type(error).__name__
            )
            return drive(name, url, began=began)
