"""A frame: one arrangement of atoms, frozen, named by the hash of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from al_engine.errors import StructureError

_FORMAT = b"al-engine frame 1\n"


def _whole(name: str, value: float) -> int:
    """Return a number that must be whole.

    Raises:
        StructureError: It is not.
    """
    if float(value) != int(value):
        raise StructureError(f"{name} = {value} must be a whole number")
    return int(value)


def parity_multiplicity(numbers: ArrayLike, charge: int) -> int:
    """Return the lowest multiplicity that the number of electrons allows: 1 or 2."""
    return 1 + (int(np.sum(numbers)) - charge) % 2


@dataclass(frozen=True, eq=False)
class Frame:
    """Atoms at positions, with cell, charge and multiplicity; equal frames have equal `frame_id`.

    Attributes:
        numbers: Atomic numbers, shape (n_atoms,), int32.
        positions: Positions, shape (n_atoms, 3), Å.
        cell: Cell vectors as rows, shape (3, 3), Å; zeros where there is none.
        pbc: Periodic directions, shape (3,).
        charge: Total charge, e.
        multiplicity: Spin multiplicity 2S + 1.
        fixed: True for atoms that dynamics must not move, shape (n_atoms,).
    """

    numbers: NDArray[np.int32]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(3, dtype=bool))
    charge: int = 0
    multiplicity: int = 1
    fixed: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays and check their shapes.

        Raises:
            StructureError: No atoms, a wrong shape, a position or cell that is not finite, or a
                periodic direction without a cell vector.
        """
        n_atoms = len(self.numbers)
        fixed = np.zeros(n_atoms, dtype=bool) if self.fixed is None else self.fixed
        for name, value, dtype, shape in (
            ("numbers", self.numbers, np.int32, (n_atoms,)),
            ("positions", self.positions, np.float64, (n_atoms, 3)),
            ("cell", self.cell, np.float64, (3, 3)),
            ("pbc", self.pbc, np.bool_, (3,)),
            ("fixed", fixed, np.bool_, (n_atoms,)),
        ):
            array: NDArray[Any] = np.array(value, dtype=dtype, order="C")
            if array.shape != shape:
                raise StructureError(f"{name} must have shape {shape}, got {array.shape}")
            if not np.isfinite(array).all():
                raise StructureError(f"{name} holds a value that is not finite (Å)")
            if dtype is np.float64:
                array = array + 0.0  # -0.0 and 0.0 are the same place
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if n_atoms == 0:
            raise StructureError("a frame needs at least one atom")
        if self.pbc.any() and abs(np.linalg.det(self.cell)) < 1e-6:
            raise StructureError("periodic directions need a cell of non-zero volume (Å³)")

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def is_periodic(self) -> bool:
        """Whether any direction is periodic."""
        return bool(self.pbc.any())

    @property
    def fixed_mask(self) -> NDArray[np.bool_]:
        """`fixed` as an array, shape (n_atoms,)."""
        assert self.fixed is not None  # set in __post_init__  # noqa: S101
        return self.fixed

    @cached_property
    def formula(self) -> str:
        """Formula in Hill's order, as in `ase db`."""
        return str(Atoms(numbers=self.numbers).get_chemical_formula())

    @cached_property
    def frame_id(self) -> str:
        """SHA-256 (hex) of the canonical bytes: little-endian arrays in the order of the fields."""
        digest = hashlib.sha256(_FORMAT)
        digest.update(np.array([self.n_atoms, self.charge, self.multiplicity], dtype="<i8").tobytes())
        digest.update(self.numbers.astype("<i4").tobytes())
        digest.update(self.positions.astype("<f8").tobytes())
        digest.update(self.cell.astype("<f8").tobytes())
        digest.update(self.pbc.astype("u1").tobytes())
        digest.update(self.fixed_mask.astype("u1").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and self.frame_id == other.frame_id

    def __hash__(self) -> int:
        return hash(self.frame_id)

    def moved_to(self, positions: ArrayLike) -> Frame:
        """Return the same atoms at other positions, shape (n_atoms, 3), Å."""
        return Frame(
            self.numbers, np.asarray(positions), self.cell, self.pbc,
            self.charge, self.multiplicity, self.fixed,
        )  # fmt: skip

    @classmethod
    def from_ase(cls, atoms: Atoms, *, charge: int | None = None, multiplicity: int | None = None) -> Frame:
        """Build a frame from ASE atoms.

        Charge and multiplicity come from the arguments, else from `atoms.info["charge"]` and
        `["multiplicity"]`, else from the sums of initial charges and magnetic moments, else they
        are 0 and the lowest that the electrons allow.
        """
        numbers = np.asarray(atoms.numbers, dtype=np.int32)
        if charge is None:
            summed = round(float(atoms.get_initial_charges().sum()))
            charge = _whole("charge", atoms.info.get("charge", summed))
        if multiplicity is None:
            unpaired = round(abs(float(np.sum(atoms.get_initial_magnetic_moments()))))
            lowest = unpaired + 1 if unpaired else parity_multiplicity(numbers, charge)
            multiplicity = _whole("multiplicity", atoms.info.get("multiplicity", lowest))
        fixed = np.zeros(len(atoms), dtype=bool)
        for constraint in atoms.constraints:
            from ase.constraints import FixAtoms  # here, as it takes a third of a second

            if not isinstance(constraint, FixAtoms):
                raise StructureError(
                    f"constraint {type(constraint).__name__} is not supported; only FixAtoms is"
                )
            fixed[constraint.index] = True
        return cls(
            numbers, np.asarray(atoms.positions, dtype=np.float64), np.asarray(atoms.cell.array),
            np.asarray(atoms.pbc, dtype=bool), charge, multiplicity, fixed,
        )  # fmt: skip

    def to_ase(self) -> Atoms:
        """Return ASE atoms; charge and multiplicity stand in `info`, fixed atoms in a constraint."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info["charge"] = self.charge
        atoms.info["multiplicity"] = self.multiplicity
        if self.fixed_mask.any():
            from ase.constraints import FixAtoms

            atoms.set_constraint(FixAtoms(mask=self.fixed_mask))
        return atoms


def check_electrons(frame: Frame) -> None:
    """Raise unless charge and multiplicity fit the number of electrons.

    Raises:
        StructureError: No electrons, or a multiplicity of the wrong parity or too high.
    """
    electrons = int(frame.numbers.sum()) - frame.charge
    unpaired = frame.multiplicity - 1
    if electrons < 0 or unpaired < 0 or unpaired > electrons or (electrons - unpaired) % 2:
        wanted = "an even" if electrons % 2 else "an odd"
        raise StructureError(
            f"{frame.formula} with charge {frame.charge} e has {electrons} electrons and cannot have "
            f"multiplicity {frame.multiplicity}; give {wanted} multiplicity or another charge"
        )


def minimum_distance(frame: Frame) -> float:
    """Return the smallest distance between two atoms (images included), Å; inf for a lone atom."""
    if frame.n_atoms == 1 and not frame.is_periodic:
        return float("inf")
    if frame.is_periodic:
        from ase.neighborlist import neighbor_list

        close = neighbor_list("d", frame.to_ase(), 3.0)
        return float(close.min()) if len(close) else 3.0
    i, j = np.triu_indices(frame.n_atoms, 1)
    return float(np.linalg.norm(frame.positions[i] - frame.positions[j], axis=1).min())


def check_distances(frame: Frame, minimum: float = 0.3) -> None:
    """Raise where two atoms are closer than `minimum` Å.

    Raises:
        StructureError: Names the distance in Å.
    """
    distance = minimum_distance(frame)
    if distance < minimum:
        raise StructureError(
            f"two atoms of {frame.formula} are {distance:.3g} Å apart; at least {minimum} Å is needed"
        )


def elements_of(frames: Sequence[Frame]) -> tuple[int, ...]:
    """Return the atomic numbers that occur, in ascending order."""
    return tuple(sorted({int(z) for frame in frames for z in frame.numbers}))
