"""From a SMILES string to a structure, by RDKit (extra `molecules`)."""

from __future__ import annotations

import numpy as np

from al_engine.errors import InputError
from al_engine.frames import Frame, parity_multiplicity


def frame_from_smiles(smiles: str, seed: int = 0) -> Frame:
    """Embed a molecule in three dimensions and relax it by MMFF94.

    Raises:
        InputError: RDKit is missing, or the string is no molecule that it can embed.
    """
    try:
        from rdkit import Chem, RDLogger
        from rdkit.Chem import AllChem
    except ImportError:
        raise InputError(f"SMILES {smiles!r}: RDKit is needed; pip install 'al-engine[molecules]'") from None
    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise InputError(f"SMILES {smiles!r}: not a SMILES string of a molecule")
    molecule = Chem.AddHs(molecule)
    if AllChem.EmbedMolecule(molecule, randomSeed=seed) != 0:
        raise InputError(f"SMILES {smiles!r}: RDKit finds no structure; give a structure file instead")
    if AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMolecule(molecule, maxIters=2000)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    charge = Chem.GetFormalCharge(molecule)
    return Frame(
        numbers,
        np.asarray(molecule.GetConformer().GetPositions()),
        charge=charge,
        multiplicity=parity_multiplicity(numbers, charge),
    )
