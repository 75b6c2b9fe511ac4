"""Features of atoms carried to their neighbors and summed back, each the exact transpose of the other.

A pair of atoms stands twice in the padded table, once in each atom's row. The sum over the pairs that point
to an atom is therefore a gather of the other half, too: no scattered additions, the same bits on every run,
and both directions can be differentiated as often as one likes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def to_neighbors(features: Tensor, neighbor: Tensor, reverse: Tensor) -> Tensor:
    """Copy each neighbor's features into the slots of the table.

    Args:
        features: Shape (n_members, n_atoms, ...).
        neighbor: Shape (n_atoms, n_slots).
        reverse: Place of the same pair in the neighbor's row, in the flat table, shape (n_atoms, n_slots).

    Returns:
        Shape (n_members, n_atoms, n_slots, ...).
    """
    slots: Tensor = _ToSlots.apply(features, neighbor, reverse)  # type: ignore[no-untyped-call]
    return slots


class _ToSlots(torch.autograd.Function):
    """(m, n, ...) -> (m, n, k, ...)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbor: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbor, reverse)
        slots = features.index_select(1, neighbor.flatten())
        return slots.reshape(len(features), *neighbor.shape, *features.shape[2:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _FromSlots.apply(gradients[0], *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]


class _FromSlots(torch.autograd.Function):
    """(m, n, k, ...) -> (m, n, ...): the sum over the slots that hold an atom."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, neighbor: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbor, reverse)
        m, n, k = slots.shape[:3]
        first = n * k * torch.arange(m, device=slots.device)
        places = (reverse + first[:, None, None]).view(m * n, k)
        summed = functional.embedding_bag(places, slots.reshape(m * n * k, -1), mode="sum")
        return summed.view(m, n, *slots.shape[3:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _ToSlots.apply(gradients[0], *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]
