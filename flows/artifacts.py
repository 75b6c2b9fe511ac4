"""What the Prefect UI shows of a generation: a table and a plot, drawn from the store."""

import base64
import logging
import re

import httpx
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from flows.assembly import assemble

log = logging.getLogger("al_engine.campaign")


def artifact_key(campaign: str) -> str:
    """Return the campaign's name in the characters that a key may have: lowercase, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", campaign.lower()).strip("-")


def publish(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Show a closed generation; a server that is away costs the picture and nothing else."""
    from al_engine.report.figures import generation_figure
    from al_engine.report.text import generation_markdown

    with assemble(campaign, database_url) as run:
        store = run.store
        generations = [g for g in store.generations(campaign) if g.number <= generation]
        text = generation_markdown(
            generations,
            store.metrics(campaign, generation),
            store.walkers(campaign, generation),
            store.stop_decision(campaign, generation),
        )
        model = store.model(campaign, generation)
        image = generation_figure(
            generation, model, store.labeled(campaign), generations, device=run.config.device
        )
    title = f"{campaign}, generation {generation}"
    key = artifact_key(campaign)
    try:
        create_markdown_artifact(key=f"{key}-errors", markdown=text, description=title)
        create_image_artifact(
            key=f"{key}-plot",
            image_url=f"data:image/png;base64,{base64.b64encode(image).decode()}",
            description=title,
        )
    except httpx.HTTPError as error:
        log.warning("the artifacts of generation %d could not be stored: %s", generation, error)
