"""What a campaign lacks, asked of the store: start, resume and retry are one path, Prefect or not."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from al_engine.errors import StateError
from al_engine.lifecycle import GenerationState
from al_engine.records import Cost
from al_engine.stages.limits import NextStep
from al_engine.stages.plan import End, end_of
from db.approvals import is_approved
from db.ledger import costs
from flows import steps
from flows.assembly import Assembly, assemble
from flows.lease import WaitedInVainError, leading

Step = Callable[..., None]
Call = Callable[..., Any]
"""Called with a step, what it comes after, and its arguments; returns what others can come after."""


def plainly(step: Step, after: Sequence[Any], **arguments: object) -> None:
    """Call a step as it is, without Prefect."""
    del after
    step(**arguments)


def run_generation(
    campaign: str,
    number: int,
    database_url: str | None = None,
    call: Call = plainly,
    until: float | None = None,
) -> None:
    """Do what this generation still lacks, until it is closed or `until` (Unix time) allows no next step."""
    here: dict[str, Any] = {"campaign": campaign, "generation": number, "database_url": database_url}
    after: list[Any] = []
    chunk = 0
    while True:
        with assemble(campaign, database_url) as run:
            generation = run.store.generation(campaign, number)
            missing = run.store.unlabeled_ids(campaign, number)
            undecided = run.store.unlabeled_ids(campaign, number, undecided=True)
            if halted(run, until) is not None:
                return
            stop = _stop_of_training(run, until)
        match generation.state if generation else None:
            case GenerationState.OPEN if number:
                after = [call(steps.train, after, until=stop, **here)]
            case GenerationState.OPEN:
                after = [call(steps.initial, after, **here)]
            case GenerationState.TRAINED:
                after = [call(steps.explore, after, **here)]
            case GenerationState.EXPLORED:
                after = [call(steps.select, after, **here)]
            case GenerationState.SELECTED if missing:
                ids = missing[: run.config.labeling.task_size]
                after = [call(steps.label, after, chunk=chunk, frame_ids=ids, **here)]
                chunk += 1
            case GenerationState.SELECTED if undecided:
                after = [call(steps.confirm, after, **here)]
            case GenerationState.SELECTED:
                with assemble(campaign, database_url) as run:
                    run.store.finish_labeling(campaign, number, Cost("labeling", 0.0, "cpu"))
            case GenerationState.LABELED:
                after = [call(steps.close, after, **here)]
            case GenerationState.CLOSED:
                return
            case state:
                raise StateError(f"generation {number} of {campaign!r} cannot go on: {state or 'missing'}")


def end(run: Assembly) -> End | None:
    """Return why the campaign is over; None where something is left to do."""
    name = run.campaign.name
    newest = run.store.latest_generation(name)
    stop = run.store.stop_decision(name, newest.number) if newest else None
    over = end_of(run.config, newest, stop, sum(g.n_labeled for g in run.store.generations(name)))
    if over is None and run.config.budget.hours is not None and not _next(run).fits_budget(run.config):
        return End.HOURS_SPENT
    return over


def _next(run: Assembly) -> NextStep:
    name = run.campaign.name
    newest = run.store.latest_generation(name)
    missing = run.store.unlabeled_ids(name, newest.number) if newest else []
    return NextStep(costs(run.store, name), newest, min(len(missing), run.config.labeling.task_size))


def waiting(run: Assembly) -> tuple[int, list[str]] | None:
    """Return the generation that a person has to approve, and its frames; None where there is none."""
    newest = run.store.latest_generation(run.campaign.name)
    if newest is None or newest.state is not GenerationState.SELECTED or not run.config.selection.approve:
        return None
    here = run.campaign.name, newest.number
    frames = run.store.unlabeled_ids(*here)
    return (newest.number, frames) if frames and not is_approved(run.store, *here) else None


def halted(run: Assembly, until: float | None = None) -> End | None:
    """Return why this run goes no further: the campaign is over or waits, or the next step has no time."""
    over = end(run)
    if over is None and waiting(run):
        return End.APPROVAL
    if over is None and until is not None and not _next(run).fits_wall_time(run.config, until - time.time()):
        return End.WALL_TIME
    return over


def _stop_of_training(run: Assembly, until: float | None) -> float | None:
    """Return when a training has to stop, Unix time: with the run, or with the hours of the budget."""
    hours, ends = run.config.budget.hours, [] if until is None else [until]
    if hours is not None:
        ends.append(time.time() + hours * 3600 - _next(run).seconds_spent)
    return min(ends, default=None)


def drive(
    campaign: str,
    database_url: str | None = None,
    generation: Callable[..., None] = run_generation,
    began: float | None = None,
) -> End:
    """Run generations until the campaign ends, or this run has to; return why it did.

    Another driver's end is waited for, as long as the wall time allows.

    Args:
        campaign: Its name.
        database_url: Where it is stored.
        generation: Called with the campaign, the generation's number, the URL, and `until`.
        began: When the wall time began, Unix time; default: now.
    """
    began = time.time() if began is None else began
    with assemble(campaign, database_url) as run:
        hours = run.config.wall_time_h
    until = None if hours is None else began + hours * 3600
    try:
        with leading(campaign, database_url, until):
            return _drive(campaign, database_url, generation, until)
    except WaitedInVainError:
        return End.WALL_TIME


def _drive(
    campaign: str, database_url: str | None, generation: Callable[..., None], until: float | None
) -> End:
    while True:
        with assemble(campaign, database_url) as run:
            over = halted(run, until)
            if over is not None:
                return over
            newest = run.store.latest_generation(campaign)
            number = newest.number if newest else 0
            if newest is None or newest.state is GenerationState.CLOSED:
                number = number + 1 if newest else 0
                run.store.open_generation(campaign, number)
        generation(campaign, number, database_url, until=until)
