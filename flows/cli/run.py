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
    config: Annotated[Path, Parameter(help="The campaign file, or the name of a stored one.")],
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
    from flows.registration import go_on, is_stored, read_file, what_is_left

    url = database_address(database)
    if not dry_run and is_stored(config, url):
        name = go_on(str(config), max_generations, url)
    else:
        loaded = read_file(config, max_generations)
        if dry_run:
            return show_plan(loaded, config, url)
        register(loaded, config, url)
        name = loaded.name
    console = Console(soft_wrap=True)
    over = what_is_left(name, url)
    if over is None:
        with live(console):
            over = _orchestrate(name, url, console)
    with assemble(name, url) as assembly:
        print_campaign(assembly)
    print(over.sentence(name))
    return 0


def approve(
    campaign: Annotated[str, Parameter(help="Its name.")],
    *,
    database: Database = None,
) -> int:
    """Let the frames be labeled with which a campaign waits for a person (selection.approve)."""
    from db.approvals import approve as say_yes
    from flows.assembly import assemble
    from flows.driver import waiting

    with assemble(campaign, database) as assembly:
        found = waiting(assembly)
        if found is None:
            print(f"{campaign}: no frames wait for approval")
            return 0
        number, frames = found
        say_yes(assembly.store, campaign, number)
    print(f"{campaign}: {len(frames)} frames of generation {number} are approved")
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
