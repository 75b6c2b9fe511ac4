"""The ensemble as an ASE calculator: what `predict` gives, and what users do with atoms."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.constraints import FixAtoms, FixBondLength
from ase.md.langevin import Langevin
from networks import carbon_crystal, ensemble, ethanol

from al_engine.errors import InputError
from al_engine.frames import Frame


def heated(atoms: Atoms) -> Langevin:
    rng = np.random.RandomState(0)
    return Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.02, rng=rng, fixcm=False)


def test_the_calculator_gives_what_predict_gives():
    model, frame = ensemble(), ethanol()
    atoms = frame.to_ase()
    atoms.calc = model.calculator()
    p = model.predict([frame])
    assert atoms.get_potential_energy() == p.energy[0]
    np.testing.assert_array_equal(atoms.get_forces(), p.forces)
    np.testing.assert_array_equal(atoms.calc.results["forces_sd"], p.total.force_sd)
    assert atoms.calc.results["energy_sd"] == p.total.energy_sd[0]
    assert "stress" not in atoms.calc.results
    crystal = carbon_crystal().to_ase()
    crystal.calc = model.calculator()
    q = model.predict([carbon_crystal()])
    assert q.stress is not None
    np.testing.assert_allclose(crystal.get_stress(voigt=False), q.stress[0])


def test_a_written_trajectory_carries_the_deviations_of_each_frame(tmp_path: Path):
    model, atoms = ensemble(), ethanol().to_ase()
    atoms.calc = model.calculator()
    dynamics = heated(atoms)
    dynamics.attach(lambda: ase.io.write(tmp_path / "t.extxyz", atoms, append=True), interval=3)
    dynamics.run(6)
    frames = ase.io.read(tmp_path / "t.extxyz", ":")
    assert len(frames) == 3
    for frame in frames:
        p = model.predict([frame])
        np.testing.assert_allclose(frame.arrays["forces_sd"], p.total.force_sd, rtol=1e-6)
        assert frame.info["energy_sd"] == pytest.approx(p.total.energy_sd[0], rel=1e-6)
        np.testing.assert_allclose(frame.get_forces(), p.forces, atol=1e-6)


def test_dynamics_leaves_fixed_atoms_and_bonds_as_they_are():
    atoms = ethanol().to_ase()
    start = atoms.copy()
    atoms.calc = ensemble().calculator()
    atoms.set_constraint([FixAtoms([0]), FixBondLength(2, 3)])
    heated(atoms).run(10)
    assert (atoms.positions[0] == start.positions[0]).all()
    assert atoms.get_distance(2, 3) == pytest.approx(start.get_distance(2, 3), abs=1e-9)
    assert np.abs(atoms.positions - start.positions).max() > 1e-3


@pytest.mark.parametrize("change", [{"charge": 1, "multiplicity": 2}, {"multiplicity": 3}])
def test_another_charge_or_multiplicity_is_computed_anew(change: dict[str, int]):
    model, atoms = ensemble(), ethanol().to_ase()
    atoms.calc = model.calculator()
    before = atoms.get_potential_energy()
    atoms.info |= change
    expected = model.predict([Frame(ethanol().numbers, ethanol().positions, **change)]).energy[0]
    assert atoms.get_potential_energy() == expected != before


def test_an_element_never_seen_is_refused():
    atoms = ethanol().to_ase()
    atoms.calc = ensemble().calculator()
    atoms.numbers[0] = 7
    with pytest.raises(InputError, match="never seen"):
        atoms.get_forces()
