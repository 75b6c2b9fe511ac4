"""A small campaign, all made up from a seed: every record that a store keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import (
    AuditDraw,
    Campaign,
    Candidate,
    Cost,
    Criterion,
    ExitReason,
    FailureReason,
    Label,
    LabelFailure,
    Metric,
    Origin,
    StopDecision,
    TrainedModel,
    TrainingFrame,
    Uncertainty,
    Walker,
)
from db.store import Store

NAME = "ethanol"
LEVEL = "GFN2-xTB; accuracy 1; xtb 22.1"
ETHANOL = [6, 6, 8, 1, 1, 1, 1, 1, 1]
COST = Cost("stage", 1.5, "cpu", 0)
STOP = StopDecision(
    False, (Criterion("upper", 0.31, "<= 0.05", False), Criterion("z2", float("nan"), "1", True)), "No."
)


def frame_of(seed: int, numbers: list[int] = ETHANOL, **more: object) -> Frame:
    rng = np.random.default_rng(seed)
    return Frame(np.array(numbers), rng.normal(size=(len(numbers), 3)), **more)  # type: ignore[arg-type]


def label_of(frame: Frame, shift: float = 0.0, level: str = LEVEL) -> Label:
    rng = np.random.default_rng(int(frame.frame_id[:8], 16))
    return Label(
        frame.frame_id, level, -310.0 + shift + rng.normal(), rng.normal(size=(frame.n_atoms, 3)), None, 0.1
    )


def failure_of(frame: Frame) -> LabelFailure:
    return LabelFailure(frame.frame_id, LEVEL, FailureReason.SCF, "no convergence", 2, 0.5)


def candidate_of(frame: Frame, origin: Origin, state: CandidateState, **more: object) -> Candidate:
    return Candidate(frame.frame_id, origin, state, **more)  # type: ignore[arg-type]


def campaign_of(starts: list[Frame], name: str = NAME) -> Campaign:
    return Campaign(name, '{"seed": 0}', LEVEL, "{}", tuple(frame.frame_id for frame in starts))


def begun(store: Store, name: str = NAME) -> list[Frame]:
    """A campaign with generation 0 open; its start."""
    starts = [frame_of(1)]
    store.create_campaign(campaign_of(starts, name), starts)
    store.open_generation(name, 0)
    return starts


def initial_frames(n: int = 4) -> list[Frame]:
    return [frame_of(100 + i) for i in range(n)]


def model_of(store: Store, number: int, name: str = NAME) -> TrainedModel:
    labeled = store.labeled(name, before=number)
    folds = store.folds(name)
    frames = tuple(
        TrainingFrame(item.frame.frame_id, folds.get(item.frame.frame_id, i % 4))
        for i, item in enumerate(labeled)
    )
    rng = np.random.default_rng(number)
    return TrainedModel(
        rng.bytes(200), 4, 2**62 + number, (1.0, 1.25, float("inf")), (0.1, float("nan"), 0.3),
        "uncalibrated", rng.normal(size=(5, 2)), ("step", "loss"), frames,
    )  # fmt: skip


def exploration_of(number: int) -> tuple[list[Frame], list[Walker], list[AuditDraw], list[Candidate]]:
    """Two walkers, six visited frames, two draws of which one is after its walker's exit."""
    frames = [frame_of(1000 * number + i) for i in range(7)]
    rng = np.random.default_rng(number)
    start, short = frame_of(1).frame_id, rng.normal(size=(2, 5)).astype("f4")
    long = rng.normal(size=(3, 5)).astype("f4")
    walkers = [
        Walker(0, start, 300.0, 50, 50, ExitReason.STEP_LIMIT, float("nan"), long),
        Walker(1, start, 500.0, 50, 20, ExitReason.CLASH, 0.41, short),
    ]
    visited = [
        candidate_of(
            frame, Origin.SELECTED, CandidateState.VISITED,
            walker=i % 2, step=10 * (i // 2), temperature=300.0,
            uncertainty=Uncertainty(*rng.uniform(size=8).tolist()), features=rng.normal(size=6).astype("f4"),
            distance=float(rng.uniform()),
        )
        for i, frame in enumerate(frames[:6])
    ]  # fmt: skip
    audit = candidate_of(frames[6], Origin.AUDIT, CandidateState.AUDIT, walker=0, step=7)
    draws = [AuditDraw(0, 0, 7, frames[6].frame_id), AuditDraw(1, 1, 33, None)]
    return frames, walkers, draws, [*visited, audit]


def chosen(store: Store, number: int, name: str = NAME) -> list[Candidate]:
    visited = [c for c in store.candidates(name, number) if c.state is CandidateState.VISITED]
    states = [CandidateState.SELECTED] * 3 + [CandidateState.REJECTED] * (len(visited) - 3)
    return [
        replace(c, state=s, score=0.5 * i, rank=i if i < 3 else None, reason=f"place {i}")
        for i, (c, s) in enumerate(zip(visited, states, strict=True))
    ]


Order = Callable[[list[Frame]], list[Frame]]


def label_all(store: Store, number: int, order: Order = list, name: str = NAME) -> None:
    """Label every waiting frame; the second by id of those to be labeled fails."""
    unchosen = (CandidateState.VISITED, CandidateState.REJECTED)
    ids = [c.frame_id for c in store.candidates(name, number) if c.state not in unchosen]
    for frame in order(store.frames(store.unlabeled_ids(name, number))):
        result = failure_of(frame) if frame.frame_id == ids[1] else label_of(frame)
        store.record_result(name, number, result)


def metrics_of(number: int) -> list[Metric]:
    return [
        Metric("audit", "energy", "rmse_ev_per_atom", 0.01 * number),
        Metric("audit", "forces", "rmse_ev_per_ang", 0.2 / number),
        Metric("audit", "forces", "mean_z2", 1.1),
        Metric("selected", "forces", "spearman", float("nan")),
    ]


def run_generation(store: Store, number: int, order: Order = list, name: str = NAME) -> None:
    store.open_generation(name, number)
    if number == 0:
        frames = initial_frames()
        initial = [
            candidate_of(f, Origin.INITIAL, CandidateState.SELECTED, rank=i) for i, f in enumerate(frames)
        ]
        store.finish_initial(name, order(frames), initial, COST)
    else:
        store.finish_training(
            name, number, model_of(store, number, name), [Metric("train", "energy", "mae", 0.5)], COST
        )
        frames, walkers, draws, candidates = exploration_of(number)
        store.finish_exploration(name, number, order(frames), walkers, draws, candidates, COST)
        store.finish_selection(name, number, chosen(store, number, name), COST)
    label_all(store, number, order, name)
    store.finish_labeling(name, number, COST)
    store.close_generation(name, number, metrics_of(number) if number else [], STOP, COST)


def run_campaign(store: Store, n: int = 2, order: Order = list, name: str = NAME) -> None:
    """Generation 0 and n - 1 with a model, all closed."""
    begun(store, name)
    for number in range(n):
        run_generation(store, number, order, name)
