"""Loss and gradients of one step: eager, or as one compiled graph where a training is long enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from al_engine.config import Training
from al_engine.model.batch import FrameBatch
from al_engine.model.potential import StackedPotential
from al_engine.training.dataset import TrainingBatch
from al_engine.training.objective import batch_loss

_TOLERANCE = 1e-2
"""Compiled against eager gradients, relative to each parameter's norm; single precision leaves 1e-4."""

Graph = Callable[[Sequence[Tensor], Sequence[Tensor]], list[Tensor]]


class GradientStep:
    """Fills `.grad` of all parameters for a batch and returns the loss.

    Compiled, the double backward pass is traced once into a graph of plain operations and given to inductor
    (`torch.compile` alone fails on a gradient within the loss). Batches then must keep one shape. Inductor
    is known to have produced wrong gradients: the first batch is compared with the eager ones.
    """

    def __init__(self, net: StackedPotential, settings: Training, *, compiled: bool) -> None:
        self.net, self.settings, self.compiled = net, settings, compiled
        self._parameters = list(net.parameters())
        self._graphs: dict[bool, Graph | None] = {}

    def __call__(self, batch: TrainingBatch, *, likelihood: bool) -> Tensor:
        """Evaluate one batch; squared errors, or the likelihood."""
        if not self.compiled:
            return self._eager(batch, likelihood)
        if likelihood not in self._graphs:
            self._graphs[likelihood] = self._compile(batch, likelihood)
        graph = self._graphs[likelihood]
        if graph is None:
            return self._eager(batch, likelihood)
        with torch.no_grad():
            loss, *gradients = graph(self._parameters, _tensors(batch))
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

    def _compile(self, batch: TrainingBatch, likelihood: bool) -> Graph | None:
        """Trace and compile; None, with a warning, where that fails or the gradients differ."""
        module = _Loss(self.net, self.settings, likelihood)
        names = [f"net.{name}" for name, _ in self.net.named_parameters()]

        def gradients(parameters: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
            state = dict(zip(names, parameters, strict=True))
            loss = torch.func.functional_call(module, state, (_with_tensors(batch, tensors),))
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
            return [loss] + [
                torch.zeros_like(p) if g is None else g for g, p in zip(slopes, parameters, strict=True)
            ]

        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the compiler's own imports
                with torch.enable_grad():
                    traced = make_fx(gradients)(self._parameters, _tensors(batch))
                graph: Graph = torch.compile(_with_opaque_gathers(traced), dynamic=False)
                _, *found = graph(self._parameters, _tensors(batch))
        except Exception as error:  # a compiler may fail in many ways; the eager path is always there
            warnings.warn(f"training goes on uncompiled: {type(error).__name__}: {error}", stacklevel=2)
            return None
        self._eager(batch, likelihood)
        for parameter, gradient in zip(self._parameters, found, strict=True):
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            if float((gradient - expected).norm()) > _TOLERANCE * float(expected.norm()) + 1e-8:
                warnings.warn("training goes on uncompiled: the compiled gradients are wrong", stacklevel=2)
                return None
        return graph


class _Loss(nn.Module):
    """The loss as a module, so that its parameters can be replaced by those of a call."""

    def __init__(self, net: StackedPotential, settings: Training, likelihood: bool) -> None:
        super().__init__()
        self.net, self.settings, self.likelihood = net, settings, likelihood

    def forward(self, batch: TrainingBatch) -> Tensor:
        return batch_loss(self.net, batch, self.settings, likelihood=self.likelihood)


def _tensors(batch: TrainingBatch) -> list[Tensor]:
    values = [getattr(part, f.name) for part in (batch, batch.frames) for f in fields(part)]
    return [value for value in values if isinstance(value, Tensor)]


def _with_tensors(batch: TrainingBatch, tensors: Sequence[Tensor]) -> TrainingBatch:
    """Return the batch with other tensors, in the order of `_tensors`."""
    waiting = iter(tensors)

    def exchanged(part: TrainingBatch | FrameBatch) -> dict[str, Any]:
        return {f.name: next(waiting) for f in fields(part) if isinstance(getattr(part, f.name), Tensor)}

    outer = exchanged(batch)
    return replace(batch, **outer, frames=replace(batch.frames, **exchanged(batch.frames)))


@torch.library.custom_op("al_engine::take", mutates_args=())
def _take(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Gather rows where inductor cannot look inside.

    It fuses a gather with all that makes its input, and computes that anew for each row; kept apart, the
    whole step takes a third less time.
    """
    return x.index_select(dim, index)


@_take.register_fake
def _(x: Tensor, dim: int, index: Tensor) -> Tensor:
    shape = list(x.shape)
    shape[dim] = len(index)
    return x.new_empty(shape)


def _with_opaque_gathers(traced: torch.fx.GraphModule) -> torch.fx.GraphModule:
    for node in traced.graph.nodes:
        if node.target is torch.ops.aten.index_select.default:
            node.target = torch.ops.al_engine.take.default
    traced.recompile()
    return traced
