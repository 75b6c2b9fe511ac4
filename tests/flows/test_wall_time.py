"""A campaign that its wall time or its hours stop goes on later, and ends as if it had not been stopped."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from running import CONFIGS, Finished, command

from al_engine.config_file import load_config
from al_engine.frames import Frame
from al_engine.labeling import Labeler
from al_engine.records import Label
from al_engine.stages.plan import End
from db.dump import canonical_dump
from db.ledger import costs
from db.store import Store
from db.training_states import kept
from flows import steps
from flows.assembly import assemble, register
from flows.cli import execute
from flows.driver import drive, end, run_generation


def changed(folder: Path, **changes: object) -> Path:
    """The smoke campaign with other values."""
    data = YAML(typ="safe").load((CONFIGS / "smoke.yaml").read_text()) | changes
    shutil.copy(CONFIGS / "smoke.xyz", folder)
    file = folder / "smoke.yaml"
    file.write_text(json.dumps(data, indent=1))
    return file


def set_up(folder: Path, url: str, **changes: object) -> None:
    file = changed(folder, **changes)
    register(load_config(file), file, url)


@pytest.fixture
def copied(smoke: Finished, tmp_path: Path) -> str:
    """The database of the finished smoke campaign."""
    shutil.copy(smoke.folder / "al_engine.db", tmp_path)
    return f"sqlite:///{tmp_path}/al_engine.db"


def spent(url: str) -> float:
    with Store.open(url) as store:
        return sum(cost.seconds for rows in costs(store, "smoke").values() for cost in rows)


def run_generation_0(url: str) -> None:
    with Store.open(url) as store:
        store.open_generation("smoke", 0)
        run_generation("smoke", 0, url)
        store.open_generation("smoke", 1)


def test_a_stopped_training_notes_its_cost_keeps_its_state_and_ends_with_the_same_bits(
    smoke: Finished, tmp_path: Path
):
    url = f"sqlite:///{tmp_path}/al_engine.db"
    set_up(tmp_path, url)
    run_generation_0(url)
    for n_stops in (1, 2):
        steps.train("smoke", 1, url, until=0.0)  # stops after the first step that it takes
        with Store.open(url) as store:
            assert kept(store, "smoke", 1) is not None
            assert [c.stage for c in costs(store, "smoke")[1]] == ["training"] * n_stops
    assert drive("smoke", url) is End.MAX_GENERATIONS
    with Store.open(url) as store, Store.open(smoke.url) as undisturbed:
        assert canonical_dump(store, "smoke") == canonical_dump(undisturbed, "smoke")
        trainings = [c.seconds for c in costs(store, "smoke")[1] if c.stage == "training"]
        (generation,) = [g for g in store.generations("smoke") if g.number == 1]
        assert len(trainings) == 3
        assert generation.seconds_training == pytest.approx(sum(trainings))


def test_labels_that_an_interruption_ends_are_in_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = f"sqlite:///{tmp_path}/al_engine.db"
    set_up(tmp_path, url)

    def interrupted(_labeler: Labeler, frames: Sequence[Frame]) -> Iterator[Label]:
        yield Label(frames[0].frame_id, level, -1.0, np.zeros((frames[0].n_atoms, 3)))
        time.sleep(0.05)
        raise KeyboardInterrupt

    with Store.open(url) as store:
        level = store.campaign("smoke").level_of_theory
        store.open_generation("smoke", 0)
        steps.initial("smoke", 0, url)
        ids = store.unlabeled_ids("smoke", 0)
        monkeypatch.setattr(Labeler, "label_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            steps.label("smoke", 0, 0, ids, url)
        (row,) = (cost for cost in costs(store, "smoke")[0] if cost.stage == "labeling")
        assert row.n_labels == len(ids) - len(store.unlabeled_ids("smoke", 0)) == 1
        assert 0.05 < row.seconds < 5


def test_a_run_whose_wall_time_is_over_begins_nothing(copied: str, tmp_path: Path):
    set_up(tmp_path, copied, max_generations=3, wall_time_h=1.0)
    before = spent(copied)
    assert drive("smoke", copied, began=time.time() - 3600) is End.WALL_TIME
    assert spent(copied) == before


@pytest.mark.parametrize(("hours", "wall_time_h"), [(None, 1.0), (2.0, None), (2.0, 1.0), (1.0, 2.0)])
def test_a_training_is_told_when_the_run_and_the_hours_end(
    copied: str, tmp_path: Path, hours: float | None, wall_time_h: float | None
):
    set_up(tmp_path, copied, max_generations=3, budget={"hours": hours}, wall_time_h=wall_time_h)
    told: list[float] = []

    class ToldError(Exception):
        """Ends the generation."""

    def tell(_step: Any, _after: Any, until: float, **_: Any) -> None:
        told.append(until)
        raise ToldError

    def begin(*arguments: Any, until: float | None) -> None:
        run_generation(*arguments, call=tell, until=until)

    now = time.time()
    with pytest.raises(ToldError):
        drive("smoke", copied, begin)
    ends = [now + hours * 3600 - spent(copied)] if hours else []
    ends += [now + wall_time_h * 3600] if wall_time_h else []
    assert told == [pytest.approx(min(ends), abs=10)]


def test_hours_stop_a_campaign_before_the_generation_that_exceeds_them_and_more_let_it_go_on(
    copied: str, tmp_path: Path
):
    with Store.open(copied) as store:
        last = sum(cost.seconds for cost in costs(store, "smoke")[2])
    hours = (spent(copied) + 0.9 * last) / 3600
    set_up(tmp_path, copied, max_generations=3, budget={"hours": hours})
    assert drive("smoke", copied) is End.HOURS_SPENT
    with Store.open(copied) as store:
        assert [g.number for g in store.generations("smoke")] == [0, 1, 2]
    set_up(tmp_path, copied, max_generations=3, budget={"hours": hours + 1})
    with assemble("smoke", copied) as run:
        assert end(run) is None


def test_hours_that_end_in_a_generation_leave_it_open(
    copied: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    set_up(tmp_path, copied, max_generations=3)
    with Store.open(copied) as store:
        store.open_generation("smoke", 3)
    hours = (spent(copied) + 1e-6) / 3600
    file = changed(tmp_path, max_generations=3, budget={"hours": hours})
    assert execute(["run", str(file), "--database", copied]) == 0
    assert "The campaign smoke is done: its hours are spent (budget.hours)" in capsys.readouterr().out
    assert spent(copied) <= hours * 3600


def test_the_command_says_that_the_wall_time_is_over_and_leaves_with_0(
    copied: str, prefect_api: str, tmp_path: Path
):
    file = changed(tmp_path, max_generations=3, wall_time_h=1e-9)
    done = command("run", str(file), cwd=tmp_path, env={"PREFECT_API_URL": prefect_api})
    assert done.returncode == 0, done.stderr
    assert "stopped at its wall_time_h: run the same command to go on." in done.stdout
