"""Structure files: one structure for a campaign, many labeled frames."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype
from ase.io.trajectory import Trajectory
from ase.stress import voigt_6_to_full_3x3_stress

from al_engine.errors import InputError, StructureError
from al_engine.frames import Frame
from al_engine.labeling.base import Computed, one_line
from al_engine.labeling.checks import check_frame, check_result
from al_engine.records import Label

T = TypeVar("T")

MAX_STRUCTURE_BYTES: Final = 50_000_000

STRUCTURE_FORMATS: Final = (
    "aims", "castep-cell", "cif", "espresso-in", "extxyz", "gaussian-in", "gen", "gromacs", "json", "mol",
    "nwchem-in", "proteindatabank", "res", "sdf", "traj", "turbomole", "vasp", "xsd", "xsf", "xyz",
)  # fmt: skip
"""Formats by ASE's names; the others are outputs, need more than the file, or run what is in it."""

_OPEN: Final[dict[str, Callable[..., Any]]] = {"xz": lzma.open, "gz": gzip.open, "bz2": bz2.open}


@dataclass(frozen=True)
class LabeledEntry:
    """One frame of a labeled file: its number, and frame and label, or the reason why it is unusable."""

    index: int
    content: tuple[Frame, Label] | str


def read_structure(path: str | Path, charge: int | None = None, multiplicity: int | None = None) -> Frame:
    """Read the last structure of a file.

    Args:
        path: The file; its format is found from name and content.
        charge: Total charge, e; None: as the file says, else 0.
        multiplicity: Spin multiplicity; None: as the file says, else the lowest possible.

    Raises:
        StructureError: Names the file and what is wrong: missing, unreadable, too large, a format that is
            not allowed, or a structure that no calculator could do.
    """
    file = f"structure file {str(path)!r}"
    try:
        size = Path(path).stat().st_size
        if not 0 < size <= MAX_STRUCTURE_BYTES:
            raise StructureError(f"it has {size} bytes; 1 to {MAX_STRUCTURE_BYTES} are allowed")
        kind = filetype(str(path), read=True)
        if kind not in STRUCTURE_FORMATS:
            raise UnknownFileTypeError(kind)
        atoms = ase.io.read(str(path), format=kind)
        frame = Frame.from_ase(atoms, charge=charge, multiplicity=multiplicity)
        check_frame(frame)
    except FileNotFoundError:
        raise StructureError(f"{file} does not exist") from None
    except UnknownFileTypeError as error:
        allowed = ", ".join(STRUCTURE_FORMATS)
        raise StructureError(f"{file} has format {one_line(error)!r}; allowed are {allowed}") from None
    except Exception as error:
        unusable = StructureError(f"{file} cannot be used: {_reason(error)}")
        unusable.key = error.key if isinstance(error, InputError) else ()
        raise unusable from None
    return frame


def read_labeled(path: str | Path, level_of_theory: str) -> Iterator[LabeledEntry]:
    """Return an iterator over a labeled file: each frame with its label, or the reason why it has none.

    Extended XYZ, also compressed (.xz, .gz, .bz2), and ASE's .traj; energy (eV), forces (eV/Å) and stress
    (eV/Å³, positive in tension) under these names, as ASE writes them. Where the file has a `free_energy`,
    that is the energy, as the forces are its gradient. A bad frame does not harm the others.

    Raises:
        StructureError: The file cannot be opened, or has another format.
    """

    def labeled(atoms: Atoms, frame: Frame) -> tuple[Frame, Label]:
        return frame, _label(atoms, frame, level_of_theory)

    return (LabeledEntry(index, _used(read, labeled)) for index, read in enumerate(_readers(path)))


def read_frames(path: str | Path) -> Iterator[Frame | str]:
    """Return an iterator over such a file: each frame, labeled or not, or the reason why it is unusable.

    Raises:
        StructureError: The file cannot be opened, or has another format.
    """
    return (_used(read, lambda _, frame: frame) for read in _readers(path))


def _readers(path: str | Path) -> Iterator[Callable[[], Atoms]]:
    """Return a reader for each frame of a file.

    Raises:
        StructureError: The file cannot be opened, or has another format.
    """
    file = f"labeled file {str(path)!r}"
    endings = Path(path).name.lower().split(".")[1:]
    opener = _OPEN.get(endings[-1], open) if endings else open
    ending = (endings if opener is open else endings[:-1])[-1:]
    try:
        if ending in (["extxyz"], ["xyz"]):
            readers = _extxyz(opener(path, "rt", encoding="utf-8", errors="replace"))
        elif endings[-1:] == ["traj"]:
            trajectory = Trajectory(str(path))
            readers = (partial(trajectory.__getitem__, index) for index in range(len(trajectory)))
        else:
            raise StructureError("allowed are .extxyz and .xyz, also .xz, .gz or .bz2 of them, and .traj")
    except FileNotFoundError:
        raise StructureError(f"{file} does not exist") from None
    except Exception as error:
        raise StructureError(f"{file} cannot be used: {_reason(error)}") from None
    return readers


def _used(read: Callable[[], Atoms], use: Callable[[Atoms, Frame], T]) -> T | str:
    """Return what is made of the atoms and their frame, or the reason why they are unusable."""
    try:
        atoms = read()
        frame = Frame.from_ase(atoms)
        check_frame(frame)
        return use(atoms, frame)
    except Exception as error:
        return _reason(error)


def _label(atoms: Atoms, frame: Frame, level_of_theory: str) -> Label:
    """Return the label that came with the atoms; a lone atom needs no forces."""
    results = {**atoms.info, **atoms.arrays, **getattr(atoms.calc, "results", {})}
    energy = results.get("free_energy", results.get("energy"))
    forces, stress = results.get("forces"), results.get("stress")
    if energy is None:
        raise StructureError("it has no energy (key 'energy', eV)")
    if forces is None and (frame.n_atoms > 1 or frame.is_periodic):
        raise StructureError("it has no forces (column 'forces', eV/Å)")
    forces = np.zeros((1, 3)) if forces is None else np.array(forces, dtype=np.float64)
    if stress is not None:
        stress = np.array(stress, dtype=np.float64)
        stress = voigt_6_to_full_3x3_stress(stress) if stress.shape == (6,) else stress
    computed = Computed(float(energy), forces, stress if frame.pbc.all() else None)
    failed = check_result(frame, computed, np.inf)
    if failed is not None:
        raise StructureError(failed.message)
    return Label(frame.frame_id, level_of_theory, computed.energy, computed.forces, computed.stress)


def _extxyz(handle: TextIO) -> Iterator[Callable[[], Atoms]]:
    """Yield a reader for each frame; a file that breaks off ends with a reader that raises."""
    block: list[str] = []
    with handle:
        try:
            for line in handle:
                whole_number = line.strip().isdigit()
                if whole_number and not (len(block) == 1 and block[0].strip().isdigit()):
                    if block:
                        yield partial(_parse, block)
                    block = []
                if block or line.strip():
                    block.append(line)
        except (OSError, EOFError, lzma.LZMAError) as error:
            block = [f"the file breaks off: {error}"]
    if block:
        yield partial(_parse, block)


def _parse(block: list[str]) -> Atoms:
    """Return the atoms of one frame of an extended XYZ file."""
    first, text = block[0].strip(), "".join(block).rstrip()
    if not first.isdigit():
        raise StructureError(f"a number of atoms is needed instead of {first[:60]!r}")
    n_lines = max(0, len(text.splitlines()) - 2)
    if n_lines != int(first):
        raise StructureError(f"it has {n_lines} lines of atoms instead of {int(first)}")
    return ase.io.read(io.StringIO(text + "\n"), format="extxyz")


def _reason(error: Exception) -> str:
    """Return the error on one line, with its type where it is not ours."""
    return one_line(error if isinstance(error, StructureError) else f"{type(error).__name__}: {error}")
