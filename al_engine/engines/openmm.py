"""OpenMM runs the ensemble's mean, and a reporter writes what the ensemble knows of its error.

OpenMM calls Python for the forces (`openmm.PythonForce`), so that whatever it has beside them works:
integrators, thermostats, barostats, added forces, reporters, platforms.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms, units
from ase.cell import Cell
from ase.data import atomic_masses
from numpy.typing import NDArray

from al_engine.frames import Frame

try:
    import openmm
    from openmm import app, unit
except ModuleNotFoundError:
    raise ModuleNotFoundError("OpenMM is not installed: pip install 'al-engine[openmm]'") from None

if TYPE_CHECKING:
    from al_engine.model.ensemble import Ensemble

ENERGY = units.mol / units.kJ
"""eV in kJ/mol."""
LENGTH = units.Ang / units.nm
"""Å in nm."""


class OpenMMPotential:
    """An ensemble and the atoms it drives, as OpenMM wants them.

    OpenMM wants the box of a crystal lower triangular and reduced: the atoms are turned accordingly, the
    lattice stays the same. A frame that is periodic in one or two directions keeps its own fixed cell, and
    OpenMM is told of none.

    Attributes:
        frame: The atoms as OpenMM sees them.
        turn: Rotation from the given atoms to `frame`, shape (3, 3): positions become positions @ turn.
        system: Masses, box and the force; a barostat or other forces may be added to it.
        topology: Elements of the atoms, without bonds.
    """

    def __init__(self, ensemble: Ensemble, atoms: Frame | Atoms) -> None:
        """Prepare; fixed atoms have no mass, which keeps OpenMM from moving them.

        Raises:
            InputError: An element that the ensemble has never seen.
        """
        self.ensemble = ensemble
        self.frame, self.turn = _in_box(atoms if isinstance(atoms, Frame) else Frame.from_ase(atoms))
        self.system, self.topology = openmm.System(), app.Topology()
        residue = self.topology.addResidue("MOL", self.topology.addChain())
        for z, fixed in zip(self.frame.numbers.tolist(), self.frame.fixed_mask, strict=True):
            element = app.Element.getByAtomicNumber(z)
            self.topology.addAtom(element.symbol, element, residue)
            self.system.addParticle(0.0 if fixed else float(atomic_masses[z]))
        force = openmm.PythonForce(_MeanForce(ensemble, self.frame))
        force.setName("al-engine ensemble")
        if self.frame.pbc.all():
            box = [openmm.Vec3(*row) for row in (self.frame.cell * LENGTH).tolist()]
            self.system.setDefaultPeriodicBoxVectors(*box)
            self.topology.setPeriodicBoxVectors(box * unit.nanometer)
            force.setUsesPeriodicBoundaryConditions(True)
        self.system.addForce(force)

    def simulation(self, integrator: Any, platform: str | None = None) -> Any:
        """Return an `openmm.app.Simulation` of the atoms, at rest, on a platform (default: the fastest)."""
        chosen = () if platform is None else (openmm.Platform.getPlatformByName(platform),)
        simulation = app.Simulation(self.topology, self.system, integrator, *chosen)
        simulation.context.setPositions(self.frame.positions * LENGTH)
        return simulation

    def reporter(self, file: str | Path, every: int) -> UncertaintyReporter:
        """Return a reporter that writes the predicted deviations to a CSV file each `every` steps."""
        return UncertaintyReporter(self, Path(file), every)


class UncertaintyReporter:
    """Writes energy and total deviations (energy; force of an atom, largest and mean), a row a report."""

    COLUMNS = "step,time_ps,energy_ev,energy_sd_ev,max_force_sd_ev_per_ang,mean_force_sd_ev_per_ang"

    def __init__(self, potential: OpenMMPotential, file: Path, every: int) -> None:
        self._potential, self._file, self._every = potential, file, every
        file.write_text(self.COLUMNS + "\n", encoding="utf-8")

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:  # noqa: N802 (OpenMM's name)
        """Tell OpenMM when and with what to call."""
        return {
            "steps": self._every - simulation.currentStep % self._every,
            "periodic": False,
            "include": ["positions"],
        }

    def report(self, simulation: Any, state: Any) -> None:
        """Write a row."""
        frame = _frame_of(state, self._potential.frame)
        p = self._potential.ensemble.predict([frame])
        force_sd = p.total.force_sd
        row = (p.energy[0], p.total.energy_sd[0], force_sd.max(), force_sd.mean())
        time = state.getTime().value_in_unit(unit.picosecond)
        with self._file.open("a", encoding="utf-8") as out:
            print(simulation.currentStep, f"{time:.6f}", *(f"{x:.10g}" for x in row), sep=",", file=out)


class _MeanForce:
    """Energy (kJ/mol) and forces (kJ/mol/nm) of the members' mean, for `openmm.PythonForce`."""

    def __init__(self, ensemble: Ensemble, frame: Frame) -> None:
        self._ensemble, self._frame = ensemble, frame
        self._bound = ensemble.bind([frame])

    def __call__(self, state: Any) -> tuple[float, NDArray[np.float64]]:
        frame = _frame_of(state, self._frame)
        if (frame.cell != self._frame.cell).any():  # a barostat
            self._frame, self._bound = frame, self._ensemble.bind([frame])
        step = self._bound(torch.tensor(frame.positions))
        return float(step.energy[0]) * ENERGY, step.forces.cpu().numpy() * (ENERGY / LENGTH)


def _frame_of(state: Any, frame: Frame) -> Frame:
    """Return `frame` at the positions, and in the box, of an OpenMM state."""
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    if not frame.pbc.all():
        return frame.moved_to(positions)
    return _moved(frame, positions, state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom))


def _moved(frame: Frame, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> Frame:
    return Frame(frame.numbers, positions, cell, frame.pbc, frame.charge, frame.multiplicity, frame.fixed)


def _in_box(frame: Frame) -> tuple[Frame, NDArray[np.float64]]:
    """Turn a bulk frame so that its cell has OpenMM's form; the lattice is the same.

    The form: a along x, b in the xy plane, and b_x, c_x, c_y at most half of a_x, a_x, b_y.
    """
    if not frame.pbc.all():
        return frame, np.eye(3)
    right_handed = frame.cell * np.sign(np.linalg.det(frame.cell))  # -cell spans the same lattice
    form, turned = Cell(right_handed).standard_form()
    a, b, c = np.tril(form)
    c = c - b * round(c[1] / b[1])
    c = c - a * round(c[0] / a[0])
    b = b - a * round(b[0] / a[0])
    return _moved(frame, frame.positions @ turned.T, np.array([a, b, c])), turned.T
