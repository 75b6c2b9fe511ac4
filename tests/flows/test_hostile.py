"""Hostile input, a lot of it: exit code 2 or a correct result; no traceback, no execution, none outside."""

import random
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write
from running import CONFIGS

from al_engine.config_file import load_config
from al_engine.errors import InputError
from al_engine.stages.prepare import prepare
from flows.cli import execute

N_CONFIGS = 100
N_STRINGS = 60
PIECES = (
    "'; DROP TABLE frames; --", '" OR 1=1 --', "1); ATTACH DATABASE 'pwned' AS p; --", "%00", "\x00",
    "\x1b[2J", "{{7*7}}", "${HOME}", "$(touch pwned)", "`touch pwned`",
    "__import__('os').system('touch pwned')", "<script>fetch('http://x')</script>",
    "<img src=x onerror=alert(1)>", "../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "C:\\x",
    "\u202e", "\ud800", "\u0661", "💥" * 3, "A" * 9000, "natoms" * 50, "((((", "C>", "=", ",,,", "C>1e999",
    "force_sd>nan", "natoms<-1", "energy>'x'", "--limit", "-1", "!!python/object/apply:os.system [x]",
    "&a [*a]", "%s%n", "\n\n", "\t", "*", "[", "\\", "id in (select 1)", "generation=9" * 9,
    "C=999999999999999999999", "stress|0", "a\r\nb", "status=labeled;", "#", "?", "\u0000\ufffe",
)  # fmt: skip
YAML_LINES = (
    "name: !!python/object/apply:os.system ['touch pwned']",
    "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]", "? [1, 2]\n: 3", "<<: {seed: 1}",
    "name: [[[[[[[[[[[[]]]]]]]]]]]]", "\t- tab", "name: &n *n", "--- !x\n...", "seed: 1e400", "seed: .nan",
    "systems: {structure: ../../../etc/passwd}", "systems: 5", "initial: {n_frames: 1e18}",
    "max_generations: -1", "test_set: /dev/zero", "name: ''", "name: a/../../b", "n_threads: 99999999999",
    "%YAML 9.9", "reference: {kind: pickle}",
    "reference: {kind: ase, calculator: os.system, keywords: {command: touch pwned}}", "exploration: null",
    "model: []",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a database of three labeled frames; where a file may be written."""
    folder = tmp_path / "inside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AL_ENGINE_DATABASE", "sqlite:///frames.db")
    water = molecule("H2O")
    frames = []
    for k in range(3):
        frame = water.copy()
        frame.rattle(0.01, seed=k)
        frame.info["energy"], frame.arrays["forces"] = -5.0 - k, frame.positions * 0.1
        frames.append(frame)
    write(folder / "known.extxyz", frames)
    assert execute(["import", "known.extxyz", "--level-of-theory", "test"]) == 0
    return folder


def strings(seed: int, n: int = N_STRINGS) -> list[str]:
    """Every piece, and joined ones up to `n`."""
    rng = random.Random(seed)
    joined = [rng.choice(("", ",", " ", ">", "=")).join(rng.sample(PIECES, 2)) for _ in range(n)]
    return [*PIECES, *joined][:n]


def survived(arguments: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """Run one command and check what it must not do; return its exit code."""
    before = sorted(here.parent.rglob("*"))
    code = execute(arguments)
    said = capsys.readouterr()
    assert code in (0, 2), (arguments, said)
    assert "Traceback" not in said.out + said.err, arguments
    assert "unexpected" not in said.err, (arguments, said.err)
    assert len(said.err.splitlines()) == (1 if code else 0), (arguments, said.err)
    assert sorted(here.parent.rglob("*")) == before, arguments
    return code


def n_known(capsys: pytest.CaptureFixture[str]) -> int:
    execute(["query", "--format", "csv"])
    return len(capsys.readouterr().out.splitlines()) - 1


def test_queries_are_answered_or_refused(here: Path, capsys: pytest.CaptureFixture[str]):
    codes = [survived(["query", text], here, capsys) for text in strings(1)]
    codes += [survived(["query", "--campaign", text], here, capsys) for text in strings(1) if text[:1] != "-"]
    assert {0, 2} == set(codes)
    assert n_known(capsys) == 3


def test_reports_of_names_that_are_none_are_refused(here: Path, capsys: pytest.CaptureFixture[str]):
    assert {survived(["report", text], here, capsys) for text in strings(2)} == {2}
    assert n_known(capsys) == 3


def test_files_that_are_no_structures_are_refused(here: Path, capsys: pytest.CaptureFixture[str]):
    """Every string as a file's name, as the whole of a file, as its comment line and as an element."""
    rng = random.Random(3)
    text = (here / "known.extxyz").read_text()
    for k, piece in enumerate(strings(3)):
        assert survived(["import", piece, "--level-of-theory", "x"], here, capsys) == 2
        data = piece.encode("utf-8", errors="surrogatepass")
        lines = text.encode().split(b"\n")
        lines[rng.choice((0, 1, 2, 3, 4))] = data
        for name, content in ((f"{k}.extxyz", b"\n".join(lines)), (f"{k}.traj", data), (f"{k}.xyz.xz", data)):
            (here / name).write_bytes(content)
            code = execute(["import", name, "--level-of-theory", "x"])
            said = capsys.readouterr()
            assert code in (0, 2), (name, content, said)
            assert "unexpected" not in said.err, (name, content, said.err)
    assert not (here / "pwned").exists()
    assert 3 <= n_known(capsys) <= 9  # whole frames beside a broken one are read


def mutated(rng: random.Random, text: str) -> bytes:
    """Break a campaign file in one to three places."""
    for _ in range(rng.randint(1, 3)):
        lines = text.splitlines()
        k = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                del lines[k]
            case 1:
                lines.insert(k, rng.choice(lines))
            case 2:
                lines[k] = lines[k].partition(":")[0] + ": " + rng.choice(PIECES)
            case 3:
                lines.insert(k, rng.choice(YAML_LINES))
            case 4:
                lines[k] = " " * rng.randint(1, 5) + lines[k]
            case 5:
                lines[k] = lines[k][: rng.randrange(len(lines[k]) + 1)]
            case _:
                lines.append(rng.choice(YAML_LINES))
        text = "\n".join(lines) or "x"
    return text.encode("utf-8", errors="surrogatepass")


def test_campaign_files_are_read_or_refused(here: Path, capsys: pytest.CaptureFixture[str]):
    """One that is still a campaign is checked as far as a run checks it before the first compute."""
    rng = random.Random(4)
    for name in ("ethanol.xyz", "smoke.xyz"):
        (here / name).write_text((CONFIGS / name).read_text())
    texts = [(CONFIGS / name).read_text() for name in ("ethanol.yaml", "smoke.yaml")]
    n_refused = 0
    for k in range(N_CONFIGS):
        file = here / f"{k}.yaml"
        file.write_bytes(mutated(rng, rng.choice(texts)))
        try:
            prepare(load_config(file), here)
        except InputError:
            n_refused += 1
            assert survived(["run", file.name], here, capsys) == 2
    assert 30 < n_refused < N_CONFIGS
    assert not (here / "pwned").exists()
