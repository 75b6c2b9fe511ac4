"""The commands on a finished campaign, as scripts outside use them."""

import csv
import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from ase.io import read
from running import CONFIGS, Finished, command, environment

from al_engine import Ensemble, load_config
from al_engine.errors import CalculatorUnavailableError
from db.store import Store
from flows.cli import execute

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(smoke: Finished, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the finished campaign; its database is the default one there."""
    monkeypatch.chdir(smoke.folder)
    monkeypatch.setenv("AL_ENGINE_DATABASE", "")
    return smoke.folder


def test_a_run_tells_what_it_does_line_by_line(smoke: Finished):
    assert "Prefect UI: http://127.0.0.1:" in smoke.output
    assert "generation 2: closed, not converged; force RMSE on the audit " in smoke.output
    assert smoke.output.rstrip().endswith(
        "The campaign smoke is done: all its generations are closed (max_generations)."
    )
    assert "\x1b" not in smoke.output


def test_a_finished_campaign_is_said_to_be_done_without_a_server(here: Path, tmp_path: Path):
    started = time.monotonic()
    done = command(
        "run",
        str(CONFIGS / "smoke.yaml"),
        cwd=here,
        env={"AL_ENGINE_HOME": str(tmp_path), "PREFECT_API_URL": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "The campaign smoke is done" in done.stdout
    assert time.monotonic() - started < 60
    assert not list(tmp_path.iterdir())


def test_help_starts_fast():
    script = "import sys, json, flows.cli; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    out = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True
    ).stdout
    assert not {"torch", "prefect", "sqlalchemy", "pydantic", "e3nn", "matplotlib"} & set(json.loads(out))


def test_status_shows_each_generation_and_what_is_missing(here: Path, capsys: Capture):
    assert execute(["status"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "smoke"
    assert [line.split()[:2] for line in out.splitlines()[2:5]] == [
        ["0", "closed"],
        ["1", "closed"],
        ["2", "closed"],
    ]
    assert "audit_draws = 4, wanted >= 55: not met" in out
    (sentence,) = [line for line in out.splitlines() if line.startswith("95 % of the newest audit's frames")]
    assert "0.02 eV/Å are wanted" in sentence
    assert execute(["status", "--json"]) == 0
    (campaign,) = json.loads(capsys.readouterr().out)["campaigns"]
    assert campaign["outlook"]["sentence"] == sentence
    assert campaign["outlook"]["frame_error_ev_per_ang"] > 0.02


def test_the_potential_of_a_campaign_is_the_newest_that_did_not_get_worse(here: Path, tmp_path: Path):
    file, out = tmp_path / "copy.db", tmp_path / "out.safetensors"
    shutil.copy(here / "al_engine.db", file)
    url = f"sqlite:///{file}"
    for n_promoted in (2, 1):
        assert execute(["potential", "smoke", "-o", str(out), "--database", url]) == 0
        with Store.open(url) as store:
            models = [store.model("smoke", g) for g in (1, 2)]
        written = [m is not None and m.weights == out.read_bytes() for m in models]
        assert written == [n == n_promoted for n in (1, 2)]
        with sqlite3.connect(file) as database:
            newest = "(SELECT max(id) FROM generations)"
            database.execute(
                f"UPDATE stop_criteria SET met = 0 WHERE name = 'worse_blocks' AND generation_id = {newest}"
            )


def test_query_prints_rows_in_every_format(here: Path, capsys: Capture):
    assert execute(["query", "Cu=5,force_sd>0.0"]) == 0
    n_rows = len(capsys.readouterr().out.splitlines()) - 1
    assert n_rows == 18  # two generations with a model, 5 selected and 4 audited each
    execute(["query", "Cu=5,force_sd>0.0", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    execute(["query", "Cu=5,force_sd>0.0", "--format", "csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    execute(["query", "Cu=5,force_sd>0.0", "--format", "extxyz"])
    frames = read(io.StringIO(capsys.readouterr().out), index=":", format="extxyz")
    assert (
        [r["frame_id"] for r in rows]
        == [r["frame_id"] for r in table]
        == [a.info["frame_id"] for a in frames]
    )
    assert [float(r["energy_ev"]) for r in table] == [a.get_potential_energy() for a in frames]
    execute(["query", "generation=2", "--campaign", "smoke", "--limit", "3"])
    assert len(capsys.readouterr().out.splitlines()) == 4
    execute(["query", "natoms>100", "--format", "csv"])
    assert capsys.readouterr().out.split(",")[:2] == ["campaign", "generation"]
    execute(["query", "natoms>100"])
    assert capsys.readouterr().out == "no rows\n"


def test_export_evaluate_and_import_belong_together(here: Path, tmp_path: Path, capsys: Capture):
    file = tmp_path / "smoke.extxyz"
    assert execute(["export", "smoke", str(file)]) == 0
    assert "wrote 32 labeled structures" in capsys.readouterr().out
    assert execute(["evaluate", "smoke", str(file), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert set(measured) > {"n_frames", "n_atoms", "energy", "forces", "coherence"}
    assert measured["n_frames"] == 31  # the isolated atom is no test
    assert measured["forces"]["rmse_ev_per_ang"] > 0
    assert execute(["evaluate", "smoke", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("31 frames, 155 atoms\n")
    assert "\nforce component           epistemic " in out
    again = f"sqlite:///{tmp_path}/other.db"
    theory = ["--level-of-theory", "EMT"]
    assert execute(["import", str(file), *theory, "--database", again]) == 0
    assert "32 labels are new, 0 were known, 0 frames were left out" in capsys.readouterr().out
    broken = tmp_path / "broken.extxyz"
    broken.write_text(file.read_text() + "2\nProperties=species:S:1:pos:R:3 energy=1.0\nCu 0 0 0\n")
    assert execute(["import", str(broken), *theory, "--database", again]) == 0
    out = capsys.readouterr().out
    assert "frame 32 left out: " in out
    assert "0 labels are new, 32 were known, 1 frames were left out" in out
    file.write_text(re.sub(r" energy=(\S+)", " energy=0.5", file.read_text(), count=1))
    assert execute(["import", str(file), *theory, "--database", again]) == 0
    out = capsys.readouterr().out
    assert "0 labels are new, 31 were known, 0 frames were left out" in out
    assert "1 labels differ from the known one of their frame, which stays" in out


def test_the_potential_is_a_file_for_ase(here: Path, tmp_path: Path, capsys: Capture):
    file = tmp_path / "smoke.safetensors"
    assert execute(["potential", "smoke", "-o", str(file)]) == 0
    atoms = read(CONFIGS / "smoke.xyz")
    atoms.calc = Ensemble.load(file).calculator()
    assert atoms.get_forces().shape == (5, 3)
    assert execute(["evaluate", str(file), "none.extxyz"]) == 2
    assert "none.extxyz" in capsys.readouterr().err
    assert execute(["potential", "smoke", "-o", str(file), "--generation", "0"]) == 2
    assert "generation 0 has no trained ensemble" in capsys.readouterr().err


def test_fit_needs_no_campaign(here: Path, tmp_path: Path, capsys: Capture):
    data, model = tmp_path / "data.extxyz", tmp_path / "fit.safetensors"
    execute(["export", "smoke", str(data)])
    assert execute(["fit", str(CONFIGS / "smoke.yaml"), "--data", str(data), "-o", str(model)]) == 0
    assert "trained on" in capsys.readouterr().out
    assert Ensemble.load(model).n_members == 3


def test_verify_finds_the_database_sound_and_writes_the_dump(here: Path, tmp_path: Path, capsys: Capture):
    assert execute(["verify", "smoke", "--dump", str(tmp_path / "dump")]) == 0
    assert "sound" in capsys.readouterr().out
    assert (tmp_path / "dump").stat().st_size > 1000


def test_verify_says_where_it_cannot_compute_a_label_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    def not_here(_run: object) -> None:
        raise CalculatorUnavailableError("no such program")

    monkeypatch.setattr("flows.assembly.check_labeler", not_here)
    assert execute(["verify", "smoke"]) == 0
    assert capsys.readouterr().out == "no label is computed again: no such program\nsmoke: sound\n"


def test_init_writes_a_file_that_loads_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "radical.xyz").write_text("2\nOH\nO 0 0 0\nH 0 0 0.97\n")
    assert execute(["init", "radical.xyz", "-o", "oh.yaml"]) == 0
    config = load_config("oh.yaml")
    assert config.name == "oh"
    assert config.systems[0].multiplicity == 2
    assert execute(["init", "radical.xyz", "-o", "oh.yaml"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_init_from_smiles_or_a_word_on_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    monkeypatch.chdir(tmp_path)
    code = execute(["init", "--smiles", "CCO"])
    if find_spec("rdkit") is None:
        assert code == 2
        assert "pip install 'al-engine[molecules]'" in capsys.readouterr().err
    else:
        assert code == 0
        assert load_config("campaign.yaml").name == "C2H6O"
        assert len(read("campaign.xyz")) == 9
        assert execute(["init", "--smiles", "C(C", "-o", "b.yaml"]) == 2


def test_doctor_names_what_is_there(here: Path, capsys: Capture):
    assert execute(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "al_engine.db: 1 campaigns" in out
    assert "torch" in out


def test_a_changed_level_of_theory_is_refused(here: Path, tmp_path: Path, capsys: Capture):
    text = (CONFIGS / "smoke.yaml").read_text().replace("n_members: 3", "n_members: 4")
    (tmp_path / "smoke.yaml").write_text(text)
    (tmp_path / "smoke.xyz").write_text((CONFIGS / "smoke.xyz").read_text())
    assert execute(["run", str(tmp_path / "smoke.yaml")]) == 2
    err = capsys.readouterr().err
    assert "smoke.yaml, line 16: model = " in err
    assert "cannot change" in err


def test_a_password_never_leaves_the_environment():
    from flows.assembly import shareable

    assert shareable("sqlite:////data/a.db") == "sqlite:////data/a.db"
    assert shareable("postgresql://me:geheim@host/a") is None
    assert shareable("postgresql://host/a?password=geheim") is None
