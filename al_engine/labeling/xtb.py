"""GFN1-xTB and GFN2-xTB of molecules, through xtb-python or tblite."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from ase.data import ground_state_magnetic_moments
from ase.units import Bohr, Hartree, kB
from numpy.typing import NDArray

from al_engine.config import XTB
from al_engine.errors import CalculatorUnavailableError
from al_engine.frames import Frame
from al_engine.labeling.base import Computed, Failed, one_line
from al_engine.records import FailureReason

MAX_ATOMIC_NUMBER: Final = 86
"""Radon; beyond it xtb 22.1 kills its process."""

SAFE_GAP: Final = 1e-6
"""Å. xtb 22.1 returns wrong forces where two atoms share a coordinate to less than about 1e-7 Å."""

COOLING_K: Final = (3000.0, 1000.0, 600.0)
"""Electronic temperatures from whose densities a calculation starts that does not converge from the usual
guess: more than half of such calculations of torn molecules then do, hardly any by more iterations."""

MODULES: Final = {"xtb-python": "xtb.interface", "tblite": "tblite.interface"}


def ground_state_multiplicity(number: int) -> int:
    """Return the spin multiplicity of an isolated neutral atom in its ground state."""
    return round(float(ground_state_magnetic_moments[number])) + 1


def resolve_xtb(reference: XTB) -> XTB:
    """Return the reference with the backend that will do the work.

    Raises:
        CalculatorUnavailableError: It is not installed; says with which command it can be.
    """
    if reference.backend == "auto":
        backend = "xtb-python" if _installed("xtb.interface") else "tblite"
        return resolve_xtb(reference.model_copy(update={"backend": backend}))
    if _installed(MODULES[reference.backend]):
        return reference
    if reference.backend == "tblite":
        raise CalculatorUnavailableError("backend 'tblite' cannot be imported: pip install tblite")
    raise CalculatorUnavailableError(
        "backend 'xtb-python' cannot be imported: pip install xtb==22.1 (wheels for Linux x86_64 and "
        "Python <= 3.11 only); a new campaign can use 'backend: tblite'"
    )


def _installed(module: str) -> bool:
    """Whether a module of a package can be found, without importing more than the package."""
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def compute_xtb(reference: XTB, frame: Frame) -> Computed | Failed:
    """Compute energy and forces of a molecule by a new calculator object.

    The energy is the electronic free energy at the electronic temperature, whose gradient the forces are.
    Where it does not converge, it is tried again from a density that was cooled down to that temperature:
    another guess, the same level of theory.
    """
    own = reference.electronic_temperature_k
    cooling = (*(hot for hot in COOLING_K if hot > own), own)
    first = _converge(reference, frame, (own,))
    if isinstance(first, Computed) or cooling == (own,):
        return first
    second = _converge(reference, frame, cooling)
    if isinstance(second, Computed):
        return second
    return Failed(second.reason, f"{first.message}; nor from a density cooled from {cooling[0]:g} K", 2)


def _converge(reference: XTB, frame: Frame, temperatures: Sequence[float]) -> Computed | Failed:
    """Converge at one electronic temperature (K) after the other; return the result at the last."""
    if reference.backend == "tblite":
        return _tblite(reference, frame, temperatures)
    rotation = generic_rotation(frame.positions)
    result = _xtb_python(reference, frame, frame.positions @ rotation.T, temperatures)
    return result if isinstance(result, Failed) else Computed(result.energy, result.forces @ rotation)


def _xtb_python(
    reference: XTB, frame: Frame, positions: NDArray[np.float64], temperatures: Sequence[float]
) -> Computed | Failed:
    """Ask xtb-python at these positions, shape (n_atoms, 3), Å: forces are wrong on shared coordinates."""
    from xtb.interface import Calculator, Param, XTBException

    parameters = {"GFN2-xTB": Param.GFN2xTB, "GFN1-xTB": Param.GFN1xTB}[reference.method]
    calculator = Calculator(
        parameters, frame.numbers, positions / Bohr, charge=frame.charge, uhf=frame.multiplicity - 1
    )
    calculator.set_verbosity("muted")
    calculator.set_accuracy(reference.accuracy)
    calculator.set_max_iterations(reference.max_iterations)
    result: Any = None
    try:
        for temperature in temperatures:
            calculator.set_electronic_temperature(temperature)
            result = calculator.singlepoint(result)
    except XTBException as error:
        if "did not converge" not in str(error):
            raise
        return Failed(FailureReason.SCF, one_line(error))
    return Computed(result.get_energy() * Hartree, -result.get_gradient() * (Hartree / Bohr))


def _tblite(reference: XTB, frame: Frame, temperatures: Sequence[float]) -> Computed | Failed:
    """Ask tblite."""
    from tblite.exceptions import TBLiteRuntimeError
    from tblite.interface import Calculator

    calculator = Calculator(
        reference.method, frame.numbers, frame.positions / Bohr,
        charge=frame.charge, uhf=frame.multiplicity - 1,
    )  # fmt: skip
    calculator.set("verbosity", 0)
    calculator.set("accuracy", reference.accuracy)
    calculator.set("max-iter", reference.max_iterations)
    result: Any = None
    try:
        for temperature in temperatures:
            calculator.set("temperature", temperature * kB / Hartree)
            result = calculator.singlepoint(result)
    except TBLiteRuntimeError as error:
        if "not converged" not in str(error):
            raise
        return Failed(FailureReason.SCF, one_line(error))
    return Computed(float(result.get("energy")) * Hartree, -result.get("gradient") * (Hartree / Bohr))


def generic_rotation(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rotation after which no two atoms share a coordinate.

    xtb 22.1 returns forces that are wrong by up to 0.6 eV/Å for a molecule in which two atoms share a
    coordinate; the energy is right. It is always the same rotation, by irrational numbers, except where
    that one happens to bring two coordinates within `SAFE_GAP`: then it is the next of a fixed list.

    Args:
        positions: Shape (n_atoms, 3), Å.

    Returns:
        R, shape (3, 3): compute at `positions @ R.T`, turn the forces back by `forces @ R`.
    """
    return next((r for r in _ROTATIONS if _smallest_gap(positions @ r.T) > SAFE_GAP), _ROTATIONS[0])


def _smallest_gap(positions: NDArray[np.float64]) -> float:
    """Return the smallest difference of a coordinate between two atoms, Å."""
    return float(np.diff(np.sort(positions, axis=0), axis=0).min(initial=np.inf))


def _rotation(a: float, b: float, c: float, d: float) -> NDArray[np.float64]:
    """Return the rotation matrix of the quaternion a + bi + cj + dk, of any length."""
    matrix = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )
    rotation: NDArray[np.float64] = matrix / (a * a + b * b + c * c + d * d)
    return rotation


_ROTATIONS: Final = tuple(
    _rotation(*np.sqrt(numbers))
    for numbers in ((1.0, 2.0, 3.0, 5.0), (3.0, 7.0, 2.0, 5.0), (5.0, 2.0, 7.0, 3.0))
)
