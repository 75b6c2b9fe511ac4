"""The state of a training, whole: one that was stopped goes on from it and ends with the same bits."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from al_engine.config import Training
from al_engine.model.potential import StackedPotential
from al_engine.training.dataset import Dataset
from al_engine.training.optimizer import Optimizer

_FORMAT = "al-engine training 1"


@dataclass(frozen=True)
class Checkpoints:
    """Who keeps the state of a training while it lasts.

    Attributes:
        save: Told the state (safetensors) at times.
        stored: What `save` was told last by a training that was stopped.
        every_s: Seconds from one call of `save` to the next.
        until: Unix time at which the training stops, after a last call of `save`.
    """

    save: Callable[[bytes], object]
    stored: bytes | None = None
    every_s: float = 60.0
    until: float = math.inf


class TrainingState:
    """All that the next step depends on, but for the place in the order of frames, which follows from `step`.

    Attributes:
        net: The networks as the optimizer has them.
        averaged: The exponential average of their weights.
        best: The averaged weights of least out-of-fold loss so far, by name.
        best_loss: That loss; infinite before the first.
        step: Steps taken.
        running: Sum of the losses since the last check.
        log: A row a check.
    """

    def __init__(self, net: StackedPotential) -> None:
        self.net = net
        self.averaged = copy.deepcopy(net).requires_grad_(False)
        self.optimizer = Optimizer(net)
        self.best: dict[str, Tensor] = {}
        self.best_loss = math.inf
        self.step = 0
        self.running = torch.zeros((), device=next(net.parameters()).device)
        self.log: list[list[float]] = []

    def keep_best(self, loss: float) -> None:
        """Keep the averaged weights if their out-of-fold loss is the least so far."""
        if loss < self.best_loss:
            self.best_loss = loss
            self.best = {name: value.clone() for name, value in self.averaged.state_dict().items()}

    def to_bytes(self, key: str) -> bytes:
        """Serialize, bound to the training that `key` names."""
        tensors = {"log": torch.tensor(self.log, dtype=torch.float64)}
        tensors[key] = torch.tensor([self.step, self.best_loss, float(self.running)], dtype=torch.float64)
        for part, values in self._parts().items():
            tensors |= {f"{part}.{name}": value for name, value in values.items()}
        return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})

    @classmethod
    def from_bytes(cls, data: bytes, key: str, net: StackedPotential) -> Self | None:
        """Return the state, its weights in `net`; None for that of another training, and `net` as it was."""
        try:
            tensors = load(data)
        except SafetensorError:
            return None
        if key not in tensors:
            return None

        def part(name: str) -> dict[str, Tensor]:
            start = f"{name}."
            return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

        net.load_state_dict(part("net"))
        state = cls(net)
        state.averaged.load_state_dict(part("averaged"))
        state.optimizer.load(part("optimizer"))
        state.best = part("best")
        step, state.best_loss, running = tensors[key].tolist()
        state.step = int(step)
        state.running.fill_(running)
        state.log = tensors["log"].tolist()
        return state

    def _parts(self) -> dict[str, Mapping[str, Tensor]]:
        return {
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.tensors(),
            "best": self.best,
        }


def fingerprint(net: StackedPotential, dataset: Dataset, settings: Training, seed: int) -> str:
    """SHA-256 (hex) of all that decides the bits of a training: its start, data, settings, seed, computer."""
    device = next(net.parameters()).device
    plain = (_FORMAT, torch.__version__, device.type, torch.get_num_threads(), net.arch, settings, seed)
    digest = hashlib.sha256(repr(plain).encode())
    for item in dataset.graphs:
        digest.update(bytes.fromhex(item.frame.frame_id))
    for array in (dataset.energies, *dataset.forces, dataset.stresses, dataset.folds):
        digest.update(array.tobytes())
    for weights in net.state_dict().values():
        digest.update(weights.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
