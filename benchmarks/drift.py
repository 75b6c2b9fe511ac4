"""Energy drift of NVE dynamics in OpenMM at 0.5 fs, ethanol, on a potential trained on GFN2-xTB labels.

python benchmarks/drift.py [--ps 10] [--temperature 300] [--model FILE]

Without a model file one is trained (default preset, the 400 frames of gfn2_ethanol.py). Each precision: 1 ps
of Langevin dynamics, then NVE. Prints the slope of the total energy, its deviation about that line, the
deviations that the ensemble predicts on the way, and the largest difference of forces among OpenMM, the ASE
calculator and `predict` on frames of the trajectory.
"""

import argparse
import tempfile
import time
from pathlib import Path

import gfn2_ethanol
import numpy as np
import openmm
import torch
from ase.build import molecule
from openmm import unit

from al_engine.config import CampaignConfig, System
from al_engine.engines.openmm import ENERGY, LENGTH, OpenMMPotential
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.stages.compute import resolve_compute
from al_engine.stages.train import train_stage

TIMESTEP = 0.5  # fs
EVERY = 40  # steps between the energies that are kept


def trained() -> bytes:
    config = resolve_compute(CampaignConfig(name="drift", systems=(System(structure="-"),)), 9)
    labeled = [*gfn2_ethanol.frames("train"), *gfn2_ethanol.frames("isolated")]
    began = time.process_time()
    weights = train_stage(config, 1, labeled, {}).model.weights
    ensemble, test = Ensemble.from_bytes(weights), gfn2_ethanol.frames("test")
    forces = np.concatenate([item.label.forces for item in test])
    errors = ensemble.predict([item.frame for item in test]).forces - forces
    rmse = 1000 * np.sqrt(np.mean(errors**2))
    print(
        f"trained in {time.process_time() - began:.0f} CPU s, {rmse:.1f} meV/Å on the test frames", flush=True
    )
    return weights


def run(ensemble: Ensemble, ps: float, temperature: float) -> str:
    potential = OpenMMPotential(ensemble, Frame.from_ase(molecule("CH3CH2OH")))
    langevin = openmm.LangevinMiddleIntegrator(temperature, 10, TIMESTEP / 1000)
    langevin.setRandomNumberSeed(1)
    simulation = potential.simulation(langevin, "Reference")
    simulation.context.setVelocitiesToTemperature(temperature, 1)
    simulation.step(2000)
    start = simulation.context.getState(positions=True, velocities=True)
    simulation = potential.simulation(openmm.VerletIntegrator(TIMESTEP / 1000), "Reference")
    simulation.context.setPositions(start.getPositions())
    simulation.context.setVelocities(start.getVelocities())
    n_rows = round(1000 * ps / TIMESTEP / EVERY)
    energies, worst, began = [], 0.0, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sd.csv"
        simulation.reporters.append(potential.reporter(file, 10 * EVERY))
        for row in range(n_rows):
            simulation.step(EVERY)
            state = simulation.context.getState(energy=True, positions=True, forces=True)
            total = state.getPotentialEnergy() + state.getKineticEnergy()
            energies.append(total.value_in_unit(unit.kilojoule_per_mole) / ENERGY)
            if row % 50 == 0:
                worst = max(worst, difference(potential, state))
        seconds = time.process_time() - began
        sd = np.genfromtxt(file, delimiter=",", names=True)
    per_atom = 1000 * np.array(energies) / potential.frame.n_atoms
    times = (1 + np.arange(n_rows)) * EVERY * TIMESTEP / 1000
    (slope, at_zero), covariance = np.polyfit(times, per_atom, 1, cov=True)
    noise = np.std(per_atom - at_zero - slope * times)
    return (
        f"drift {slope:+.4f} ± {np.sqrt(covariance[0, 0]):.4f} meV/atom/ps, "
        f"deviation about the line {noise:.3f} meV/atom; {1000 * seconds / n_rows / EVERY:.1f} ms a step; "
        f"mean energy sd {1000 * sd['energy_sd_ev'].mean():.1f} meV, "
        f"mean of the largest force sd {1000 * sd['max_force_sd_ev_per_ang'].mean():.0f} meV/Å; "
        f"forces differ by at most {worst:.1e} eV/Å"
    )


def difference(potential: OpenMMPotential, state: openmm.State) -> float:
    """Largest difference of a force component among OpenMM, ASE and `predict`, eV/Å."""
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    frame = potential.frame.moved_to(positions)
    atoms = frame.to_ase()
    atoms.calc = potential.ensemble.calculator()
    kinds = [forces * LENGTH / ENERGY, atoms.get_forces(), potential.ensemble.predict([frame]).forces]
    return float(np.ptp(kinds, axis=0).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ps", type=float, default=10.0)
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--model", type=Path, help="an ensemble for ethanol")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    arguments = parser.parse_args()
    weights = arguments.model.read_bytes() if arguments.model else trained()
    for dtype in arguments.dtypes:
        ensemble = Ensemble.from_bytes(weights, device="cpu", dtype=dtype)
        print(f"{dtype}: {run(ensemble, arguments.ps, arguments.temperature)}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
