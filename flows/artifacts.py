"""What the Prefect UI shows of a generation: tables and pictures, drawn from the store."""

import base64
import logging
import re

from prefect.artifacts import create_markdown_artifact
from prefect.settings import PREFECT_API_URL

from flows.assembly import assemble
from flows.record import campaign_record
from flows.server import answers

log = logging.getLogger("al_engine.campaign")


def is_there() -> bool:
    """Whether the Prefect server answers now; a call to one that does not takes a quarter of a minute."""
    return answers(PREFECT_API_URL.value() or "")


def artifact_key(campaign: str) -> str:
    """Return the campaign's name in the characters that a key may have: lowercase, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", campaign.lower()).strip("-")


def publish_newest(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Show what a generation is about to label."""
    from al_engine.report.newest import newest_frames
    from al_engine.report.text import table

    with assemble(campaign, database_url) as run:
        waiting = set(run.store.unlabeled_ids(campaign, generation))
        chosen = [c for c in run.store.candidates(campaign, generation) if c.frame_id in waiting]
        chosen.sort(key=lambda c: (c.rank is None, c.rank))
        if not chosen or not is_there():
            return
        frames = run.store.frames([c.frame_id for c in chosen])
        model = run.store.model(campaign, generation)
        image, rows = newest_frames(chosen, frames, model, run.config.device)
    _show(campaign, generation, "newest", _embedded(image, "newest structures"), table(rows))


def publish(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Show a closed generation; a server that is away costs the pictures and nothing else."""
    from al_engine.report.figures import generation_figure, walker_traces
    from al_engine.report.gallery import gallery
    from al_engine.report.generation import generation_markdown
    from al_engine.report.judged import judge
    from al_engine.report.worst import largest_sd, worst_frames

    if not is_there():
        log.debug("the Prefect server is away: no artifacts of generation %d", generation)
        return
    with assemble(campaign, database_url) as run:
        record, walkers = campaign_record(run, n_labels=0), run.store.walkers(campaign, generation)
        model = run.store.model(campaign, generation)
        device = run.config.device
    _show(campaign, generation, "errors", generation_markdown(record, walkers))
    image = generation_figure(generation, model, record.labeled, record.generations, device=device)
    _show(campaign, generation, "plot", _embedded(image, "errors and calibration"))
    if walkers:
        _show(campaign, generation, "walkers", _embedded(walker_traces(walkers), "traces of the walkers"))
    judged = judge(record)
    if judged is not None and judged.generation == generation:
        worst = worst_frames(judged)
        image = gallery([(frame.title, frame.picture) for frame in worst], largest_sd(judged))
        words = "\n".join(f"- {frame.title}: {frame.words}" for frame in worst)
        _show(campaign, generation, "worst", _embedded(image, "worst structures"), words)


def _embedded(image: bytes, alt: str) -> str:
    return f"![{alt}](data:image/png;base64,{base64.b64encode(image).decode()})"


def _show(campaign: str, generation: int, part: str, *texts: str) -> None:
    title = f"{campaign}, generation {generation}"
    key = f"{artifact_key(campaign)}-{part}"
    create_markdown_artifact(key=key, markdown="\n\n".join(texts), description=title)
