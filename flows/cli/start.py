"""Command `init`: a commented campaign file for a structure."""

import os
import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from al_engine.errors import InputError
from flows.cli.options import check_output


def init(
    structure: Annotated[Path | None, Parameter(help="A structure file that ASE reads.")] = None,
    *,
    smiles: Annotated[str | None, Parameter(help="Instead of a file: a molecule, such as CCO.")] = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("campaign.yaml"),
) -> int:
    """Write a commented campaign file for a structure; every default is explained in it."""
    from al_engine.extxyz import to_extxyz
    from al_engine.smiles import frame_from_smiles
    from al_engine.structures import read_structure
    from al_engine.template import campaign_text

    if (structure is None) == (smiles is None):
        raise InputError("init needs a structure file, or --smiles and a molecule such as CCO")
    check_output(output)
    if output.exists():
        raise InputError(f"--output = {str(output)!r}: it exists already; give another name")
    if structure is not None:
        frame = read_structure(structure)
    else:
        frame = frame_from_smiles(str(smiles))
        structure = output.with_suffix(".xyz")
        if structure.exists():
            raise InputError(f"{str(structure)!r} exists already; give another --output")
        structure.write_text(to_extxyz(frame))
    text = campaign_text(
        (_name(output.stem) if output.stem != "campaign" else "") or frame.formula,
        os.path.relpath(structure, output.parent),
        charge=frame.charge,
        multiplicity=frame.multiplicity,
        periodic=frame.is_periodic,
    )
    output.write_text(text, encoding="utf-8")
    print(f"wrote {output}; start it: al-engine run {output}")
    if frame.is_periodic:
        print("the structure is periodic: name your calculator under `reference:` first")
    return 0


def _name(stem: str) -> str:
    """Return the campaign name that a file's name gives; empty where no letter of it is allowed."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("_.-")[:64]
