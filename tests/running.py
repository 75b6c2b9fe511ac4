"""Campaigns run as a user runs them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"


@dataclass(frozen=True)
class Finished:
    """The smoke campaign, run by the command line in a folder of its own."""

    folder: Path
    output: str

    @property
    def url(self) -> str:
        """Its database."""
        return f"sqlite:///{self.folder}/al_engine.db"


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a process of this program: one thread, and the code beside the tests."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | (extra or {})


def command(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `al-engine` in a process of its own."""
    line = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(
        line, check=False, capture_output=True, text=True, cwd=cwd, env=environment(env), timeout=300
    )


def begun(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `al-engine` in a process of its own that hears Ctrl-C, as it does in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=cwd,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a background job of a shell ignores SIGINT, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def reduced(name: str, folder: Path) -> Path:
    """Write a configuration of `configs/` into a folder, as small as it can be and still be run."""
    data = YAML(typ="safe").load((CONFIGS / f"{name}.yaml").read_text())
    sampler = data["exploration"]["sampler"] | {"n_walkers": 2, "n_steps": 20, "stride": 5}
    data |= {
        "initial": {"n_frames": 6},
        "model": {"n_members": 2, "n_channels": 8, "n_layers": 1},
        "training": {"n_steps": 30},
        "exploration": {"sampler": sampler},
        "selection": {"n_frames": 2},
        "audit": {"n_frames": 2},
        "max_generations": 1,
        "device": "cpu",
    }
    for system in data["systems"]:
        shutil.copy(CONFIGS / system["structure"], folder)
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(data, indent=1))  # JSON is YAML
    return file
