"""The steps of a generation: read from the store, call the science, write to the store. Plain functions.

Each is safe to run again: the store refuses what it already has, and a stage draws the same numbers.
"""

import functools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

from al_engine.errors import AlEngineError, StoppedError
from al_engine.lifecycle import CandidateState, GenerationState
from al_engine.records import Cost, TrainedModel
from db.ledger import spend
from flows.assembly import Assembly, assemble
from flows.elsewhere import label_elsewhere
from flows.locks import only_training
from flows.progress import progress_of

log = logging.getLogger("al_engine.campaign")
CHECKPOINT_EVERY_S = 60.0
"""How often a training keeps its state."""


def _cost(stage: str, started: float, run: Assembly, n_labels: int = 0) -> Cost:
    seconds = time.perf_counter() - started
    return Cost(stage, seconds, run.config.device, n_labels)


@contextmanager
def _noted(
    run: Assembly, generation: int, toward: GenerationState, cost: Callable[[], Cost]
) -> Iterator[None]:
    """Note what a part of a stage cost where it ends before its time, by Ctrl-C or an error."""
    try:
        yield
    except BaseException:
        with suppress(AlEngineError):  # the first error is the one to tell
            spend(run.store, run.campaign.name, generation, toward, cost())
        raise


def own_model(run: Assembly, before: float = math.inf) -> TrainedModel | None:
    """Return the newest promoted ensemble, of the generations before one if that is given; None without."""
    from al_engine.convergence import promoted

    decisions = run.store.stop_decisions(run.campaign.name)
    best = promoted({number: d for number, d in decisions.items() if number < before})
    return None if best is None else run.store.model(run.campaign.name, best)


def initial(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Choose the frames of generation 0, which has no model."""
    from al_engine.stages.initial import initial_stage

    started = time.perf_counter()
    with assemble(campaign, database_url) as run:
        result = initial_stage(run.config, run.store.frames(run.campaign.start_frame_ids))
        cost = _cost("initial", started, run)
        run.store.finish_initial(campaign, result.frames, result.candidates, cost)
        log.info("generation %d: %d initial frames to label", generation, len(result.candidates))


def train(
    campaign: str, generation: int, database_url: str | None = None, until: float | None = None
) -> None:
    """Train the ensemble on every label of the generations before; a training that was stopped goes on.

    At `until` (Unix time) it stops, with its state kept and what it cost noted.
    """
    from al_engine.stages.train import train_stage
    from al_engine.training.state import Checkpoints
    from db.training_states import keep, kept

    with assemble(campaign, database_url) as run, only_training(run.config.device):
        started = time.perf_counter()
        save = functools.partial(keep, run.store, campaign, generation)
        stored = kept(run.store, campaign, generation)
        checkpoints = Checkpoints(save, stored, CHECKPOINT_EVERY_S, math.inf if until is None else until)
        labeled = run.store.labeled(campaign, before=generation)
        starts = run.store.frames(run.campaign.start_frame_ids)
        folds = run.store.folds(campaign)
        try:
            with _noted(run, generation, GenerationState.TRAINED, lambda: _cost("training", started, run)):
                outcome = train_stage(
                    run.config, generation, labeled, folds,
                    starts=starts, previous=own_model(run, generation),
                    progress=progress_of("train"), checkpoints=checkpoints,
                )  # fmt: skip
        except StoppedError as stopped:
            log.info("generation %d: training %s", generation, stopped)
            return
        model, cost = outcome.model, _cost("training", started, run)
        run.store.finish_training(campaign, generation, model, outcome.metrics, cost)
        log.info(
            "generation %d: trained %d networks on %d frames in %.1f s",
            generation, model.n_members, len(model.training_set), cost.seconds,
        )  # fmt: skip


def explore(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Walk with the ensemble; keep what was visited and the frames of the audit."""
    from al_engine.convergence import audit_sizes, count_looks
    from al_engine.stages.explore import explore_stage

    started = time.perf_counter()
    with assemble(campaign, database_url) as run:
        model = run.store.model(campaign, generation)
        assert model is not None  # noqa: S101  # TRAINED means that it is there
        labeled = run.store.labeled(campaign, before=generation)
        starts = run.store.frames(run.campaign.start_frame_ids)
        n_looks = count_looks(audit_sizes(run.store.stop_decisions(campaign).values()), run.config.stop)
        result = explore_stage(
            run.config, generation, model, labeled,
            starts=starts, n_looks=n_looks, progress=progress_of("explore"),
        )  # fmt: skip
        cost = _cost("exploring", started, run)
        run.store.finish_exploration(
            campaign, generation, result.frames, result.walkers, result.draws, result.candidates, cost,
            result.metrics,
        )  # fmt: skip
        log.info(
            "generation %d: %d walkers visited %d candidates in %.1f s",
            generation, len(result.walkers), len(result.candidates), cost.seconds,
        )  # fmt: skip


def select(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Choose the candidates to label."""
    from al_engine.stages.select import quarantined, select_stage
    from db.failures import failures

    started = time.perf_counter()
    with assemble(campaign, database_url) as run:
        n_labels = sum(g.n_labeled for g in run.store.generations(campaign))
        candidates = run.store.candidates(campaign, generation)
        barred = quarantined(f for _, f in failures(run.store, campaign, before=generation))
        chosen = select_stage(run.config, generation, candidates, n_labels, barred)
        run.store.finish_selection(campaign, generation, chosen, _cost("selecting", started, run))
        n_to_label = len(run.store.unlabeled_ids(campaign, generation))
        log.info("generation %d: %d frames to label", generation, n_to_label)


def label(
    campaign: str, generation: int, chunk: int, frame_ids: list[str], database_url: str | None = None
) -> None:
    """Label those of these frames that still lack a label, here or by jobs; each is stored when it ends.

    Raises:
        AlEngineError: The first ones all fail; none of them is stored.
    """
    from al_engine.stages.select import QUARANTINED, quarantined
    from db.failures import failures

    started = time.perf_counter()
    with assemble(campaign, database_url) as run:
        missing = set(run.store.unlabeled_ids(campaign, generation)).intersection(frame_ids)
        barred = quarantined(f for _, f in failures(run.store, campaign, before=generation))
        for frame_id in missing & barred.keys():
            failure = replace(barred[frame_id], message=QUARANTINED, attempts=0, seconds=0.0)
            run.store.record_result(campaign, generation, failure)
        ids = sorted(missing - barred.keys())
        report = progress_of("label")
        report(0, len(ids), "")
        done, toward = 0, GenerationState.LABELED

        def cost() -> Cost:
            return replace(_cost("labeling", started, run, done), device="cpu")

        if run.config.labeling.where is None:
            counts = _label_here(run, generation, ids)
        else:
            counts = label_elsewhere(run, generation, ids, database_url)
        with _noted(run, generation, toward, cost), closing(counts):
            for done in counts:
                report(done, len(ids), "")
        spend(run.store, campaign, generation, toward, cost())
        log.info("generation %d: chunk %d with %d labels done", generation, chunk, len(ids))


def _label_here(run: Assembly, generation: int, frame_ids: list[str]) -> Generator[int, None, None]:
    """Label frames on this machine; yield how many are done after each."""
    from al_engine.labeling import Labeler
    from al_engine.labeling.breaker import stop_where_all_fail

    labeler = Labeler(run.config.reference, run.config.labeling, run.campaign.level_of_theory)
    n_first = run.config.labeling.stop_after_failures
    with closing(labeler.label_all(run.store.frames(frame_ids))) as results:
        for done, result in enumerate(stop_where_all_fail(results, n_first), 1):
            run.store.record_result(run.campaign.name, generation, result)
            yield done


def confirm(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Where the small audit looks good, have the confirming one labeled."""
    from al_engine.stages.close import confirm_stage

    with assemble(campaign, database_url) as run:
        store, model = run.store, run.store.model(campaign, generation)
        assert model is not None  # noqa: S101  # SELECTED with an audit means that it is there
        against = confirm_stage(
            run.config,
            generation,
            model,
            store.labeled(campaign),
            previous=own_model(run, generation),
            draws=store.audit_draws(campaign, generation),
            n_labels=sum(g.n_labeled for g in store.generations(campaign)),
        )
        store.decide_confirming(campaign, generation, against and f"confirming audit not labeled: {against}")
        outcome = f"no confirming audit: {against}" if against else "a confirming audit is labeled"
        log.info("generation %d: %s", generation, outcome)


def close(campaign: str, generation: int, database_url: str | None = None) -> None:
    """Judge the exploring ensemble by the new labels; decide whether the campaign converged."""
    from al_engine.report.text import closing_line
    from al_engine.stages.close import close_stage

    started = time.perf_counter()
    with assemble(campaign, database_url) as run:
        store = run.store
        decisions = store.stop_decisions(campaign)
        candidates = store.candidates(campaign, generation)
        result = close_stage(
            run.config,
            generation,
            store.model(campaign, generation),
            store.labeled(campaign),
            previous=own_model(run, generation),
            draws=store.audit_draws(campaign, generation),
            rejected={c.frame_id for c in candidates if c.state is CandidateState.REJECTED},
            earlier=[d for number, d in decisions.items() if number < generation],
        )
        store.close_generation(
            campaign, generation, result.metrics, result.stop, _cost("closing", started, run)
        )
        log.info("generation %d: closed, %s", generation, closing_line(result.metrics, result.stop))
