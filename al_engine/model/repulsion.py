"""Below the shortest distances of the training set: nuclei repel, and what is learned stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import covalent_radii
from torch import Tensor, nn
from torch.nn import functional

COULOMB = 14.399645
"""e² / (4 pi epsilon_0), eV Å."""
_PHI = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
FLOOR = 0.85
"""Of the shortest distance: what the networks see falls no further. Cubes of sums over neighbors explode."""
SOFTNESS = 0.05


def bond_lengths(elements: Sequence[int]) -> tuple[float, ...]:
    """Sums of covalent radii (Cordero et al. 2008) of all pairs of elements, (n_species²,) row by row, Å."""
    return tuple(float(covalent_radii[a] + covalent_radii[b]) for a in elements for b in elements)


class DistanceFloor(nn.Module):
    """Distances as the networks see them: f + w softplus((r - f) / w), f = 0.85 shortest, w = f / 20.

    Equal to r within 0.2 % from the shortest distance on; at f the slope is a half.
    """

    floor: Tensor

    def __init__(self, shortest: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("floor", FLOOR * torch.tensor(shortest, dtype=torch.float64), persistent=False)

    def forward(self, r: Tensor, pair: Tensor) -> Tensor:
        """Distances (n_members, n_atoms, n_slots) and rows of pairs as `Repulsion` takes them."""
        floor = (pair @ self.floor.to(pair.dtype)).view(r.shape[1:])
        width = SOFTNESS * floor
        return floor + width * functional.softplus((r - floor) / width, threshold=40)


class Repulsion(nn.Module):
    """Universal screened Coulomb repulsion (Ziegler, Biersack, Littmark 1985), zero where frames are.

    E = Z_i Z_j e² / r phi(r / a) f(r / r_ij), a = 0.46850 Å / (Z_i^0.23 + Z_j^0.23), with a polynomial f
    that ends with two continuous derivatives at r_ij, the shortest distance of the pair.
    """

    charges: Tensor
    screening: Tensor
    reach: Tensor

    def __init__(self, elements: Sequence[int], shortest: Sequence[float]) -> None:
        super().__init__()
        z = torch.tensor(elements, dtype=torch.float64)
        power = z**0.23
        pairs = {
            "charges": COULOMB * torch.outer(z, z),
            "screening": 0.4685 / (power[:, None] + power),
            "reach": torch.tensor(shortest, dtype=torch.float64),
        }
        for name, value in pairs.items():
            self.register_buffer(name, value.reshape(-1), persistent=False)

    def forward(self, r: Tensor, pair: Tensor) -> Tensor:
        """Energy of each atom (half of each pair), shape (n_members, n_atoms), eV.

        Args:
            r: Distances, shape (n_members, n_atoms, n_slots), Å.
            pair: Pair of elements, as rows of a unit matrix, shape (n_atoms * n_slots, n_species²).
        """
        charges, screening, reach = (
            (pair @ getattr(self, name).to(pair.dtype)).view(r.shape[1:])
            for name in ("charges", "screening", "reach")
        )
        x = (r / reach).clamp(max=1.0)
        envelope = 1 - x**3 * (10 - x * (15 - 6 * x))
        scaled = r / screening
        phi = sum((a * torch.exp(-b * scaled) for a, b in _PHI), start=torch.zeros_like(r))
        energy: Tensor = 0.5 * (charges / r * phi * envelope).sum(dim=-1)
        return energy
