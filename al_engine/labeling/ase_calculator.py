"""Any ASE calculator, by import path and keywords."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import FileIOCalculator, SCFError

from al_engine.config import ASECalculator
from al_engine.errors import CalculatorUnavailableError, blaming
from al_engine.frames import Frame
from al_engine.labeling.base import Computed, Failed, one_line
from al_engine.records import FailureReason


def module_of(reference: ASECalculator) -> str:
    """Return the module that the import path names."""
    return reference.calculator.rpartition(".")[0]


def build(reference: ASECalculator) -> Any:
    """Return a new calculator object.

    Raises:
        CalculatorUnavailableError: Its module or name cannot be imported, it is no ASE calculator, or it
            does not take the keywords.
    """
    path = reference.calculator
    module, _, name = path.rpartition(".")
    with blaming("reference", "calculator"):
        try:
            factory = getattr(importlib.import_module(module), name)
        except Exception as error:
            raise CalculatorUnavailableError(
                f"calculator {path!r} cannot be imported ({type(error).__name__}: {one_line(error)}); "
                "a class by its full import path is needed, such as ase.calculators.emt.EMT"
            ) from None
    with blaming("reference", "keywords"):
        unknown = sorted(set(reference.keywords) - _keywords_of(factory, reference.keywords))
        if unknown:
            known = ", ".join(sorted(_keywords_of(factory, ())))
            raise CalculatorUnavailableError(
                f"calculator {path!r} has no keyword {unknown[0]!r}; it has {known}"
            )
        try:
            calculator = factory(**reference.keywords)
        except Exception as error:
            raise CalculatorUnavailableError(
                f"calculator {path!r} cannot be made with keywords {reference.keywords}: "
                f"{type(error).__name__}: {one_line(error)}"
            ) from None
    if isinstance(calculator, type) or not (
        hasattr(calculator, "get_potential_energy") and hasattr(calculator, "get_forces")
    ):
        with blaming("reference", "calculator"):
            raise CalculatorUnavailableError(
                f"{path!r} is not an ASE calculator: it gives no energy and forces"
            )
    return calculator


def _keywords_of(factory: Any, given: Iterable[str]) -> set[str]:
    """Return the keywords that a class declares, or those given where it does not say.

    ASE's base class takes every keyword and ignores a misspelled one; a class that lists its
    `default_parameters` and runs no outside program means that list.
    """
    defaults = getattr(factory, "default_parameters", None)
    if not defaults or not inspect.isclass(factory) or issubclass(factory, FileIOCalculator):
        return set(given)
    constructors = [vars(cls)["__init__"] for cls in factory.__mro__[:-1] if "__init__" in vars(cls)]
    named = {name for constructor in constructors for name in inspect.signature(constructor).parameters}
    return (set(defaults) | named) - {"self", "args", "kwargs"}


def known_elements(reference: ASECalculator) -> frozenset[int] | None:
    """Return the atomic numbers that a calculator with a fixed table knows; None where it does not say."""
    if reference.calculator != "ase.calculators.emt.EMT":
        return None
    from ase.calculators.emt import parameters

    return frozenset(int(Atoms(symbol).numbers[0]) for symbol in parameters)


def compute_ase(reference: ASECalculator, frame: Frame) -> Computed | Failed:
    """Compute energy and forces, and the stress of a frame that is periodic in three directions.

    The energy is the calculator's free energy where it has one (electronic smearing): the forces are its
    gradient. Files that the calculator writes into its working folder go to the temporary folder.
    """
    calculator = build(reference)
    atoms = _atoms(frame)
    atoms.calc = calculator
    with contextlib.chdir(tempfile.gettempdir()):
        try:
            forces = np.asarray(atoms.get_forces(apply_constraint=False), dtype=np.float64)
            energy = np.asarray(atoms.get_potential_energy(), dtype=np.float64)
            free = getattr(calculator, "results", {}).get("free_energy")
            stress = None
            if frame.pbc.all() and "stress" in getattr(calculator, "implemented_properties", ()):
                stress = np.asarray(atoms.get_stress(voigt=False, apply_constraint=False), dtype=np.float64)
        except SCFError as error:
            return Failed(FailureReason.SCF, one_line(f"{type(error).__name__}: {error}"))
    energy = energy if free is None else np.asarray(free, dtype=np.float64)
    if energy.size != 1:
        return Failed(FailureReason.WRONG_SHAPE, f"the energy has shape {energy.shape}, not ()")
    return Computed(energy.item(), forces, stress)


def _atoms(frame: Frame) -> Atoms:
    """Return atoms without constraints, with charge and unpaired electrons where ASE calculators look.

    Some read `info`, some the sums of initial charges and magnetic moments; the sums are spread evenly.
    """
    atoms = frame.to_ase()
    atoms.set_constraint()
    if frame.charge != 0:
        atoms.set_initial_charges(np.full(frame.n_atoms, frame.charge / frame.n_atoms))
    if frame.multiplicity != 1 and not frame.is_periodic:
        atoms.set_initial_magnetic_moments(np.full(frame.n_atoms, (frame.multiplicity - 1) / frame.n_atoms))
    return atoms
