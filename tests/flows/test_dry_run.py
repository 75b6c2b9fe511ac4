"""`run --dry-run` says what is left and what it costs, and leaves no trace."""

import shutil
import sys
import time
from pathlib import Path

import pytest
from running import CONFIGS, Finished

from al_engine import load_config
from al_engine.lifecycle import GenerationState
from al_engine.records import Generation
from al_engine.stages.estimate import Work, work_left
from al_engine.structures import read_structure
from db.store import Store
from flows.cli import execute

Capture = pytest.CaptureFixture[str]
STARTS = [read_structure(CONFIGS / "smoke.xyz")]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AL_ENGINE_DATABASE", "")
    monkeypatch.setenv("AL_ENGINE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_new_campaign_is_measured_and_nothing_is_made(empty: Path, capsys: Capture):
    started = time.monotonic()
    assert execute(["run", str(CONFIGS / "smoke.yaml"), "--dry-run"]) == 0
    assert time.monotonic() - started < 60
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "The campaign smoke has 0 labels and goes on with generation 0."
    assert "a label " in out[1]
    assert [line.split()[:2] for line in out[3:6]] == [["0", "0"], ["1", "300"], ["2", "300"]]
    assert [line.split()[5] for line in out[3:6]] == ["14", "9", "9"]
    assert out[6].startswith("At most 32 labels and about ")
    assert not list(empty.iterdir())


def test_a_mistake_is_found_as_in_a_run(empty: Path, capsys: Capture):
    (empty / "bad.yaml").write_text((CONFIGS / "smoke.yaml").read_text())
    assert execute(["run", "bad.yaml", "--dry-run"]) == 2
    assert "smoke.xyz' does not exist" in capsys.readouterr().err
    assert [path.name for path in empty.iterdir()] == ["bad.yaml"]


CALCULATOR = """
from ase.calculators.calculator import Calculator, all_changes

class Springs(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.5 * (atoms.positions**2).sum(), "forces": -atoms.positions}
"""


def test_a_calculator_may_be_a_module_beside_the_campaign_file(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = empty / "campaign"
    folder.mkdir()
    shutil.copy(CONFIGS / "smoke.xyz", folder)
    (folder / "springs.py").write_text(CALCULATOR)
    text = (CONFIGS / "smoke.yaml").read_text().replace("ase.calculators.emt.EMT", "springs.Springs")
    (folder / "smoke.yaml").write_text(text)
    assert execute(["run", "campaign/smoke.yaml", "--dry-run"]) == 0  # labels in processes of their own
    assert "measured: a label " in capsys.readouterr().out


def test_a_stored_campaign_goes_on_where_it_was(smoke: Finished, empty: Path, capsys: Capture):
    shutil.copy(smoke.folder / "al_engine.db", empty)
    before = (empty / "al_engine.db").read_bytes()
    config = str(CONFIGS / "smoke.yaml")
    assert execute(["run", config, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("The campaign smoke is done: ")
    assert execute(["run", config, "--dry-run", "--max-generations", "3"]) == 0
    assert capsys.readouterr().out.startswith(
        "The campaign smoke has 32 labels and goes on with generation 3."
    )
    assert (empty / "al_engine.db").read_bytes() == before
    with Store.open(f"sqlite:///{empty}/al_engine.db") as store:
        store.open_generation("smoke", 3)
    assert execute(["run", config, "--dry-run", "--max-generations", "3"]) == 0
    assert "goes on with generation 3: training.\n" in capsys.readouterr().out


def newest(state: GenerationState) -> Generation:
    return Generation("smoke", 1, state, 4, 0, 0, 0, 0, *[None] * 8)  # type: ignore[arg-type]


def test_work_left_begins_at_the_state_of_the_newest_generation():
    config = load_config(CONFIGS / "smoke.yaml")
    whole = Work(2, 300, 240, 9)
    assert work_left(config, STARTS, None) == [Work(0, 0, 0, 14), Work(1, 300, 240, 9), whole]
    for state, left in {
        GenerationState.OPEN: Work(1, 300, 240, 9),
        GenerationState.TRAINED: Work(1, 0, 240, 9),
        GenerationState.EXPLORED: Work(1, 0, 0, 9),
        GenerationState.SELECTED: Work(1, 0, 0, 5),
    }.items():
        assert work_left(config, STARTS, newest(state), n_unlabeled=5, n_labels=14) == [left, whole]
    assert work_left(config, STARTS, newest(GenerationState.CLOSED)) == [whole]


def test_the_budget_bounds_the_labels_that_are_left():
    config = load_config(CONFIGS / "smoke.yaml")
    config = config.model_copy(update={"budget": config.budget.model_copy(update={"labels": 20})})
    assert [w.n_labels for w in work_left(config, STARTS, None)] == [14, 6]
