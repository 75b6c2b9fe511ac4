"""The steps as Prefect tasks: retries for what can pass, none for what cannot; the graph shows the order."""

import functools
import time
from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from al_engine.errors import DatabaseError
from flows import steps
from flows.artifacts import artifact_key, is_there, publish, publish_newest
from flows.driver import Step
from flows.progress import Watcher, watching

PROGRESS_EVERY_S = 1.0


def can_pass(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failure may be gone the next time: a database or a disk that was away."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError | DatabaseError)


def progress_bar(campaign: str, generation: int) -> Watcher:
    """Return a watcher that moves a progress bar in the UI, at most once a second."""
    bar: list[Any] = []  # the artifact's id, once it is there
    moved = 0.0

    def watch(stage: str, done: int, total: int, news: str) -> None:
        nonlocal moved
        now = time.monotonic()
        if not total or (now < moved + PROGRESS_EVERY_S and done < total):
            return
        moved = now
        if not is_there():
            return  # the work goes on without a bar
        percent = 100 * done / total
        if bar:
            update_progress_artifact(artifact_id=bar[0], progress=percent, description=f"{stage}: {news}")
        else:
            key = f"{artifact_key(campaign)}-{generation}-{stage}"
            bar.append(create_progress_artifact(progress=percent, key=key, description=stage))

    return watch


def _as_task(step: Step, run_name: str) -> Any:
    """Return a step as a task; ids go in, nothing comes out, the store remembers."""

    @functools.wraps(step)
    def watched(campaign: str, generation: int, *rest: Any) -> None:
        with watching(progress_bar(campaign, generation)):
            step(campaign, generation, *rest)

    return task(
        name=step.__name__,
        task_run_name=run_name,
        retries=2,
        retry_delay_seconds=[2, 20],
        retry_condition_fn=can_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(watched)


def _shown(step: Step, show: Step) -> Step:
    """Return a step that shows in the UI what it did."""

    @functools.wraps(step)
    def both(*arguments: Any, **named: Any) -> None:
        step(*arguments, **named)
        show(*arguments, **named)

    return both


TASKS = {
    steps.initial: _as_task(_shown(steps.initial, publish_newest), "initial frames"),
    steps.train: _as_task(steps.train, "train {generation}"),
    steps.explore: _as_task(steps.explore, "explore {generation}"),
    steps.select: _as_task(_shown(steps.select, publish_newest), "select {generation}"),
    steps.label: _as_task(steps.label, "label {generation}, chunk {chunk}"),
    steps.confirm: _as_task(steps.confirm, "confirm {generation}"),
    steps.close: _as_task(_shown(steps.close, publish), "close {generation}"),
}


def as_task(step: Step, after: Sequence[Any], **arguments: Any) -> Any:
    """Run a step as a task in this thread; its state can come before others in the graph."""
    state = TASKS[step](**arguments, wait_for=after, return_state=True)
    state.result()  # raises what the step raised
    return state
