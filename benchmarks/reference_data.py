"""Published reference data by name, from the folder that AL_ENGINE_REFERENCE_DATA names.

Names are `set/part`:

    3bpa/train_300K; 3bpa/mixed_300K, mixed_600K, mixed_1200K: the mixed set by temperature without the
        frames that are in train_300K
    acac/train_300K, train_600K, test_MD_300K, test_MD_600K
    ethanol/train, test_MD, train_methanol_only, test_methanol_only
    qm22/ethanol, methane; water/all                   one trajectory or pool: cut it by `split`
    h2combustion/16_aimd, 16_nm, 01_irc, ...           reaction and kind (irc, aimd, nm)
    mlearn_si/train, test                              with stress

Parts without forces (acac/test_dihedral, ethanol/test_H_removal, test_dimers, ...) are for `atoms` alone.
"""

from __future__ import annotations

import io
import lzma
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from al_engine.frames import Frame
from al_engine.records import Label, LabeledFrame, Origin

LEVEL = {
    "3bpa": "wB97X/6-31G(d) (published 3BPA)",
    "acac": "PBE-D3/def2-SVP (published AcAc)",
    "ethanol": "PBE/def2-SVP (published ethanol)",
    "qm22": "B3LYP (QM-22)",
    "h2combustion": "wB97X-V/cc-pVTZ (H2 combustion)",
    "mlearn_si": "VASP PBE (mlearn)",
    "water": "PBE0+TS (DeePMD water)",
}
_FILES = {
    "qm22/ethanol": "qm22/ethanol_4000",
    "qm22/methane": "qm22/methane_3000",
    "water/all": "water_pimd/water64_200",
    "mlearn_si/train": "mlearn_si/Si_train",
    "mlearn_si/test": "mlearn_si/Si_test",
    "h2combustion/16_aimd": "h2combustion/dev_rxn16_aimd_4000",
    "h2combustion/16_nm": "h2combustion/dev_rxn16_nm_4000",
}
_KINDS = {"irc": "dev_irc", "aimd": "dev_aimd_400_per_rxn", "nm": "dev_nm_400_per_rxn"}
_MIXED = {"mixed_300K": slice(0, 167), "mixed_600K": slice(167, 334), "mixed_1200K": slice(334, 500)}


def _folder() -> Path:
    """The folder of the data; ends the program with a message where it is not named."""
    if "AL_ENGINE_REFERENCE_DATA" not in os.environ:
        raise SystemExit("set AL_ENGINE_REFERENCE_DATA to the folder of the published reference data")
    return Path(os.environ["AL_ENGINE_REFERENCE_DATA"])


@cache
def _file(stem: str) -> tuple[Atoms, ...]:
    """Read a packed file whole: ASE is quadratic in the frames on a compressed stream."""
    path = _folder() / f"{stem}.extxyz.xz"
    text = io.StringIO(lzma.decompress(path.read_bytes()).decode())
    return tuple(ase.io.iread(text, ":", format="extxyz"))


def atoms(name: str) -> list[Atoms]:
    """Return a part as ASE atoms with energy, forces (and stress) in a calculator."""
    folder, _, part = name.partition("/")
    if part in _MIXED:
        mixed = _file("3bpa/train_mixedT")[_MIXED[part]]
        return [a for a in mixed if not a.info["in_train_300K"]]
    if folder == "h2combustion" and name not in _FILES:
        reaction, kind = part.split("_")
        return [a for a in _file(f"{folder}/{_KINDS[kind]}") if int(a.info["rxn"]) == int(reaction)]
    return list(_file(_FILES.get(name, name)))


@cache
def _frames(name: str) -> tuple[LabeledFrame, ...]:
    level = LEVEL[name.partition("/")[0]]
    found = []
    for item in atoms(name):
        frame, results = Frame.from_ase(item), item.calc.results
        stress = voigt_6_to_full_3x3_stress(results["stress"]) if "stress" in results else None
        label = Label(frame.frame_id, level, float(results["energy"]), results["forces"], stress)
        found.append(LabeledFrame(frame, label, 0, Origin.IMPORTED, frame.frame_id))
    return tuple(found)


def frames(name: str) -> list[LabeledFrame]:
    """Return a part as labeled frames, in file order."""
    return list(_frames(name))


def isolated(name: str) -> dict[int, float]:
    """Energy (eV) of each isolated atom of the set that `name` begins with; empty where it has none.

    Those of h2combustion are relative to isolated atoms: reaction 2 ends at -4.63 eV, the OH molecule.
    """
    if name.startswith("h2combustion"):
        return {1: 0.0, 8: 0.0}
    folder = _folder() / name.partition("/")[0]
    files = [f for f in (folder / "iso_atoms.xyz", folder / "isolated_atoms.xyz") if f.is_file()]
    single = [a for file in files for a in ase.io.read(file, ":", format="extxyz")]
    return {int(a.numbers[0]): float(a.get_potential_energy()) for a in single}


def split(
    items: Sequence[LabeledFrame], n_train: int, seed: int = 0
) -> tuple[list[LabeledFrame], list[LabeledFrame]]:
    """Draw `n_train` frames at random; return them and the others. Smaller draws of a seed are nested."""
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[k] for k in order[:n_train]], [items[k] for k in order[n_train:]]
