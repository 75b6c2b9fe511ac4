"""What a step of dynamics asks of the networks, as compiled graphs where there are many steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from al_engine.model.batch import FrameBatch
from al_engine.model.compiled import Compiled, tensors_of, with_tensors
from al_engine.model.potential import StackedPotential
from al_engine.model.slopes import MAX_ATOMS_PER_BATCH, Network, call

COMPILE_FROM = 5e6
"""Atoms times members times calls from which a compiled call pays: about three minutes of one core."""
SLOTS = 4
"""A compiled table has a multiple of so many slots, and a sixteenth to spare: new graphs are rare."""
MAX_PAIRS = 64 * MAX_ATOMS_PER_BATCH
"""Slots of a table; with more, members are evaluated one by one and nothing is compiled."""
_TOLERANCE = 1e-3
"""Compiled against eager results, relative to their norm; single precision leaves 1e-5."""


class Shape(NamedTuple):
    """Sizes of a compiled batch; a smaller one is filled up with ghosts."""

    n_slots: int
    n_atoms: int
    n_frames: int

    def holds(self, other: Shape) -> bool:
        """Whether a batch can be filled up to this shape: each frame more needs an atom at least."""
        atoms, frames = self.n_atoms - other.n_atoms, self.n_frames - other.n_frames
        return other.n_slots <= self.n_slots and (0 < frames <= atoms or atoms == frames == 0)


class ForceGraphs:
    """The compiled force calls of an ensemble, with a virial and without."""

    def __init__(self, net: StackedPotential) -> None:
        self._net = net
        self._shapes: list[Shape] = []
        self._compiled: dict[bool, Compiled] = {}

    def shape(self, needed: Shape, n_calls: int) -> Shape | None:
        """Choose the shape for a batch; None where it is not worth a new graph and fits into no old one.

        It depends on the arguments of this call and of earlier ones only, so that a run repeats bit by bit.
        A graph up to twice as large will do.
        """
        fits = [s for s in self._shapes if s.holds(needed) and s.n_atoms <= 2 * needed.n_atoms]
        pays = n_calls * needed.n_atoms * self._net.arch.n_members > COMPILE_FROM
        if not fits and pays and needed.n_atoms * needed.n_slots <= MAX_PAIRS:
            wanted = needed.n_slots + needed.n_slots // 16
            fits = [needed._replace(n_slots=-(-wanted // SLOTS) * SLOTS)]
            self._shapes += fits
        return min(fits, default=None)

    def __call__(self, x: Tensor, offset: Tensor, batch: FrameBatch, *, with_virial: bool) -> list[Tensor]:
        """As `evaluate`."""
        names = [name for name, _ in self._net.named_parameters()]

        def function(tensors: Sequence[Tensor]) -> list[Tensor]:
            weights, (x, offset, *rest) = tensors[: len(names)], tensors[len(names) :]
            own: FrameBatch = with_tensors(batch, iter(rest))
            own = replace(own, n_frames=len(own.cells))
            network = call(self._net, dict(zip(names, weights, strict=True)))
            return evaluate(network, x, offset, own, with_virial=with_virial)

        if with_virial not in self._compiled:
            self._compiled[with_virial] = Compiled(function, _TOLERANCE, "dynamics")
        return self._compiled[with_virial]([*self._net.parameters(), x, offset, *tensors_of(batch)])


def evaluate(
    network: Network, x: Tensor, offset: Tensor, batch: FrameBatch, *, with_virial: bool
) -> list[Tensor]:
    """Energy, noise and slopes of each atom, member for member.

    Args:
        network: All members.
        x: Positions, shape (n_members, n_atoms, 3), Å.
        offset: As `FrameBatch.offset`.
        batch: Connectivity.
        with_virial: Whether cells change.

    Returns:
        Energy and sigma² of each atom, tau_a², (n_members, n_atoms); the slope of the energy by positions,
        (n_members, n_atoms, 3); and by the logarithm of the scale, (n_members, n_frames, 1, 1).
    """
    x = x.detach().requires_grad_()
    inputs, strain = [x], None
    if with_virial:
        inputs.append(x.new_zeros(len(x), batch.n_frames, 1, 1).requires_grad_())
        strain = inputs[1] * torch.eye(3, dtype=x.dtype, device=x.device)
    out = network(x, offset, batch, strain)
    slopes = torch.autograd.grad(out.energy.sum(), inputs)
    return [value.detach() for value in (out.energy, out.variance, out.force_noise, *slopes)]
