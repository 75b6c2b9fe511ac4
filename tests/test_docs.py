"""What the documents tell people to type: it is there, it runs, and the links between them resolve."""

import re
import shlex
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from cyclopts import CycloptsError
from running import CONFIGS, ROOT, Finished, environment

from al_engine.exploration.group import Start
from al_engine.structures import read_structure
from flows.cli import app, execute

PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
each_document = pytest.mark.parametrize("file", DOCUMENTS, ids=lambda f: str(f.relative_to(ROOT)))


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page of docs/, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The arguments of every al-engine in a document's blocks and inline code."""
    fenced = re.findall(r"```(?:bash|yaml)\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in [line for block in fenced for line in block.replace("\\\n", " ").splitlines()] + inline:
        start = re.match(r"(?:\w+=\S+ +)*(?:\S*/)?al-engine(?:\s+|$)", line.strip())
        if start:
            words = shlex.shlex(line.strip()[start.end() :], posix=True, punctuation_chars=True)
            words.whitespace_split = True
            found.append(list(takewhile(lambda word: word[0] not in "|;<>&()", words)))
    return found


def check(arguments: list[str]) -> None:
    """Raise unless the command line has the command and these options; nothing is executed."""
    names, _, rest = app.parse_commands(arguments)
    assert names or not arguments, f"al-engine has no command {arguments[0]!r}"
    if rest:  # else the text speaks of the command as such
        app.parse_args(arguments, exit_on_error=False, print_error=False)


@each_document
def test_every_command_exists_with_these_options(file: Path):
    for arguments in commands(file.read_text(encoding="utf-8")):
        check(arguments)


@pytest.mark.parametrize("wrong", ["al-engine runs", "al-engine status --jsons", "a/al-engine export one"])
def test_a_command_that_does_not_exist_is_found(wrong: str):
    found = commands(f"Type `{wrong}`.\n```bash\nA=1 {wrong} # so\n```\n")
    assert len(found) == 2
    for arguments in found:
        with pytest.raises((CycloptsError, AssertionError)):
            check(arguments)


@each_document
def test_relative_links_resolve(file: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (file.parent / path).resolve() if path else file
        assert other.exists(), target
        heads = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]
        assert not anchor or anchor in slugs, target


def test_the_site_builds_without_a_warning(tmp_path: Path):
    pytest.importorskip("mkdocs", reason="pip install 'al-engine[docs]'")
    pytest.importorskip("material", reason="pip install 'al-engine[docs]'")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(line, check=False, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "generation 0" in page  # the picture, from README
    assert "mean z²" in page  # the glossary


def test_every_page_is_in_the_navigation_and_in_readme():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## More")[2]
    for page in PAGES:
        name = page.relative_to(ROOT / "docs").as_posix()
        assert f"- {name}\n" in navigation, name
        assert f"(docs/{name})" in readme or name == "index.md"


@pytest.fixture(scope="module")
def campaign(smoke: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the documents think of it, with what the smoke campaign gives."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(smoke.folder / "al_engine.db", folder)
    shutil.copy(CONFIGS / "smoke.xyz", folder / "molecule.xyz")
    file = folder / "molecule.safetensors"
    assert execute(["potential", "smoke", "-o", str(file), "--database", smoke.url]) == 0
    return folder


def run_block(source: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Execute a block in this process; return its names."""
    here: dict[str, Any] = {"__name__": "block"} | (names or {})
    exec(compile(source, "<block>", "exec"), here)
    return here


@pytest.mark.parametrize(("limit", "stops"), [("1e9", False), ("0.0", True)])
def test_the_dynamics_of_the_tutorial_stop_where_the_force_sd_grows(
    limit: str, stops: bool, campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("molecule.xyz", "molecule.safetensors"):
        shutil.copy(campaign / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    (source,) = blocks("tutorial.md", "python")
    n_steps, lim = "n_steps, limit = 20_000, 0.3", f"n_steps, limit = 10, {limit}"
    assert n_steps in source
    ran = run_block(source.replace(n_steps, lim))
    assert ran["dynamics"].nsteps == (0 if stops else 10)
    assert (tmp_path / "doubtful.xyz").exists() == stops


@pytest.mark.parametrize("number", range(4))
def test_tables_can_be_read_with_what_people_use(
    number: int, campaign: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    source = blocks("recipes.md", "python")[number]
    needs = re.findall(r"^import (pandas|polars|duckdb)", source, re.MULTILINE)
    for package in (*needs, "pyarrow"):
        pytest.importorskip(package, reason=f"pip install {package}")
    monkeypatch.chdir(campaign)
    if not Path("ethanol.parquet").exists():
        assert execute(["export", "smoke", "ethanol.parquet", "--database", "sqlite:///al_engine.db"]) == 0
    capsys.readouterr()
    run_block(source)
    assert capsys.readouterr().out.count("\n") > 3


def test_the_test_above_runs_every_block():
    assert len(blocks("recipes.md", "python")) == 4


def test_the_calculator_in_pyscf_gives_the_slope_of_its_energy():
    pytest.importorskip("pyscf", reason="pip install pyscf")
    (source,) = blocks("howto/calculator.md", "python")
    calculator = run_block(source)["DFT"]
    energies, forces = [], []
    for shift in (-1e-3, 0.0, 1e-3):
        atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8 + shift]], calculator=calculator())
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces()[1, 2])
    assert forces[1] == pytest.approx((energies[0] - energies[2]) / 2e-3, abs=1e-3)


def test_the_sampler_that_is_shown_does_what_its_protocol_says():
    settings, sampler = (block for block in blocks("howto/sampler.md", "python") if "import" in block)
    names = run_block(sampler, run_block(settings))
    frame = read_structure(CONFIGS / "smoke.xyz")
    breathe = names["BreatheSampler"](names["Breathe"](n_frames=3), lambda k: Start(frame, 300.0, k))
    sampled = breathe([])
    assert list(breathe.planned) == []
    assert [v.frame.positions[1, 0] / frame.positions[1, 0] for v in sampled.visits] == pytest.approx(
        [0.95, 1.025, 1.1]
    )
