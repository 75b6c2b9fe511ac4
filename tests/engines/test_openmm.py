"""OpenMM against `predict` and against ASE: the same forces, trajectory and deviations."""

import subprocess
import sys
from pathlib import Path

import ase.units
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from networks import carbon_crystal, ensemble, ethanol, trained

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble

openmm = pytest.importorskip("openmm", reason="pip install openmm")
from openmm import unit  # noqa: E402

from al_engine.engines.openmm import OpenMMPotential  # noqa: E402

EV = 96.48533212  # kJ/mol, CODATA 2018


def with_cell(frame: Frame, cell: np.ndarray, pbc: tuple[int, int, int] = (1, 1, 1)) -> Frame:
    return Frame(frame.numbers, frame.positions, cell, np.array(pbc), fixed=frame.fixed)


def hexagonal() -> Frame:
    atoms = bulk("C", "hcp", a=2.6, c=4.2)
    atoms.rattle(0.05, seed=0)
    return Frame.from_ase(atoms)


CRYSTAL = carbon_crystal()
FRAMES = {
    "molecule": ethanol(),
    "ion": Frame(ethanol().numbers, ethanol().positions, charge=1, multiplicity=2),
    "triclinic": CRYSTAL,
    "smaller than the cut-off": carbon_crystal(cubic=False),
    "hexagonal": hexagonal(),
    "left-handed": with_cell(CRYSTAL, CRYSTAL.cell[[1, 0, 2]]),
    "long vectors": with_cell(CRYSTAL, np.array([[1, 0, 0], [3, 1, 0], [-2, 5, 1]]) @ CRYSTAL.cell),
    "slab": with_cell(CRYSTAL, CRYSTAL.cell, (1, 1, 0)),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-7)])
@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_openmm_and_ase_have_the_energy_and_forces_of_predict(
    frame: Frame, platform: str, dtype: torch.dtype, tolerance: float
):
    model = Ensemble.from_bytes(trained().to_bytes(), device="cpu", dtype=dtype)
    p = model.predict([frame])
    assert np.abs(p.forces).max() > 0.1
    # A displacement is rounded to a share of the longest vector that it is made of: 19 Å in one of the cells.
    tolerance *= max(1.0, np.linalg.norm(frame.cell, axis=1).max() / 10)
    potential = OpenMMPotential(model, frame)
    simulation = potential.simulation(openmm.VerletIntegrator(0.0005), platform)
    state = simulation.context.getState(forces=True, energy=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / EV
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) / EV
    assert energy == pytest.approx(p.energy[0], abs=10 * tolerance)
    np.testing.assert_allclose(forces @ potential.turn.T, p.forces, atol=tolerance)
    atoms = frame.to_ase()
    atoms.calc = model.calculator()
    np.testing.assert_allclose(atoms.get_forces(), p.forces, atol=tolerance)


def test_openmm_moves_the_atoms_as_ase_does_and_leaves_the_fixed_ones():
    """OpenMM's velocities are half a step behind: those of rest are ASE's of -a dt/2."""
    model, dt = ensemble(), 0.5  # fs
    frame = Frame(ethanol().numbers, ethanol().positions, fixed=np.arange(9) == 4)
    simulation = OpenMMPotential(model, frame).simulation(openmm.VerletIntegrator(dt / 1000))
    simulation.step(40)
    there = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    atoms = frame.to_ase()
    atoms.calc = model.calculator()
    atoms.set_momenta(atoms.get_forces() * dt * ase.units.fs / 2)
    VelocityVerlet(atoms, dt * ase.units.fs).run(40)
    moved = np.abs(atoms.positions - frame.positions).max(axis=1)
    assert moved[4] == 0
    assert moved.max() > 0.01
    np.testing.assert_allclose(there.value_in_unit(unit.angstrom), atoms.positions, atol=1e-5)


def test_a_barostat_changes_the_box_that_the_ensemble_sees():
    model = ensemble()
    potential = OpenMMPotential(model, CRYSTAL)
    potential.system.addForce(openmm.MonteCarloBarostat(1e5 * unit.bar, 300 * unit.kelvin, 1))
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.0005)
    integrator.setRandomNumberSeed(1)
    simulation = potential.simulation(integrator, "Reference")
    simulation.step(20)
    state = simulation.context.getState(positions=True, energy=True)
    cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
    assert abs(np.linalg.det(cell) / np.linalg.det(CRYSTAL.cell) - 1) > 1e-3
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    p = model.predict([Frame(CRYSTAL.numbers, positions, cell, CRYSTAL.pbc)])
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / EV
    assert energy == pytest.approx(p.energy[0], abs=1e-4)


def test_the_reporter_writes_the_deviations_that_predict_gives(tmp_path: Path):
    model = ensemble()
    potential = OpenMMPotential(model, ethanol())
    simulation = potential.simulation(openmm.VerletIntegrator(0.0005), "Reference")
    simulation.reporters.append(potential.reporter(tmp_path / "sd.csv", every=4))
    simulation.step(10)
    rows = np.genfromtxt(tmp_path / "sd.csv", delimiter=",", names=True)
    assert rows["step"].tolist() == [4, 8]
    np.testing.assert_allclose(rows["time_ps"], [0.002, 0.004])
    simulation.context.reinitialize()
    simulation.context.setPositions(potential.frame.positions / 10)
    simulation.integrator.step(8)
    there = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    p = model.predict([potential.frame.moved_to(there.value_in_unit(unit.angstrom))])
    expected = {
        "energy_ev": p.energy[0],
        "energy_sd_ev": p.total.energy_sd[0],
        "max_force_sd_ev_per_ang": p.total.force_sd.max(),
        "mean_force_sd_ev_per_ang": p.total.force_sd.mean(),
    }
    for name, value in expected.items():
        assert rows[name][1] == pytest.approx(value, rel=1e-8), name


def test_a_system_survives_openmms_xml():
    potential = OpenMMPotential(ensemble(), ethanol())
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(potential.system))
    energies = []
    for system in (potential.system, again):
        context = openmm.Context(system, openmm.VerletIntegrator(0.0005))
        context.setPositions(potential.frame.positions / 10)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert energies[0] == energies[1]


def test_an_element_never_seen_is_refused():
    with pytest.raises(InputError, match=r"Z = \[7\].*never seen"):
        OpenMMPotential(ensemble(), Frame(np.array([7]), np.zeros((1, 3))))


def test_without_openmm_the_error_says_how_to_get_it():
    code = "import sys; sys.modules['openmm'] = None; import al_engine.engines.openmm"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last == "ModuleNotFoundError: OpenMM is not installed: pip install 'al-engine[openmm]'"
