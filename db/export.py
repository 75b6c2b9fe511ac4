"""Labeled structures as files, by the ending; written under a temporary name, then renamed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.stress import full_3x3_to_voigt_6_stress

from al_engine import extxyz
from al_engine.errors import InputError
from db.query import Structure, StructureRow, load, query
from db.rows import CHUNK
from db.store import Store

_KINDS = {item.name: str(item.type).split()[0] for item in fields(StructureRow)}
"""Columns as "str", "int" or "float"."""


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


def to_extxyz(item: Structure) -> str:
    """Return one frame of an extended XYZ file, with its row; numbers and texts come back bit by bit."""
    info = {k: v for k, v in asdict(item.row).items() if v is not None and k != "energy_ev"}
    return extxyz.to_extxyz(item.frame, item.label, info)


def _write_extxyz(path: Path, items: Iterator[Structure]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(to_extxyz, items))


def _write_ase(path: Path, items: Iterator[Structure]) -> None:
    with connect(str(path), type="db", append=False, use_lock_file=False) as database:
        for item in items:
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


def _write_parquet(path: Path, items: Iterator[Structure]) -> None:
    """One row a structure; arrays as flat lists, positions and forces atom by atom."""
    pa, parquet = _optional("pyarrow"), _optional("pyarrow.parquet")
    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    scalars = [(name, types[kind]) for name, kind in _KINDS.items()]
    reals = ("positions_ang", "forces_ev_per_ang", "cell_ang", "stress_ev_per_ang3")
    arrays = [("numbers", pa.list_(pa.int32())), *((name, pa.list_(pa.float64())) for name in reals)]
    schema = pa.schema([*scalars, *arrays, ("pbc", pa.list_(pa.bool_())), ("fixed", pa.list_(pa.bool_()))])
    with parquet.ParquetWriter(path, schema) as writer:
        for some in _batches(items):
            rows = [
                asdict(item.row) | {k: v.ravel().tolist() for k, v in _arrays(item).items()} for item in some
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _write_h5(path: Path, items: Iterator[Structure]) -> None:
    """One dataset a column; the atoms of all frames follow each other, `n_atoms` of each frame."""
    h5py = _optional("h5py")
    with h5py.File(path, "w") as file:
        for some in _batches(items):
            for name, kind in _KINDS.items():
                values = [getattr(item.row, name) for item in some]
                if kind == "str":
                    text = np.array([value or "" for value in values], dtype=object)
                    _append(file, name, text, h5py.string_dtype())
                else:
                    _append(file, name, np.array(values, dtype=kind))  # None is NaN
            batch = [_arrays(item) for item in some]
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


def _batches(items: Iterator[Structure]) -> Iterator[list[Structure]]:
    while some := list(islice(items, CHUNK)):
        yield some


Writer = Callable[[Path, Iterator[Structure]], None]
WRITERS: Final[dict[str, Writer]] = {
    ".extxyz": _write_extxyz,
    ".db": _write_ase,
    ".parquet": _write_parquet,
    ".h5": _write_h5,
}
