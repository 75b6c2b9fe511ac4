"""A mistake of the user: exit code 2 and one line, where, what and what is allowed, before any compute."""

from pathlib import Path

import pytest

from db.store import Store
from flows.cli import execute

GOOD = """\
name: bad
systems:
  - structure: h2o.xyz
reference:
  kind: ase
  calculator: ase.calculators.emt.EMT
"""
WATER = "3\nwater\nO 0 0 0\nH 0.76 0.59 0\nH -0.76 0.59 0\n"
XTB = "name: bad\nsystems:\n  - structure: h2o.xyz\n"
EMT = "reference:\n  kind: ase\n  calculator: ase.calculators.emt.EMT\n"

CASES = {
    "unknown key": (GOOD + "sead: 1\n", {}, "line 7: sead = 1: ", "unknown key; allowed are audit"),
    "wrong type": (GOOD + "seed: zero\n", {}, "line 7: seed = 'zero': ", "integer"),
    "negative temperature": (
        GOOD + "exploration:\n  sampler:\n    kind: langevin\n    temperatures_k: [-300]\n",
        {},
        "line 10: exploration.sampler.temperatures_k.0 = -300: ",
        "greater than 0",
    ),
    "missing structure file": (
        GOOD.replace("h2o", "no"),
        {},
        "line 3: systems.0.structure = 'no.xyz': ",
        "does not exist",
    ),
    "unreadable structure": (
        GOOD,
        {"h2o.xyz": "3\n\nO 0 0\n"},
        "line 3: systems.0.structure = ",
        "cannot be used",
    ),
    "element unknown to the calculator": (
        XTB + EMT,
        {"h2o.xyz": "1\n\nU 0 0 0\n"},
        "line 4: reference = ",
        "U",
    ),
    "two atoms at the same place": (
        XTB,
        {"h2o.xyz": "3\n\nO 0 0 0\nH 0.76 0.59 0\nH 0.76 0.59 0\n"},
        "line 3: systems.0.structure = 'h2o.xyz': ",
        "Å",
    ),
    "odd electrons with multiplicity 1": (
        XTB + "    charge: 1\n    multiplicity: 1\n",
        {},
        "line 5: systems.0.multiplicity = 1: ",
        "give an even multiplicity or another charge",
    ),
    "calculator that cannot be imported": (
        GOOD.replace("ase.calculators.emt.EMT", "no.such.Calculator"),
        {},
        "line 6: reference.calculator = 'no.such.Calculator': ",
        "cannot be imported",
    ),
    "class that is no calculator": (
        GOOD.replace("ase.calculators.emt.EMT", "pathlib.Path"),
        {},
        "line 6: reference.calculator = 'pathlib.Path': ",
        "is not an ASE calculator",
    ),
    "misspelled keyword of the calculator": (
        GOOD + "  keywords: {asap: 1}\n",
        {},
        "line 7: reference.keywords = {'asap': 1}: ",
        "has no keyword 'asap'; it has asap_cutoff",
    ),
    "key given twice": (GOOD + "name: again\n", {}, "line 7: syntax = 'name: again': ", "duplicate key"),
    "missing test set": (GOOD + "test_set: no.extxyz\n", {}, "line 7: test_set = 'no.extxyz': ", "no.extxyz"),
    "no such file": (None, {}, "file = 'campaign.yaml': ", "a readable YAML file"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AL_ENGINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AL_ENGINE_DATABASE", "")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_costs_one_line(case: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    text, files, where, allowed = CASES[case]
    for name, content in ({"h2o.xyz": WATER} | files).items():
        (folder / name).write_text(content)
    if text is not None:
        (folder / "campaign.yaml").write_text(text)
    assert execute(["run", "campaign.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("al-engine: campaign.yaml")
    assert where in err
    assert allowed in err
    assert not (folder / "home").exists()  # no Prefect server was started
    if (folder / "al_engine.db").exists():
        with Store.open(f"sqlite:///{folder}/al_engine.db") as store:
            assert store.campaign_names() == []


def test_a_database_that_does_not_answer_is_named_without_its_password(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "h2o.xyz").write_text(WATER)
    (folder / "campaign.yaml").write_text(XTB)
    url = "postgresql://me:geheim@127.0.0.1:1/lab"
    assert execute(["run", "campaign.yaml", "--database", url]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("al-engine: database = 'postgresql://me:***@127.0.0.1:1/lab': ")
    assert "geheim" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], 'Unknown command "fly"'),
        (["run", "a.yaml", "--fast"], "Unknown option"),
        (["run"], "requires an argument"),
        (["run", "a.yaml", "--max-generations", "0"], "Must be > 0"),
        (["query", "C=2", "--format", "pdf"], "--format"),
        (["status"], "there is no such file"),
        (["init"], "init needs a structure file"),
        (["evaluate", "none", "none.extxyz"], "there is no such file"),
        (["fit", "none.yaml", "--data", "x", "-o", "y"], "a readable YAML file is needed"),
    ],
)
def test_a_wrong_command_line_costs_one_line(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert execute(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
