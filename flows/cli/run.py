"""Command `run`: starts a campaign or goes on where it was; the same command."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt
from rich.console import Console

from flows.cli.live import live
from flows.cli.look import print_campaign
from flows.cli.options import Database
from flows.cli.plan import show_plan

if TYPE_CHECKING:
    from al_engine.stages.plan import End


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
    from flows.assembly import assemble, database_address, register
    from flows.registration import read_file, what_is_left

    loaded = read_file(config, max_generations)
    url = database_address(database)
    if dry_run:
        return show_plan(loaded, config, url)
    console = Console(soft_wrap=True)
    register(loaded, config, url)
    over = what_is_left(loaded.name, url)
    if over is None:
        with live(console):
            over = _orchestrate(loaded.name, url, console)
    with assemble(loaded.name, url) as assembly:
        print_campaign(assembly)
    print(over.sentence(loaded.name))
    return 0


def _orchestrate(name: str, url: str, console: Console) -> "End":
    """Run the campaign in Prefect."""
    from flows.assembly import shareable
    from flows.server import prefect_server

    shown = shareable(url)
    if shown is None:
        os.environ["AL_ENGINE_DATABASE"] = url  # a password is no parameter of a run
    with prefect_server() as api_url:
        console.print(f"Prefect UI: {api_url.removesuffix('/api')}", highlight=False)
        from flows.campaign import run_campaign

        return run_campaign(name, shown)
