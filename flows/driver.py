"""What a campaign lacks, asked of the store: start, resume and retry are one path, Prefect or not."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from al_engine.errors import StateError
from al_engine.lifecycle import GenerationState
from al_engine.records import Cost
from al_engine.stages.plan import End, end_of
from flows import steps
from flows.assembly import Assembly, assemble

Step = Callable[..., None]
Call = Callable[..., Any]
"""Called with a step, what it comes after, and its arguments; returns what others can come after."""


def plainly(step: Step, after: Sequence[Any], **arguments: object) -> None:
    """Call a step as it is, without Prefect."""
    del after
    step(**arguments)


def run_generation(campaign: str, number: int, database_url: str | None = None, call: Call = plainly) -> None:
    """Do what this generation still lacks, until it is closed."""
    here: dict[str, Any] = {"campaign": campaign, "generation": number, "database_url": database_url}
    after: list[Any] = []
    cost = Cost("labeling", 0.0, "cpu", 0)
    while True:
        with assemble(campaign, database_url) as run:
            generation = run.store.generation(campaign, number)
            missing = run.store.unlabeled_ids(campaign, number)
            undecided = run.store.unlabeled_ids(campaign, number, undecided=True)
        match generation.state if generation else None:
            case GenerationState.OPEN:
                after = [call(steps.train if number else steps.initial, after, **here)]
            case GenerationState.TRAINED:
                after = [call(steps.explore, after, **here)]
            case GenerationState.EXPLORED:
                after = [call(steps.select, after, **here)]
            case GenerationState.SELECTED if missing:
                started = time.perf_counter()
                after = label_missing(run.config.labeling.chunk_size, missing, call, after, **here)
                seconds, n_labels = time.perf_counter() - started, len(missing)
                cost = replace(cost, seconds=cost.seconds + seconds, n_labels=cost.n_labels + n_labels)
            case GenerationState.SELECTED if undecided:
                after = [call(steps.confirm, after, **here)]
            case GenerationState.SELECTED:
                with assemble(campaign, database_url) as run:
                    run.store.finish_labeling(campaign, number, cost)
            case GenerationState.LABELED:
                after = [call(steps.close, after, **here)]
            case GenerationState.CLOSED:
                return
            case state:
                raise StateError(f"generation {number} of {campaign!r} cannot go on: {state or 'missing'}")


def label_missing(
    size: int, frame_ids: Sequence[str], call: Call, after: Sequence[Any] = (), **here: Any
) -> list[Any]:
    """Label these frames in chunks of this size; return what others can come after."""
    chunks = [frame_ids[i : i + size] for i in range(0, len(frame_ids), size)]
    return [call(steps.label, after, chunk=chunk, frame_ids=ids, **here) for chunk, ids in enumerate(chunks)]


def end(run: Assembly) -> End | None:
    """Return why the campaign is over; None where something is left to do."""
    name = run.campaign.name
    newest = run.store.latest_generation(name)
    stop = run.store.stop_decision(name, newest.number) if newest else None
    return end_of(run.config, newest, stop, sum(g.n_labeled for g in run.store.generations(name)))


def drive(
    campaign: str,
    database_url: str | None = None,
    generation: Callable[[str, int, str | None], None] = run_generation,
) -> End:
    """Run generations until the campaign ends; return why it did."""
    while True:
        with assemble(campaign, database_url) as run:
            over = end(run)
            if over is not None:
                return over
            newest = run.store.latest_generation(campaign)
            number = newest.number if newest else 0
            if newest is None or newest.state is GenerationState.CLOSED:
                number = number + 1 if newest else 0
                run.store.open_generation(campaign, number)
        generation(campaign, number, database_url)
