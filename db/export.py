"""Labeled structures as files, by the ending; written under a temporary name, then renamed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.stress import full_3x3_to_voigt_6_stress

from al_engine.errors import InputError
from db.query import Structure, StructureRow, load, query
from db.rows import CHUNK
from db.store import Store

_TEXT = ("campaign", "frame_id", "formula", "level_of_theory", "reason", "split", "status", "created_at")
_WHOLE = ("generation", "n_atoms", "charge", "multiplicity")


def export(store: Store, campaign: str, path: Path) -> int:
    """Write the labeled structures of a campaign; return how many.

    Raises:
        InputError: An unknown ending, a missing folder or package, or no such campaign.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise InputError(f"file = {str(path)!r}: the ending must be one of {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise InputError(f"file = {str(path)!r}: there is no folder {str(path.parent)!r}")
    rows = query(store, "", campaign)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary, load(store, rows))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return len(rows)


def to_extxyz(structure: Structure) -> str:
    """Return one frame of an extended XYZ file; numbers come back bit by bit."""
    frame, label = structure.frame, structure.label
    info: dict[str, Any] = {"pbc": " ".join("FT"[int(p)] for p in frame.pbc)}
    if frame.cell.any():
        info["Lattice"] = _numbers(frame.cell)
    columns: list[tuple[str, Iterable[str]]] = [
        ("species:S:1", frame.to_ase().get_chemical_symbols()),
        ("pos:R:3", map(_numbers, frame.positions)),
    ]
    if label is not None:
        columns.append(("forces:R:3", map(_numbers, label.forces)))
        info["energy"] = label.energy
        if label.stress is not None:
            info["stress"] = _numbers(label.stress)
    if frame.fixed_mask.any():
        columns.append(("move_mask:L:1", ("TF"[int(fixed)] for fixed in frame.fixed_mask)))
    info["Properties"] = ":".join(name for name, _ in columns)
    info.update((k, v) for k, v in asdict(structure.row).items() if v is not None and k != "energy_ev")
    comment = " ".join(f"{key}={_quoted(value)}" for key, value in info.items())
    lines = (" ".join(parts) for parts in zip(*(values for _, values in columns), strict=True))
    return "\n".join([str(frame.n_atoms), comment, *lines]) + "\n"


def _numbers(values: Any) -> str:
    return " ".join(map(repr, np.asarray(values).ravel().tolist()))


def _quoted(value: object) -> str:
    if isinstance(value, str):
        return '"' + " ".join(value.replace('"', "'").replace("\\", "/").split()) + '"'
    return repr(value)


def _write_extxyz(path: Path, structures: Iterator[Structure]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(to_extxyz, structures))


def _write_ase(path: Path, structures: Iterator[Structure]) -> None:
    with connect(str(path), type="db", append=False, use_lock_file=False) as database:
        for item in structures:
            atoms = item.frame.to_ase()
            if item.label is not None:
                stress = item.label.stress
                results = {"energy": item.label.energy, "forces": item.label.forces}
                if stress is not None:
                    results["stress"] = full_3x3_to_voigt_6_stress(stress)
                atoms.calc = SinglePointCalculator(atoms, **results)
            skip = ("campaign", "formula", "n_atoms", "charge", "energy_ev")
            pairs = {k: v for k, v in asdict(item.row).items() if v is not None and k not in skip}
            data = {"campaign": item.row.campaign, "charge": item.row.charge}
            database.write(atoms, key_value_pairs=pairs, data=data)


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise InputError(f'this file needs {package}: pip install "al-engine[tables]"') from None


def _write_parquet(path: Path, structures: Iterator[Structure]) -> None:
    """One row a structure; arrays as flat lists, positions and forces atom by atom."""
    pa, parquet = _optional("pyarrow"), _optional("pyarrow.parquet")
    kinds = {name: pa.string() for name in _TEXT} | {name: pa.int64() for name in _WHOLE}
    scalars = [(item.name, kinds.get(item.name, pa.float64())) for item in fields(StructureRow)]
    reals = ("positions_ang", "forces_ev_per_ang", "cell_ang", "stress_ev_per_ang3")
    arrays = [("numbers", pa.list_(pa.int32())), *((name, pa.list_(pa.float64())) for name in reals)]
    schema = pa.schema([*scalars, *arrays, ("pbc", pa.list_(pa.bool_())), ("fixed", pa.list_(pa.bool_()))])
    with parquet.ParquetWriter(path, schema) as writer:
        for some in _batches(structures):
            rows = [
                asdict(item.row) | {k: v.ravel().tolist() for k, v in _arrays(item).items()} for item in some
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _write_h5(path: Path, structures: Iterator[Structure]) -> None:
    """One dataset a column; the atoms of all frames follow each other, `n_atoms` of each frame."""
    h5py = _optional("h5py")
    with h5py.File(path, "w") as file:
        for some in _batches(structures):
            for item in fields(StructureRow):
                values = [getattr(structure.row, item.name) for structure in some]
                if item.name in _TEXT:
                    text = np.array([value or "" for value in values], dtype=object)
                    _append(file, item.name, text, h5py.string_dtype())
                elif item.name in _WHOLE:
                    _append(file, item.name, np.array(values, dtype="i8"))
                else:
                    _append(file, item.name, np.array(values, dtype="f8"))  # None is NaN
            batch = [_arrays(structure) for structure in some]
            for name in batch[0]:
                _append(file, name, np.concatenate([arrays[name] for arrays in batch]))


def _append(file: Any, name: str, values: Any, dtype: Any = None) -> None:
    if name not in file:
        file.create_dataset(name, data=values, dtype=dtype, maxshape=(None, *values.shape[1:]), chunks=True)
        return
    dataset = file[name]
    dataset.resize(len(dataset) + len(values), axis=0)
    dataset[-len(values) :] = values


def _arrays(item: Structure) -> dict[str, Any]:
    """Arrays of a labeled structure; frames' arrays have a first axis of length 1."""
    frame, label = item.frame, item.label
    forces = np.full((frame.n_atoms, 3), np.nan) if label is None else label.forces
    stress = np.full((3, 3), np.nan) if label is None or label.stress is None else label.stress
    return {
        "numbers": frame.numbers,
        "positions_ang": frame.positions,
        "forces_ev_per_ang": forces,
        "fixed": frame.fixed_mask,
        "cell_ang": frame.cell[None],
        "stress_ev_per_ang3": stress[None],
        "pbc": frame.pbc[None],
    }


def _batches(structures: Iterator[Structure]) -> Iterator[list[Structure]]:
    while some := list(islice(structures, CHUNK)):
        yield some


Writer = Callable[[Path, Iterator[Structure]], None]
WRITERS: Final[dict[str, Writer]] = {
    ".extxyz": _write_extxyz,
    ".db": _write_ase,
    ".parquet": _write_parquet,
    ".h5": _write_h5,
}
