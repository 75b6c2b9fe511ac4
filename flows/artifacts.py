"""What the Prefect UI shows of a generation: a table and a plot, drawn from the store."""

import base64
import logging
import re

from prefect.artifacts import create_markdown_artifact
from prefect.settings import PREFECT_API_URL

from flows.assembly import assemble
from flows.server import answers

log = logging.getLogger("al_engine.campaign")


def is_there() -> bool:
    """Whether the Prefect server answers now; a call to one that does not takes a quarter of a minute."""
    return answers(PREFECT_API_URL.value() or "")


def artifact_key(campaign: str) -> str:
    """Return the campaign's name in the characters that a key may have: lowercase, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", campaign.lower()).strip("-")


def publish(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Show a closed generation; a server that is away costs the pictures and nothing else."""
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
    if not is_there():
        log.debug("the Prefect server is away: no artifacts of generation %d", generation)
        return
    title, key = f"{campaign}, generation {generation}", artifact_key(campaign)
    plot = f"![{title}](data:image/png;base64,{base64.b64encode(image).decode()})"
    create_markdown_artifact(key=f"{key}-errors", markdown=text, description=title)
    create_markdown_artifact(key=f"{key}-plot", markdown=plot, description=title)
