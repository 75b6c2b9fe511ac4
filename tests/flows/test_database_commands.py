"""The commands about databases and labels, as they are typed."""

import importlib.util
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from running import CONFIGS, ROOT, Finished, environment

from al_engine.config_file import load_config
from al_engine.records import FailureReason, LabelFailure
from db.migrate import HEAD
from db.store import Store
from db.verify import verify
from flows import steps
from flows.assembly import register
from flows.cli import execute
from flows.driver import run_generation

Capture = pytest.CaptureFixture[str]
FIXTURES = ROOT / "tests/db/fixtures"
HOW_TO = (ROOT / "docs/postgresql.md").read_text(encoding="utf-8")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose database has the first revision."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AL_ENGINE_DATABASE", "")
    shutil.copy(FIXTURES / "revision_0001.db", tmp_path / "al_engine.db")
    return tmp_path


def test_an_old_database_is_looked_at_and_then_upgraded(old: Path, capsys: Capture):
    assert execute(["db", "current"]) == 0
    assert f"revision 0001, the newest is {HEAD}; al-engine db upgrade brings it" in capsys.readouterr().out
    assert execute(["db", "current"]) == 0  # looking changed nothing
    assert "revision 0001" in capsys.readouterr().out
    assert execute(["db", "upgrade"]) == 0
    assert f"revision {HEAD}, the newest (was 0001)" in capsys.readouterr().out
    for command in ("upgrade", "current"):
        assert execute(["db", command]) == 0
        assert capsys.readouterr().out.endswith(f"revision {HEAD}, the newest\n")
    assert execute(["verify", "ethanol"]) == 1  # made up from a seed: its configuration is none


def test_a_newer_or_missing_database_is_one_line(old: Path, capsys: Capture):
    with sqlite3.connect("al_engine.db") as database:
        database.execute("UPDATE al_engine_version SET version_num = '9999'")
    for command in ("upgrade", "current"):
        assert execute(["db", command]) == 2
        error = capsys.readouterr().err
        assert "revision '9999'" in error
        assert error.endswith("install a newer al-engine: pip install --upgrade al-engine\n")
        assert execute(["db", command, "--database", "sqlite:///none.db"]) == 2
        assert "there is no such file" in capsys.readouterr().err
    assert not Path("none.db").exists()


def begun(folder: Path) -> str:
    """The smoke campaign with the first of its initial frames failed."""
    url = f"sqlite:///{folder}/al_engine.db"
    register(load_config(CONFIGS / "smoke.yaml"), CONFIGS / "smoke.yaml", url)
    with Store.open(url) as store:
        store.open_generation("smoke", 0)
        steps.initial("smoke", 0, url)
        campaign = store.campaign("smoke")
        assert campaign is not None
        frame_id = store.unlabeled_ids("smoke", 0)[0]
        failure = LabelFailure(frame_id, campaign.level_of_theory, FailureReason.TIMEOUT, "slow")
        store.record_result("smoke", 0, failure)
    return url


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_failed_label_is_computed_and_then_withdrawn(is_closed: bool, tmp_path: Path, capsys: Capture):
    url = begun(tmp_path)
    if is_closed:
        run_generation("smoke", 0, url)
    options = ["--database", url]
    with Store.open(url) as store:
        generation, before = store.generation("smoke", 0), len(store.labeled("smoke"))
        assert execute(["labels", "retry", "--reason", "scf", *options]) == 0
        assert "0 labels tried again" in capsys.readouterr().out
        for n in (1, 0):  # the second time there is none
            assert execute(["labels", "retry", "--reason", "timeout", "--campaign", "smoke", *options]) == 0
            assert f"{n} labels tried again: {n} succeeded, 0 failed again" in capsys.readouterr().out
        assert len(store.labeled("smoke")) == before + 1
        if is_closed:
            assert store.generation("smoke", 0) == generation
        frame_id = store.labeled("smoke")[0].frame.frame_id
        withdraw = ["labels", "withdraw", frame_id[:12], "--reason", "wrong spin", *options]
        for words in ("withdrawn: wrong spin", "was withdrawn already: wrong spin"):
            assert execute(withdraw) == 0
            assert words in capsys.readouterr().out
        assert len(store.labeled("smoke")) == before
        assert verify(store, "smoke") == []
    assert execute(["query", "status=withdrawn", "--format", "csv", *options]) == 0
    assert frame_id in capsys.readouterr().out
    run_generation("smoke", 0, url)
    assert execute(["labels", "retry", "--reason", "odd", *options]) == 2
    assert "it must be one of scf, timeout" in capsys.readouterr().err


def test_copying_says_a_line_a_campaign_or_why_not(smoke: Finished, tmp_path: Path, capsys: Capture):
    target = f"sqlite:///{tmp_path}/b.db"
    for words in ("smoke: copied, ", "smoke: there already"):
        assert execute(["copy", smoke.url, target]) == 0
        out = capsys.readouterr().out
        assert out.startswith(words)
        assert out.count("\n") == 1
    other = f"sqlite:///{tmp_path}/al_engine.db"
    begun(tmp_path)
    assert execute(["copy", smoke.url, other]) == 2
    assert "holds another one of this name" in capsys.readouterr().err
    assert execute(["copy", target, target]) == 2
    assert "another database than its source" in capsys.readouterr().err
    assert execute(["copy", "sqlite:///none.db", target]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert execute(["copy", smoke.url, "postgresql://me:s3cret@127.0.0.1:1/x"]) == 2
    error = capsys.readouterr().err
    assert "s3cret" not in error
    assert error.count("\n") == 1


def test_the_how_to_does_as_it_says(smoke: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("postgres", ROOT / "tests/db/postgres.py")
    assert spec is not None
    assert spec.loader is not None
    postgres = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "postgres", postgres)  # dataclasses look their module up
    spec.loader.exec_module(postgres)
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    shutil.copy(smoke.folder / "al_engine.db", tmp_path)
    shim = tmp_path / ".venv/bin/al-engine"
    shim.parent.mkdir(parents=True)
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m flows.cli "$@"\n')
    shim.chmod(0o755)
    script = "".join(re.findall(r"```bash\n(.*?)```", HOW_TO, re.DOTALL)).replace(
        "verify ethanol", "verify smoke"
    )
    with postgres.server() as started:
        address = started.address
        user, _, place = address.rpartition("@")
        admin = sa.create_engine(f"postgresql+psycopg://{address}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE al_engine")
        admin.dispose()
        name, _, password = user.partition(":")
        script = script.replace("al_engine@localhost", f"{name}@{place}")
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
            check=False, cwd=tmp_path, env=environment({"PGPASSWORD": password}),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "smoke: copied, " in done.stdout
    assert f"revision {HEAD}, the newest" in done.stdout
    assert "smoke: sound" in done.stdout
    assert password not in done.stdout + done.stderr
