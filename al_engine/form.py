"""A campaign from the few values of a form; it becomes a campaign file, and is checked as one."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from al_engine.config import Stop
from al_engine.errors import ConfigError, InputError
from al_engine.samplers import Langevin

if TYPE_CHECKING:
    from al_engine.frames import Frame

Method = Literal["GFN2-xTB", "GFN1-xTB", "EMT"]

TEMPERATURES_K = Langevin().temperatures_k
TOLERANCE_EV_PER_ANG = Stop().tolerance_ev_per_ang

_KEYS = {
    "systems.0.structure": "structure",
    "systems.0.charge": "charge",
    "systems.0.multiplicity": "multiplicity",
    "reference": "method",
    "exploration.sampler.temperatures_k": "temperatures_k",
    "stop.tolerance_ev_per_ang": "tolerance_ev_per_ang",
    "budget.labels": "budget_labels",
}
"""Where the values of a form stand in the campaign file; the others have the same name there."""


@dataclass(frozen=True)
class Form:
    """What a campaign is about and how far it should go; empty or 0: the default, as all else."""

    structure: str = ""
    smiles: str = ""
    name: str = ""
    method: Method = "GFN2-xTB"
    charge: int = 0
    multiplicity: int = 0
    temperatures_k: tuple[float, ...] = TEMPERATURES_K
    preset: Literal["default", "accurate"] = "default"
    tolerance_ev_per_ang: float = TOLERANCE_EV_PER_ANG
    budget_labels: int = 0

    def changed(self) -> str:
        """Return the first value that is not the default, with its name; empty where there is none."""
        values = ((f.name, f.default, getattr(self, f.name)) for f in fields(self))
        return next((f"{name} = {value!r}" for name, default, value in values if value != default), "")


def write_campaign(form: Form, folder: Path) -> Path:
    """Write the campaign file of a form, beside it the structure of a SMILES string; return its path.

    Raises:
        InputError: The form has no structure or two, or it cannot be read.
    """
    from al_engine.extxyz import to_extxyz

    frame = _frame(form)
    name, structure = form.name or frame.formula, form.structure
    if not structure:
        structure = f"{name}.xyz"
        (folder / structure).write_text(to_extxyz(frame))
    system = {
        "structure": structure,
        "charge": frame.charge,
        "multiplicity": form.multiplicity or frame.multiplicity,
    }
    emt = {"kind": "ase", "calculator": "ase.calculators.emt.EMT"}
    data = {
        "name": name,
        "preset": form.preset,
        "systems": [system],
        "reference": emt if form.method == "EMT" else {"kind": "xtb", "method": form.method},
        "exploration": {"sampler": {"kind": "langevin", "temperatures_k": form.temperatures_k}},
        "stop": {"tolerance_ev_per_ang": form.tolerance_ev_per_ang},
        "budget": {"labels": form.budget_labels or None},
    }
    file = folder / "form.yaml"
    file.write_text(json.dumps(data, indent=1), encoding="utf-8")  # JSON is YAML
    return file


def in_words_of_form(error: ConfigError, form: Form) -> InputError:
    """Return the error of the campaign file with the form's name of the key instead of file and line."""
    key = next((field for path, field in _KEYS.items() if f"{error.dotted}.".startswith(f"{path}.")), None)
    value = form.method if key == "method" else error.value
    return InputError(f"{key or error.dotted} = {value!r}: {error.allowed}")


def _frame(form: Form) -> Frame:
    """Read or make the structure that a form names."""
    from al_engine.smiles import frame_from_smiles
    from al_engine.structures import read_structure

    if form.structure and form.smiles:
        raise InputError(f"smiles = {form.smiles!r}: give a structure file or a SMILES string, not both")
    if form.smiles:
        frame = frame_from_smiles(form.smiles)
        if form.charge not in (0, frame.charge):
            raise InputError(f"charge = {form.charge}: leave it at 0, the SMILES string says {frame.charge}")
        return frame
    if not form.structure:
        raise InputError("structure: give a structure file, a SMILES string, or a campaign file")
    if not Path(form.structure).is_absolute():
        raise InputError(f"structure = {form.structure!r}: give the whole path, as /home/me/molecule.xyz")
    return read_structure(form.structure, form.charge or None)
