"""Units: eV, Å, fs, K, amu, e everywhere; velocities in Å/fs. Stress in eV/Å³, positive in tension."""

from typing import Final

from ase import units as _ase

KB: Final[float] = float(_ase.kB)
"""Boltzmann's constant, eV/K."""

FORCE_TO_ACCELERATION: Final[float] = float(_ase.fs) ** 2
"""(eV/Å)/amu -> Å/fs²: ASE's internal time is Å sqrt(amu/eV), of which a fs is `ase.units.fs`."""

GPA: Final[float] = float(_ase.GPa)
"""eV/Å³ of a GPa."""
