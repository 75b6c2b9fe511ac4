"""ASE calculators that misbehave; the first atom's x coordinate (Å, in tens) says how."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
from ase.calculators.calculator import Calculator, SCFError, all_changes
from ase.calculators.emt import EMT

from al_engine.labeling.base import Computed

BEHAVIORS = (
    "good", "hang", "hang_deaf", "segv", "leave", "exit_code", "not_finite", "wrong_shape", "wrong_energy",
    "raise", "system_exit", "scf", "shout", "large", "ragged", "orphan",
    "hog", "daemon",
)  # fmt: skip


def nap(seconds):
    """Sleep, then return the time as the energy (eV)."""
    time.sleep(seconds)
    return Computed(seconds, np.array([[0.1, -np.inf, np.nan]]))


class Moody(Calculator):
    """Does what BEHAVIORS[round(x / 10 Å)] says; `good` is energy 1 eV and no forces."""

    implemented_properties = ("energy", "forces")
    n_objects = 0

    def __init__(self):
        super().__init__()
        Moody.n_objects += 1

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        self.results = {"energy": 1.0, "forces": forces}
        match BEHAVIORS[round(float(atoms.positions[0, 0]) / 10)]:
            case "hang":
                print("thinking", flush=True)
                while True:
                    pass
            case "hang_deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(1000)
            case "segv":
                print("about to crash", flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)
            case "leave":
                os._exit(0)
            case "exit_code":
                os._exit(3)
            case "not_finite":
                forces[0, 0] = np.nan
            case "wrong_shape":
                self.results["forces"] = forces[:-1]
            case "wrong_energy":
                self.results["energy"] = np.array([1.0, 2.0])
            case "raise":
                raise ValueError("no such\nluck")
            case "system_exit":
                sys.exit("stop")
            case "scf":
                raise SCFError("no convergence")
            case "shout":
                for _ in range(200):
                    os.write(1, b"x" * 100_000)
                os.kill(os.getpid(), signal.SIGABRT)
            case "large":
                forces[0, 0] = 1e3
            case "ragged":
                self.results["forces"] = [[0.0], [0.0, 1.0]]
            case "hog":
                np.ones(10**10)
            case "daemon":  # in a session of its own, deaf to SIGTERM, and it never stops talking
                shout = (
                    "import os, signal\nsignal.signal(15, signal.SIG_IGN)\nwhile 1: os.write(1, b'x' * 9999)"
                )
                subprocess.Popen([sys.executable, "-c", shout], start_new_session=True)
                time.sleep(1000)
            case "orphan":
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
                time.sleep(1000)


class Weak(EMT):
    """EMT that dies at the first `n` calls for one frame in `every`; marks in a folder count the calls."""

    def __init__(self, folder, n=1, how="crash", every=1):
        super().__init__()
        self.folder, self.n, self.how, self.every = folder, n, how, every

    def calculate(self, atoms=None, *rest):
        content = atoms.numbers.tobytes() + atoms.positions.tobytes()
        name = os.path.join(self.folder, hashlib.sha256(content).hexdigest())
        with open(name, "a") as file:
            file.write("x")
        if os.path.getsize(name) <= self.n and int(name[-8:], 16) % self.every == 0:
            if self.how == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(1000)
        super().calculate(atoms, *rest)


class Curious(Calculator):
    """Says in its energy what it finds in its process, by the keyword `about`."""

    implemented_properties = ("energy", "forces")
    n_calls = 0

    def __init__(self, about):
        super().__init__()
        self.about = about

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        Curious.n_calls += 1
        answer = {
            "calls": Curious.n_calls,
            "torch": "torch" in sys.modules,
            "threads": float(os.environ.get("OMP_NUM_THREADS", "nan")),
            "electrons": 100 * atoms.get_initial_charges().sum() + atoms.get_initial_magnetic_moments().sum(),
            "info": 100 * atoms.info["charge"] + atoms.info["multiplicity"],
            "files": len(os.listdir(".")),
            "constraints": len(atoms.constraints),
            "pid": os.getpid(),
        }[self.about]
        with open("calculator.out", "w") as file:
            file.write("a file in the working folder\n")
        self.results = {"energy": float(answer), "forces": np.zeros((len(atoms), 3))}


class Smeared(Calculator):
    """Has a free energy that differs from its energy, and a stress."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": -1.0,
            "free_energy": -1.5,
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.arange(1.0, 7.0),
        }


class NoCalculator:
    """Gives neither energy nor forces."""


def not_made():
    raise OSError("no license")
