"""A reference as a whole: which backend, what it is called, and whether it can label these frames."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import packages_distributions, version

from al_engine.config import XTB, ASECalculator, FileLabels
from al_engine.errors import CalculatorUnavailableError
from al_engine.frames import Frame
from al_engine.labeling.ase_calculator import build, compute_ase, known_elements, module_of
from al_engine.labeling.base import Computed, Failed
from al_engine.labeling.checks import check_frame
from al_engine.labeling.file_labels import level_of_file, look_up
from al_engine.labeling.xtb import MAX_ATOMIC_NUMBER, MODULES, compute_xtb, resolve_xtb

Reference = XTB | ASECalculator | FileLabels


def resolve_backend(reference: Reference) -> Reference:
    """Return the reference with nothing left to choose: `auto` becomes xtb-python or tblite.

    Raises:
        CalculatorUnavailableError: The package is not installed; says how it can be.
    """
    return resolve_xtb(reference) if isinstance(reference, XTB) else reference


def level_of_theory(reference: Reference) -> str:
    """Return method, parameters, package and version on one line; equal labels have equal lines.

    The iteration limit and the guesses are left out: they decide whether there is a label, not which.
    """
    if isinstance(reference, XTB):
        reference = resolve_xtb(reference)
        package = "xtb" if reference.backend == "xtb-python" else "tblite"
        return (
            f"{reference.method} (accuracy {reference.accuracy:g}, electronic temperature "
            f"{reference.electronic_temperature_k:g} K; {reference.backend} {version(package)})"
        )
    if isinstance(reference, FileLabels):
        return level_of_file(reference)
    top = reference.calculator.partition(".")[0]
    packages = sorted(set(packages_distributions().get(top, ())))
    versions = ", ".join(f"{package} {version(package)}" for package in packages) or "no package"
    keywords = json.dumps(reference.keywords, sort_keys=True, default=str)
    return f"{reference.calculator} ({keywords}; {versions})"


def check_reference(reference: Reference, frames: Iterable[Frame]) -> None:
    """Raise for everything that can be known to fail before anything is computed.

    Raises:
        CalculatorUnavailableError: The calculator cannot be imported or made with its keywords, does not
            know an element, or cannot do a periodic frame.
        StructureError: A frame that no calculator could do.
    """
    reference = resolve_backend(reference)
    if isinstance(reference, ASECalculator):
        build(reference)
    for frame in frames:
        check_frame(frame)
        check_known(reference, frame)


def check_known(reference: Reference, frame: Frame) -> None:
    """Raise unless the reference is made for such frames.

    Raises:
        CalculatorUnavailableError: Names the element, or that the frame is periodic.
    """
    name: str
    if isinstance(reference, FileLabels):
        return
    if isinstance(reference, XTB):
        name = reference.method
        known = frozenset(range(1, MAX_ATOMIC_NUMBER + 1))
        if frame.is_periodic:
            raise CalculatorUnavailableError(
                f"{name} is for molecules; {frame.formula} is periodic and needs another calculator"
            )
    else:
        name = reference.calculator
        known = known_elements(reference) or frozenset(map(int, frame.numbers))
    unknown = set(map(int, frame.numbers)) - known
    if unknown:
        from ase.data import chemical_symbols

        allowed = ", ".join(chemical_symbols[z] for z in sorted(known)) if len(known) < 20 else "H to Rn"
        raise CalculatorUnavailableError(
            f"{name} does not know {chemical_symbols[min(unknown)]} (in {frame.formula}); it knows {allowed}"
        )


def compute(reference: Reference, frame: Frame) -> Computed | Failed:
    """Compute one frame by a new calculator, in this process."""
    match reference:
        case XTB():
            return compute_xtb(reference, frame)
        case ASECalculator():
            return compute_ase(reference, frame)
        case FileLabels():
            return look_up(reference, frame)


def modules_of(reference: Reference) -> tuple[str, ...]:
    """Return the modules that a worker should have imported before it is forked."""
    match reference:
        case XTB():
            return (MODULES[resolve_xtb(reference).backend],)
        case ASECalculator():
            return (module_of(reference),)
        case FileLabels():
            return ()
