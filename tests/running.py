"""Campaigns run as a user runs them."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
