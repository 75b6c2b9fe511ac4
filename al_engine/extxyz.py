"""Frames as extended XYZ, written exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ase import Atoms
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict

from al_engine.frames import Frame
from al_engine.records import Label


def to_extxyz(frame: Frame, label: Label | None = None, info: Mapping[str, object] | None = None) -> str:
    """Return a frame as extended XYZ that `ase.io.read` reads back bit by bit.

    ASE's own writer rounds positions to 8 digits, so that a frame that is read back has another id.
    """
    values: dict[str, object] = {"charge": frame.charge, "multiplicity": frame.multiplicity, "pbc": frame.pbc}
    columns, properties = [frame.positions.tolist()], "species:S:1:pos:R:3"
    if label is not None:
        properties += ":forces:R:3"
        columns.append(label.forces.tolist())
        values |= {"energy": label.energy, "level_of_theory": label.level_of_theory}
        if label.stress is not None:
            values["stress"] = label.stress
    if frame.fixed_mask.any():
        properties += ":move_mask:L:1"
        columns.append([["F" if fixed else "T"] for fixed in frame.fixed_mask])
    values |= dict(info or {})
    values = {key: _text(value) if isinstance(value, str) else value for key, value in values.items()}
    lattice = " ".join(map(repr, frame.cell.ravel().tolist()))
    head = f'Lattice="{lattice}" ' if frame.cell.any() else ""
    lines = [str(frame.n_atoms), f"{head}Properties={properties} {key_val_dict_to_str(values)}"]
    symbols = Atoms(numbers=frame.numbers).get_chemical_symbols()
    for symbol, *rows in zip(symbols, *columns, strict=True):
        lines.append(" ".join([symbol, *(str(value) for row in rows for value in row)]))
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Return a text that ASE reads back as it is: as JSON where it would be a number, a bool or two lines."""
    if value.isprintable() and not value.startswith("_JSON "):
        plain = value.replace("\\", r"\\")  # ASE escapes no backslash
        again = key_val_str_to_dict(key_val_dict_to_str({"text": plain, "next": 0})).get("text")
        if isinstance(again, str) and again == value:
            return plain
    return "_JSON " + json.dumps(value).replace("\\", r"\\")
