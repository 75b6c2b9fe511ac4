"""The network: M members stacked, energies and noise scales of atoms from positions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from al_engine.model.batch import FrameBatch
from al_engine.model.gather import to_neighbors
from al_engine.model.layers import Products, RadialBasis, StackedLinear, of_element, saturated
from al_engine.model.repulsion import DistanceFloor, Repulsion, bond_lengths

MIN_NOISE = 1e-4
"""Floor of an atom's noise scale, relative to the force scale."""


NoiseKind = Literal["local", "global", "white"]
RADIAL_GAIN = 1.5
"""Start of the weights on them: larger ones learn forces faster, but fail on few labels."""
LIMIT = 2.0
"""Of A_l in later layers, which is cubic in that of the first: its cubes explode where frames are new."""


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the shape of the networks; stored with the weights."""

    n_members: int
    elements: tuple[int, ...]
    """Atomic numbers, ascending; `species` counts them."""
    n_channels: int
    n_layers: int
    n_radial: int
    r_max: float
    mean_neighbors: float
    """Average number of neighbors in the first training set: scales the sums over neighbors."""
    force_scale: float
    """Root mean square of the training forces, eV/Å: scales the output."""
    noise: NoiseKind = "local"
    """Force noise (math 1): from the energy noise of the atom; from that of the frame; a head of its own."""
    shortest: tuple[float, ...] = ()
    """Least distance of each pair of elements that was learned from, at most a bond: (n_species²,), Å.
    Below it nuclei repel (`repulsion`). Empty: bonds."""

    @property
    def n_species(self) -> int:
        """Number of elements."""
        return len(self.elements)

    @property
    def n_sent(self) -> int:
        """Channels that an atom sends to its neighbors: half, as their cost grows with the neighbors."""
        return max(1, self.n_channels // 2)


class AtomOutput(NamedTuple):
    """What the networks say of each atom.

    Attributes:
        energy: Interaction energy, shape (n_members, n_atoms), eV.
        variance: Local noise variance v_a, shape (n_members, n_atoms), eV².
        force_noise: tau_a², shape (n_members, n_atoms), (eV/Å)².
        features: Invariants of every layer, shape (n_members, n_atoms, n_layers * n_channels).
    """

    energy: Tensor
    variance: Tensor
    force_noise: Tensor
    features: Tensor


class Edges(NamedTuple):
    """Geometry of the padded neighbor table, for all members.

    Attributes:
        r: Distances, shape (n_members, n_atoms, n_slots), Å.
        radial: Radial basis, shape (n_members, n_atoms, n_slots, n_radial).
        harmonics: Degrees 0, 1, 2, shape (n_members, n_atoms, n_slots, 9).
        pair: Pair of elements, as rows of a unit matrix, shape (n_atoms * n_slots, n_species²).
    """

    r: Tensor
    radial: Tensor
    harmonics: Tensor
    pair: Tensor


class Nodes(NamedTuple):
    """Features of atoms: invariants (n_members, n_atoms, c), vectors to send (n_members, n_atoms, 3, k)."""

    invariants: Tensor
    vectors: Tensor | None


class AtomicBasis(nn.Module):
    """A_l of the first layer: neighbors counted by distance, direction and elements, then mixed to channels.

    The sum over neighbors comes before the channels (Drautz, Phys. Rev. B 99, 014104 (2019)), which leaves
    little to do for each neighbor.
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        m, c = arch.n_members, arch.n_channels
        self.mix = nn.ModuleList(StackedLinear(m, c, c, RADIAL_GAIN) for _ in range(3))

    def forward(self, radial: Tensor, edges: Edges, *_: object) -> list[Tensor]:
        """Radial functions (n_members, n_atoms, n_slots, n_channels) to A_0, A_1, A_2."""
        sums = torch.matmul(edges.harmonics.transpose(-1, -2), radial).split_with_sizes((1, 3, 5), dim=-2)
        return [linear(x) for linear, x in zip(self.mix, sums, strict=True)]


class Messages(nn.Module):
    """A_l of a later layer: features of the neighbors, weighted by distance and direction, summed, mixed.

    Then bounded, and with it the energy far from the data.
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        m, c, k = arch.n_members, arch.n_channels, arch.n_sent
        self.radial_out = StackedLinear(m, c, 5 * k, RADIAL_GAIN)
        self.send = StackedLinear(m, c, k)
        self.mix = nn.ModuleList(StackedLinear(m, k, c) for _ in range(3))

    def forward(self, radial: Tensor, edges: Edges, batch: FrameBatch, nodes: Nodes) -> list[Tensor]:
        """Radial functions (n_members, n_atoms, n_slots, n_channels) to A_0, A_1, A_2."""
        flat = radial.flatten(1, 2)  # a product for each path, so that the paths are contiguous
        paths = [torch.bmm(flat, w).view(radial.shape[:3] + w.shape[2:]) for w in self._path_weights()]
        scalars = to_neighbors(self.send(nodes.invariants), batch.neighbor, batch.reverse)
        _, *directions = edges.harmonics.split_with_sizes((1, 3, 5), dim=-1)
        a = [(paths[0] * scalars).sum(dim=-2, keepdim=True)]
        for y, path in zip(directions, paths[1:3], strict=True):
            a.append(torch.matmul(y.transpose(-1, -2), path * scalars))
        if nodes.vectors is not None:  # components first: short inner loops are slow
            by_component = nodes.vectors.transpose(1, 2).flatten(0, 1)
            slots = to_neighbors(by_component, batch.neighbor, batch.reverse)
            vectors = slots.view(len(radial), 3, *slots.shape[1:])
            along = (vectors * directions[0].permute(0, 3, 1, 2).unsqueeze(-1)).sum(dim=1)
            a[0] = a[0] + (paths[3] * along).sum(dim=-2, keepdim=True)
            a[1] = a[1] + (paths[4].unsqueeze(1) * vectors).sum(dim=-2).transpose(1, 2)
        return [saturated(linear(x), LIMIT) for linear, x in zip(self.mix, a, strict=True)]

    def _path_weights(self) -> tuple[Tensor, ...]:
        return self.radial_out.weight.chunk(5, dim=-1)


class Interaction(nn.Module):
    """One layer: sum over neighbors, products of the sums, mixing of channels."""

    def __init__(self, arch: Architecture, *, first: bool, last: bool) -> None:
        super().__init__()
        m, c = arch.n_members, arch.n_channels
        self.neighbor_scale = 1 / math.sqrt(arch.mean_neighbors)
        self.radial_in = StackedLinear(m, arch.n_radial, c)
        self.pair = nn.Parameter(torch.randn(m, arch.n_species**2, c))
        self.sums = AtomicBasis(arch) if first else Messages(arch)
        self.products = Products(m, arch.n_species, c, vectors=not last)
        self.mix_invariants = StackedLinear(m, c, c)
        self.mix_vectors = None if last else StackedLinear(m, c, arch.n_sent)
        self.gate = nn.Parameter(0.1 * torch.randn(m, 2, c))
        self.keep = None if first else StackedLinear(m, c, c)

    def forward(self, edges: Edges, batch: FrameBatch, nodes: Nodes | None) -> Nodes:
        """Return the next features of each atom; `nodes` is None in the first layer.

        Charge and unpaired electrons scale the invariants channel by channel, so that a neutral closed
        shell is untouched and an atom without neighbors stays at zero.
        """
        radial = functional.silu(self.radial_in(edges.radial)) * self.neighbor_scale
        radial = radial * of_element(self.pair, edges.pair).view(radial.shape)
        invariants, vectors = self.products(*self.sums(radial, edges, batch, nodes), batch.element)
        invariants = self.mix_invariants(invariants)
        if nodes is not None and self.keep is not None:
            invariants = invariants + self.keep(nodes.invariants)
        invariants = invariants * (1 + batch.electrons @ self.gate)
        if vectors is not None and self.mix_vectors is not None:
            vectors = self.mix_vectors(vectors)
        return Nodes(invariants, vectors)


class StackedPotential(nn.Module):
    """All members of an ensemble as one network.

    Positions carry a member axis, so that one backward pass of the summed energies gives each member's
    own forces. An atom without neighbors has exactly zero interaction energy.
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        m, c = arch.n_members, arch.n_channels
        self.basis = RadialBasis(arch.n_radial, arch.r_max)
        shortest = arch.shortest or bond_lengths(arch.elements)
        self.repulsion, self.floor = Repulsion(arch.elements, shortest), DistanceFloor(shortest)
        last = arch.n_layers - 1
        self.layers = nn.ModuleList(
            Interaction(arch, first=i == 0, last=i == last) for i in range(arch.n_layers)
        )
        self.readout = StackedLinear(m, arch.n_layers * c, 1, 0.3)
        self.energy_in, self.energy_out = StackedLinear(m, c, c), StackedLinear(m, c, 1, 0.3)
        n_noise = 2 if arch.noise == "white" else 1
        self.noise_in, self.noise_out = StackedLinear(m, c, c), StackedLinear(m, c, n_noise, 0.1)
        self.noise_bias = nn.Parameter(torch.full((m, 1, n_noise), -4.0))
        self.log_length = nn.Parameter(torch.full((m,), math.log(0.1)))
        self.log_strain_length = nn.Parameter(torch.full((m,), math.log(0.1)))
        self.log_white = nn.Parameter(torch.full((m,), math.log(1e-2)))

    def forward(
        self, positions: Tensor, offset: Tensor, batch: FrameBatch, strain: Tensor | None = None
    ) -> AtomOutput:
        """Evaluate every member.

        Args:
            positions: Shape (n_members, n_atoms, 3), Å.
            offset: Displacements of images and padding, shape (n_atoms, n_slots, 3), Å.
            batch: Connectivity and species.
            strain: Symmetric, shape (n_members, n_frames, 3, 3): displacements d become d + d @ strain.
        """
        edges = self._edges(positions, offset, batch, strain)
        nodes: Nodes | None = None
        invariants = []
        for layer in self.layers:
            nodes = layer(edges, batch, nodes)
            invariants.append(nodes.invariants)
        features = torch.cat(invariants, dim=-1)
        hidden = functional.silu(self.energy_in(invariants[-1]))
        energy = (self.readout(features) + self.energy_out(hidden)).squeeze(-1)
        energy = energy * self.arch.force_scale + self.repulsion(edges.r, edges.pair)
        hidden = functional.silu(self.noise_in(invariants[-1]))
        raw = self.noise_out(hidden) + self.noise_bias
        scale = (functional.softplus(raw) + MIN_NOISE) * self.arch.force_scale
        noise = (scale * scale).unbind(-1)
        return AtomOutput(energy, noise[0], self._force_noise(noise[0], noise[-1], batch), features)

    def _edges(self, positions: Tensor, offset: Tensor, batch: FrameBatch, strain: Tensor | None) -> Edges:
        """Distances and directions to the neighbors, and what the layers need of them."""
        neighbors = to_neighbors(positions, batch.neighbor, batch.reverse)
        vectors = neighbors - positions.unsqueeze(2) + offset
        if strain is not None:
            vectors = vectors + vectors @ strain.index_select(1, batch.frame_index)
        r = torch.linalg.vector_norm(vectors, dim=-1)
        own, other = batch.element[:, None, :, None], batch.element[batch.neighbor].unsqueeze(-2)
        pair = (own * other).flatten(2).flatten(0, 1)
        harmonics = torch.cat(spherical_harmonics(vectors / r.unsqueeze(-1)), dim=-1)
        return Edges(r, self.basis(self.floor(r, pair)), harmonics, pair)

    def _force_noise(self, variance: Tensor, own: Tensor, batch: FrameBatch) -> Tensor:
        """tau_a² (math 1), (eV/Å)²: v_a / l² + delta_F², or sigma² / l², or the head of its own (1/Å²)."""
        if self.arch.noise == "white":
            return own
        inverse = (-2 * self.log_length).exp().unsqueeze(-1)
        if self.arch.noise == "global":
            return (batch.sum_over_atoms(variance) * inverse).index_select(-1, batch.frame_index)
        white = (2 * self.log_white).exp() * self.arch.force_scale**2
        return variance * inverse + white.unsqueeze(-1)

    def stress_noise(self, variance: Tensor, volume: Tensor) -> Tensor:
        """sigma² / (l_eta V)² of each Mandel component (math 6), (eV/Å³)², shape (n_members, n_frames)."""
        return variance * (-2 * self.log_strain_length).exp().unsqueeze(-1) / volume**2


def spherical_harmonics(unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Real harmonics of degree 0, 1, 2 of unit vectors, e3nn's order, component normalization.

    Written out because e3nn's generic function takes three times as long here; equal to it by test.
    """
    x, y, z = unit.unbind(-1)
    s3, s15, s5 = math.sqrt(3), math.sqrt(15), math.sqrt(5)
    degree2 = torch.stack(
        [s15 * x * z, s15 * x * y, s5 * (1.5 * y * y - 0.5), s15 * y * z, 0.5 * s15 * (z * z - x * x)],
        dim=-1,
    )
    return torch.ones_like(unit[..., :1]), s3 * unit, degree2
