"""What this machine has for a campaign, what is missing, and what mends it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from al_engine.cores import n_cores


@dataclass(frozen=True)
class Fact:
    """One thing that a campaign may need.

    Attributes:
        name: What it is.
        found: What is there, in words.
        mend: The command that mends what is missing; empty where nothing is.
        is_needed: Whether nothing works without it.
    """

    name: str
    found: str
    mend: str = ""
    is_needed: bool = False


def facts() -> list[Fact]:
    """Look at Python, devices, calculators and optional packages; nothing is computed."""
    import torch

    cores = n_cores()
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    found = [
        Fact("python", f"{sys.version.split()[0]}, {cores} cores"),
        Fact("torch", version("torch")),
        Fact("GPU", gpu, "" if gpu != "none" else "optional: install PyTorch with CUDA on a GPU machine"),
    ]
    wheel = sys.version_info < (3, 12) and sys.platform == "linux"
    no_xtb = "pip install xtb==22.1" if wheel else "needs Python 3.11 on Linux x86_64; tblite serves here"
    found.append(_package("xtb", "xtb-python (GFN2-xTB)", no_xtb))
    found.append(_package("tblite", "tblite (GFN2-xTB)", "pip install tblite"))
    if not find_spec("xtb") and not find_spec("tblite"):
        found.append(Fact("GFN2-xTB", "no backend", "pip install tblite", is_needed=True))
    found.append(_package("rdkit", "RDKit (init --smiles)", "pip install 'al-engine[molecules]'"))
    found.append(_package("psycopg", "PostgreSQL driver", "pip install 'al-engine[postgres]'"))
    found.append(_package("pyarrow", "tables (export to parquet)", "pip install 'al-engine[tables]'"))
    chromium = shutil.which("chromium")
    found.append(
        Fact("chromium (tests only)", chromium or "none", "" if chromium else "apt install chromium")
    )
    return found


def _package(module: str, name: str, mend: str) -> Fact:
    if find_spec(module) is None:
        return Fact(name, "not installed", mend)
    try:
        return Fact(name, version(module))
    except PackageNotFoundError:
        return Fact(name, "installed")
