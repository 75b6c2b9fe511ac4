"""A confirming audit is labeled where the small one looks good, once, whatever interrupts the campaign."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import CONFIGS

from al_engine.config_file import load_config
from al_engine.convergence import WORSE_BLOCKS, look_size, promoted
from al_engine.lifecycle import CandidateState, GenerationState
from al_engine.records import Cost, Criterion, Origin, StopDecision
from al_engine.stages.plan import End
from db.dump import canonical_dump
from db.store import Store
from db.verify import verify
from flows import steps
from flows.assembly import assemble, register
from flows.cli import execute
from flows.driver import drive, plainly, run_generation

N_SMALL = 4


class StoppedError(Exception):
    """The process ends here."""


def fresh(folder: Path, tolerance: float = 50.0, labels: int | None = None) -> str:
    """A database with the smoke campaign, whose audits look good at such a tolerance."""
    folder.mkdir()
    url = f"sqlite:///{folder}/al_engine.db"
    config = load_config(CONFIGS / "smoke.yaml")
    changes = {
        "stop": config.stop.model_copy(update={"tolerance_ev_per_ang": tolerance}),
        "budget": config.budget.model_copy(update={"labels": labels}),
        "training": config.training.model_copy(update={"n_steps": 60}),
        "max_generations": 1,
    }
    register(config.model_copy(update=changes), CONFIGS / "smoke.yaml", url)
    return url


def audits(url: str) -> dict[CandidateState, int]:
    """Candidates of the audits of generation 1, by state."""
    with Store.open(url) as store:
        states = [c.state for c in store.candidates("smoke", 1) if c.origin is Origin.AUDIT]
    return {state: states.count(state) for state in set(states)}


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = fresh(tmp_path_factory.mktemp("confirmed") / "run")
    drive("smoke", url)
    return url


def test_the_confirming_audit_alone_is_the_look(confirmed: str):
    with Store.open(confirmed) as store:
        draws, decision = store.audit_draws("smoke", 1), store.stop_decision("smoke", 1)
        assert verify(store, "smoke") == []
        assert promoted(store.stop_decisions("smoke")) == 1
    needed = look_size(1, load_config(CONFIGS / "smoke.yaml").stop)
    assert len(draws) == N_SMALL + needed
    assert decision is not None
    values = {c.name: c.value for c in decision.criteria}
    assert values["audit_draws"] == needed
    n_reached = sum(d.frame_id is not None for d in draws)
    assert audits(confirmed) == {CandidateState.LABELED: n_reached}


def test_a_run_that_is_stopped_before_any_step_ends_the_same(confirmed: str, tmp_path: Path):
    url, n_calls = fresh(tmp_path / "run"), 0

    def once(step: Any, after: Any, **arguments: Any) -> None:
        """Do one step, and stop before the next one."""
        nonlocal n_calls
        if n_calls == 1:
            raise StoppedError
        n_calls = 1
        plainly(step, after, **arguments)

    stops = []
    for number in (0, 1):
        with Store.open(url) as store:
            store.open_generation("smoke", number)
        while True:
            n_calls = 0
            try:
                run_generation("smoke", number, url, once)
                break
            except StoppedError:
                with Store.open(url) as store:
                    generation = store.generation("smoke", number)
                    assert generation is not None
                    stops.append((number, generation.state))
    assert stops.count((1, GenerationState.SELECTED)) >= 4  # select, label, confirm, label
    with Store.open(url) as store, Store.open(confirmed) as undisturbed:
        assert canonical_dump(store, "smoke") == canonical_dump(undisturbed, "smoke")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"tolerance": 1e-9}, "the small audit does not look good"), ({"labels": 40}, "than the budget has")],
)
def test_it_is_not_labeled_where_the_small_one_looks_bad_or_the_budget_is_short(
    tmp_path: Path, changes: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str]
):
    url = fresh(tmp_path / "run", **changes)
    assert drive("smoke", url) in (End.MAX_GENERATIONS, End.BUDGET_SPENT)
    found = audits(url)
    assert found[CandidateState.LABELED] <= N_SMALL
    assert found[CandidateState.REJECTED] > 30
    with Store.open(url) as store:
        left = [c for c in store.candidates("smoke", 1) if c.origin is Origin.AUDIT and c.state == "rejected"]
        assert all(reason in c.reason for c in left)
        decision = store.stop_decision("smoke", 1)
    assert decision is not None
    assert not decision.converged
    assert {c.name: c.value for c in decision.criteria}["audit_draws"] == N_SMALL
    assert execute(["status", "smoke", "--database", url]) == 0
    assert "55 are needed, and labeled where a small audit looks good" in capsys.readouterr().out


def test_what_comes_after_a_model_that_is_not_promoted_goes_on_from_the_one_before(
    confirmed: str, tmp_path: Path
):
    shutil.copy(confirmed.removeprefix("sqlite:///"), tmp_path / "copy.db")
    with assemble("smoke", f"sqlite:///{tmp_path}/copy.db") as run:
        store, cost = run.store, Cost("test", 0.0, "cpu")
        first = store.model("smoke", 1)
        assert first is not None
        worse = StopDecision(False, (Criterion(WORSE_BLOCKS, 1.0, "0", False),), "")
        store.open_generation("smoke", 2)
        store.finish_training("smoke", 2, replace(first, seed=first.seed + 1), [], cost)
        store.finish_exploration("smoke", 2, [], [], [], [], cost)
        store.finish_selection("smoke", 2, [], cost)
        store.finish_labeling("smoke", 2, cost)
        store.close_generation("smoke", 2, [], worse, cost)
        found = [steps.own_model(run, before) for before in (1, 2, 3)]
    assert [model and model.seed for model in found] == [None, first.seed, first.seed]
