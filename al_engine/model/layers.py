"""Layers of stacked networks: every parameter has a leading member axis, channels come last.

Features of degree l have shape (n_members, n_atoms, 2l + 1, n_channels), components in e3nn's order.
No layer has a bias, so that an atom without neighbors has features of exactly zero.
"""

from __future__ import annotations

import math

import torch
from e3nn import o3
from torch import Tensor, nn

N_INVARIANTS = 9
N_COVARIANTS = 6


class StackedLinear(nn.Module):
    """x @ W for each member: (n_members, ..., n_in) -> (n_members, ..., n_out)."""

    def __init__(self, n_members: int, n_in: int, n_out: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_members, n_in, n_out) * gain / math.sqrt(n_in))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each member's matrix to its own features."""
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        return torch.bmm(flat, self.weight).reshape(*x.shape[:-1], self.weight.shape[-1])


def saturated(a: Tensor, limit: float) -> Tensor:
    """Scale the components (..., 2l + 1, n_channels) of each channel so that their rms stays below `limit`.

    A / sqrt(1 + rms² / limit²): equivariant, smooth, and A itself where it is small.
    """
    rms2 = (a * a).mean(dim=-2, keepdim=True)
    return a * torch.rsqrt(1 + rms2 / limit**2)


class RadialBasis(nn.Module):
    """Bessel functions times a polynomial cut-off (Gasteiger et al., ICLR 2020), zero from r_max on.

    sqrt(2 / r_max) sin(n pi r / r_max) / r, n = 1 .. n_radial; value, slope and curvature vanish at r_max.
    """

    frequency: Tensor

    def __init__(self, n_radial: int, r_max: float) -> None:
        super().__init__()
        self.r_max = r_max
        frequency = math.pi / r_max * torch.arange(1, n_radial + 1, dtype=torch.float64)
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, r: Tensor) -> Tensor:
        """Distances (...,) in Å to (..., n_radial)."""
        x = (r / self.r_max).clamp(max=1.0)
        x3 = x * x * x
        envelope = 1 - x3 * (10 - x * (15 - 6 * x))
        scale = math.sqrt(2 / self.r_max) * envelope / r
        return torch.sin(r.unsqueeze(-1) * self.frequency.to(r.dtype)) * scale.unsqueeze(-1)


def cartesian() -> Tensor:
    """The change of a degree 2 feature to a traceless symmetric matrix, shape (9, 5), float64.

    e3nn's Wigner 3j of (1, 1, 2) times sqrt(3): as products of matrices, the couplings of degrees 1 and 2
    are those of e3nn's `TensorProduct` (component normalization) at a fraction of the work.
    """
    matrix: Tensor = o3.wigner_3j(1, 1, 2, dtype=torch.float64).reshape(9, 5) * math.sqrt(3)
    return matrix


def of_element(weight: Tensor, element: Tensor) -> Tensor:
    """Weights (n_members, n_kinds, ...) of each row of `element` (..., n_kinds), a row of a unit matrix.

    A product of matrices, because the gradient of an indexed choice is a scattered sum: slow, and not
    the same on every run.
    """
    rows: Tensor = torch.matmul(element, weight.flatten(2))
    return rows.reshape(*rows.shape[:-1], *weight.shape[2:])


def determinant(q: Tensor) -> Tensor:
    """Determinants of symmetric matrices (..., 3, 3, n_channels): (..., n_channels)."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = (row.unbind(-2) for row in q.unbind(-3))
    return xx * (yy * zz - yz * yz) - xy * (xy * zz - 2 * yz * xz) - xz * xz * yy


class Products(nn.Module):
    """Invariants and vectors of up to three factors of A_0, A_1, A_2, weighted by the atom's element.

    The many-body features of MACE (Batatia et al., NeurIPS 2022, nu <= 3) in a hand-picked complete-enough
    basis: 9 invariants, 6 vectors.
    """

    cartesian: Tensor

    def __init__(self, n_members: int, n_species: int, n_channels: int, *, vectors: bool) -> None:
        super().__init__()
        shape = (n_members, n_species)
        self.invariant_weight = nn.Parameter(
            torch.randn(*shape, N_INVARIANTS, n_channels) / math.sqrt(N_INVARIANTS)
        )
        self.covariant_weight = (
            nn.Parameter(torch.randn(*shape, N_COVARIANTS, n_channels) / math.sqrt(N_COVARIANTS))
            if vectors
            else None
        )
        self.register_buffer("cartesian", cartesian(), persistent=False)

    def forward(self, a0: Tensor, a1: Tensor, a2: Tensor, element: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map A_l (n_members, n_atoms, 2l + 1, n_channels) to invariants (l axis dropped) and vectors.

        The elements come as rows of a unit matrix, (n_atoms, n_species).
        """
        s = a0.squeeze(-2)
        q = torch.matmul(self.cartesian.to(a2.dtype), a2)
        q = q.reshape(*q.shape[:-2], 3, 3, q.shape[-1])
        v = (q * a1.unsqueeze(-3)).sum(dim=-2)
        norm1 = (a1 * a1).sum(dim=-2) / 3
        norm2 = (a2 * a2).sum(dim=-2) / 5
        mixed = (a1 * v).sum(dim=-2) / 3
        cubic = 1.5 * determinant(q)  # tr q³ / 2, as q is symmetric and has no trace
        ss = s * s
        basis = torch.stack([s, ss, s * ss, norm1, norm2, s * norm1, s * norm2, mixed, cubic], dim=-2)
        invariants = (basis * of_element(self.invariant_weight, element)).sum(dim=-2)
        if self.covariant_weight is None:
            return invariants, None
        w = of_element(self.covariant_weight, element).unsqueeze(-2)
        along = w[:, :, 0] + w[:, :, 1] * a0 + w[:, :, 2] * a0 * a0
        along = along + w[:, :, 3] * norm1.unsqueeze(-2)
        across = w[:, :, 4] + w[:, :, 5] * a0
        return invariants, along * a1 + across * v
