"""Checks of a frame before a calculation and of its result after."""

import numpy as np

from al_engine.errors import StructureError, blaming
from al_engine.frames import Frame, check_distances, check_electrons
from al_engine.labeling.base import Computed, Failed
from al_engine.records import FailureReason

MIN_DISTANCE_ANG = 0.3
MAX_EXTENT_ANG = 1e4


def check_frame(frame: Frame) -> None:
    """Raise unless the frame can be given to a calculator of whatever kind.

    Raises:
        StructureError: Atoms closer than 0.3 Å or more than 1e4 Å apart, an unknown element, or a
            molecule's multiplicity that its electrons cannot have.
    """
    if frame.numbers.min() < 1:
        raise StructureError(f"{frame.formula} has an atom without an element (X)")
    extent = float(np.ptp(frame.positions, axis=0).max())
    if extent > MAX_EXTENT_ANG:
        raise StructureError(
            f"{frame.formula} is {extent:.3g} Å long; at most {MAX_EXTENT_ANG:g} Å is allowed"
        )
    if not frame.is_periodic:
        with blaming("multiplicity"):
            check_electrons(frame)
    check_distances(frame, MIN_DISTANCE_ANG)


def check_result(frame: Frame, computed: Computed, force_cap: float) -> Failed | None:
    """Return why the result cannot be a label, or None where it can.

    Args:
        frame: What was computed.
        computed: What the calculator said.
        force_cap: Largest allowed force component, eV/Å.
    """
    for name, array, shape in (
        ("forces", computed.forces, (frame.n_atoms, 3)),
        ("stress", computed.stress, (3, 3)),
    ):
        if array is not None and array.shape != shape:
            return Failed(FailureReason.WRONG_SHAPE, f"{name} have shape {array.shape}, not {shape}")
        if array is not None and not np.isfinite(array).all():
            return Failed(FailureReason.NOT_FINITE, f"{name} hold a value that is not finite")
    if not np.isfinite(computed.energy):
        return Failed(FailureReason.NOT_FINITE, f"the energy is {computed.energy} eV")
    largest = float(np.abs(computed.forces).max())
    if largest > force_cap:
        return Failed(
            FailureReason.FORCE_TOO_LARGE, f"a force of {largest:.4g} eV/Å is above {force_cap:.4g} eV/Å"
        )
    return None
