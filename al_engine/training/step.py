"""Loss and gradients of one step: eager, or as one compiled graph where a training is long enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from al_engine.config import Training
from al_engine.model.compiled import Compiled, tensors_of, with_tensors
from al_engine.model.potential import StackedPotential
from al_engine.training.dataset import TrainingBatch
from al_engine.training.objective import batch_loss

_TOLERANCE = 1e-2
"""Compiled against eager gradients, relative to each parameter's norm; single precision leaves 1e-4."""


class GradientStep:
    """Fills `.grad` of all parameters for a batch and returns the loss.

    Compiled, batches must keep one shape. The double backward pass is part of the graph.
    """

    def __init__(self, net: StackedPotential, settings: Training, *, compiled: bool) -> None:
        self.net, self.settings, self.compiled = net, settings, compiled
        self._parameters = list(net.parameters())
        self._graphs: dict[tuple[bool, bool], Compiled] = {}

    def __call__(self, batch: TrainingBatch, *, likelihood: bool) -> Tensor:
        """Evaluate one batch; squared errors, or the likelihood."""
        if not self.compiled:
            return self._eager(batch, likelihood)
        kind = (likelihood, batch.any_stress)
        if kind not in self._graphs:
            self._graphs[kind] = self._compiled(batch, likelihood)
        loss, *gradients = self._graphs[kind]([*self._parameters, *tensors_of(batch)])
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            # Adam's fused kernel is silently wrong for strided gradients, which compiled graphs return.
            parameter.grad = gradient.contiguous()
        return loss

    def _eager(self, batch: TrainingBatch, likelihood: bool) -> Tensor:
        for parameter in self._parameters:
            parameter.grad = None
        loss = batch_loss(self.net, batch, self.settings, likelihood=likelihood)
        torch.autograd.backward(loss)
        return loss.detach()

    def _compiled(self, batch: TrainingBatch, likelihood: bool) -> Compiled:
        module = _Loss(self.net, self.settings, likelihood)
        names = [f"net.{name}" for name, _ in self.net.named_parameters()]

        def gradients(tensors: Sequence[Tensor]) -> list[Tensor]:
            parameters, rest = tensors[: len(names)], tensors[len(names) :]
            state = dict(zip(names, parameters, strict=True))
            own = cast("TrainingBatch", with_tensors(batch, iter(rest)))
            loss = torch.func.functional_call(module, state, (own,))
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
            return [loss] + [
                torch.zeros_like(p) if g is None else g for g, p in zip(slopes, parameters, strict=True)
            ]

        return Compiled(gradients, _TOLERANCE, "training")


class _Loss(nn.Module):
    """The loss as a module, so that its parameters can be replaced by those of a call."""

    def __init__(self, net: StackedPotential, settings: Training, likelihood: bool) -> None:
        super().__init__()
        self.net, self.settings, self.likelihood = net, settings, likelihood

    def forward(self, batch: TrainingBatch) -> Tensor:
        return batch_loss(self.net, batch, self.settings, likelihood=self.likelihood)
