"""The ensemble as an ASE calculator, its uncertainty among the results."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from al_engine.model.ensemble import Ensemble


class EnsembleCalculator(Calculator):  # type: ignore[misc]
    """Energy (eV) and forces (eV/Å) of the ensemble's mean.

    Further results, total uncertainty: `energy_sd` (eV), `forces_sd` (n_atoms,) (eV/Å, sqrt(trace/3) of
    each atom's block), `energy_sd_epistemic`, `forces_sd_epistemic`, `member_energies`.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results` for the current atoms."""
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
        self.results = results
