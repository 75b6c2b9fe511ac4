"""Muon for the stacked matrices, Adam for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from al_engine.model.layers import StackedLinear


class StackedMuon:
    """Momentum whose step is orthogonalized, for each member's matrix on its own (K. Jordan, 2024).

    A step does not depend on the scale of the gradient, so that the change from squared errors to a
    likelihood needs no care, and no member's gradient reaches another's.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], momentum: float = 0.95) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in parameters:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        self.groups = list(by_shape.values())
        self.momentum = momentum
        self.buffers = [torch.zeros_like(torch.stack(list(group))) for group in self.groups]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Take one step along the orthogonalized (Nesterov) momentum; matrices of one shape together."""
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            gradient = torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in group])
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalized(torch.lerp(gradient, buffer, self.momentum))
            n_in, n_out = buffer.shape[-2:]
            scale = learning_rate * max(1.0, n_out / n_in) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.add_(change, alpha=-scale)


def orthogonalized(matrices: Tensor, n_iterations: int = 5) -> Tensor:
    """Push the singular values of each matrix (..., n, m) toward 1 by Newton-Schulz iterations."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x: Tensor = matrices if wide else matrices.transpose(-1, -2)
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    for _ in range(n_iterations):
        gram = x @ x.transpose(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.transpose(-1, -2)


class Optimizer:
    """Both optimizers with one learning rate; Adam's is `adam_factor` times as large."""

    def __init__(self, net: nn.Module, adam_factor: float = 0.2) -> None:
        linears = [m.weight for m in net.modules() if isinstance(m, StackedLinear)]
        matrices = [weight for weight in linears if min(weight.shape[1:]) > 1]
        self.muon = StackedMuon(matrices)
        chosen = {id(weight) for weight in matrices}
        rest = [p for p in net.parameters() if id(p) not in chosen]
        self.adam = torch.optim.Adam(rest, lr=1e-3, betas=(0.9, 0.99))
        self.adam_factor = adam_factor

    def step(self, learning_rate: float) -> None:
        """Take one step of both."""
        self.muon.step(learning_rate)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate * self.adam_factor
        self.adam.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next step depends on besides the weights."""
        found = {f"muon.{k}": buffer for k, buffer in enumerate(self.muon.buffers)}
        for k, moments in self.adam.state_dict()["state"].items():
            found |= {f"adam.{k}.{name}": value for name, value in moments.items()}
        return found

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` returned."""
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, k, *name = key.split(".")
            if kind == "muon":
                self.muon.buffers[int(k)].copy_(value)
            else:
                moments.setdefault(int(k), {})[name[0]] = value
        self.adam.load_state_dict(self.adam.state_dict() | {"state": moments})
