"""What a command must not do: lose its work at the end, leave traces, or forget what it knew."""

import json
import shutil
from pathlib import Path

import pytest
from running import CONFIGS, Finished

from al_engine import load_config
from db.store import Store
from flows.cli import execute

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def copied(smoke: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the finished campaign's database, the default one there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AL_ENGINE_DATABASE", "")
    shutil.copy(smoke.folder / "al_engine.db", tmp_path)
    (tmp_path / "folder.extxyz").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", str(CONFIGS / "smoke.yaml"), "--data", "none", "-o", "no/x"], "there is no folder 'no'"),
        (["potential", "smoke", "-o", "no/m"], "there is no folder 'no'"),
        (["potential", "smoke", "-o", "folder.extxyz"], "it is a folder"),
        (["init", str(CONFIGS / "smoke.xyz"), "-o", "no/x.yaml"], "there is no folder 'no'"),
        (["export", "smoke", "folder.extxyz"], "it is a folder"),
        (["export", "smoke", "no/a.extxyz"], "there is no folder 'no'"),
        (["report", "-o", "no/report.html"], "there is no folder 'no'"),
        (["verify", "smoke", "--dump", "no/dump"], "there is no folder 'no'"),
    ],
)
def test_a_file_that_cannot_be_written_costs_one_line_before_the_work(
    arguments: list[str], said: str, copied: Path, capsys: Capture
):
    assert execute(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("file", "name"), [("my camp.yaml", "my-camp"), ("+++.yaml", "Cu5"), (f"{'a' * 80}.yaml", "a" * 64)]
)
def test_init_makes_a_name_of_the_file_name(
    file: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert execute(["init", str(CONFIGS / "smoke.xyz"), "-o", file]) == 0
    assert load_config(file).name == name


def test_status_of_an_open_generation_keeps_the_newest_decision(copied: Path, capsys: Capture):
    with Store.open(f"sqlite:///{copied}/al_engine.db") as store:
        before = store.stop_decision("smoke", 2)
        store.open_generation("smoke", 3)
    assert before is not None
    assert execute(["status", "--json"]) == 0
    stop = json.loads(capsys.readouterr().out)["campaigns"][0]["stop"]
    assert [c["name"] for c in stop["criteria"]] == [c.name for c in before.criteria]
    assert execute(["status"]) == 0
    assert before.sentence in capsys.readouterr().out


def test_doctor_only_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AL_ENGINE_DATABASE", "")
    monkeypatch.setenv("AL_ENGINE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert execute(["doctor"]) == 0
    assert "al_engine.db: none yet; al-engine run makes it" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
