"""The ensemble as an ASE calculator, its uncertainty among the results."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from al_engine.model.ensemble import Ensemble


class EnsembleCalculator(Calculator):  # type: ignore[misc]
    """Energy (eV), forces (eV/Å) and, where all directions are periodic, stress (eV/Å³) of the mean.

    Further results, total uncertainty: `energy_sd` (eV), `forces_sd` (n_atoms,) (eV/Å, sqrt(trace/3) of
    each atom's block), `stress_sd` (eV/Å³, of a Mandel component), `energy_sd_epistemic`,
    `forces_sd_epistemic`, `member_energies`. The total deviations are also put into `atoms.info["energy_sd"]`
    and `atoms.arrays["forces_sd"]`, as ASE's writers leave out results that they do not know.

    It predicts anew at each step instead of keeping a neighbor list: finding the neighbors takes one percent
    of the time.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Name what has changed since the results: also charge and multiplicity, which stand in `info`."""
        changes: list[str] = super().check_state(atoms, tol)
        if self.atoms is not None:
            changes += [k for k in ("charge", "multiplicity") if atoms.info.get(k) != self.atoms.info.get(k)]
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results` for the current atoms, and the deviations in `atoms`.

        Raises:
            InputError: An element that the ensemble has never seen.
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        p = self.ensemble.predict([self.atoms])
        results: dict[str, Any] = {
            "energy": float(p.energy[0]),
            "free_energy": float(p.energy[0]),
            "forces": np.array(p.forces),
            "energy_sd": float(p.total.energy_sd[0]),
            "forces_sd": p.total.force_sd,
            "energy_sd_epistemic": float(p.epistemic.energy_sd[0]),
            "forces_sd_epistemic": p.epistemic.force_sd,
            "member_energies": p.member_energy[:, 0],
        }
        if p.stress is not None and p.stress_sd is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(p.stress[0])
            results["stress_sd"] = float(p.stress_sd[0])
        self.results = results
        if atoms is not None:
            atoms.info["energy_sd"] = results["energy_sd"]
            atoms.arrays["forces_sd"] = np.array(results["forces_sd"])
