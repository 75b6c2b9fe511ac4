"""The ensemble bound to a batch of walkers: neighbor lists with a skin, one backward pass a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from al_engine.frames import Frame
from al_engine.model.batch import collate, graph
from al_engine.step_forces import StepForces

if TYPE_CHECKING:
    from al_engine.model.ensemble import Ensemble

SKIN = 1.0
"""Å beyond the cut-off; the list is kept while no atom has moved half of it."""


class BoundEnsemble:
    """Mean energies and forces of certain frames at changing positions, with total deviations."""

    def __init__(self, ensemble: Ensemble, frames: Sequence[Frame]) -> None:
        self._ensemble = ensemble
        self._frames = list(frames)
        self._n_atoms = [frame.n_atoms for frame in frames]
        self._rebuild([frame.positions for frame in frames])

    def _rebuild(self, positions: Sequence[np.ndarray]) -> None:
        """Find neighbors anew around `positions`."""
        ensemble, reach = self._ensemble, self._ensemble.net.arch.r_max + SKIN
        self._frames = [f.moved_to(p) for f, p in zip(self._frames, positions, strict=True)]
        graphs = [graph(frame, ensemble.elements, reach) for frame in self._frames]
        self._batch = collate(
            graphs, reach, ensemble.net.arch.n_species, device=ensemble.device, dtype=ensemble.dtype
        )
        self._offset = self._batch.offset()
        self._isolated = torch.as_tensor(ensemble.isolated_energy(graphs), device=ensemble.device)
        self._reference = torch.as_tensor(np.concatenate(positions), device=ensemble.device)

    def _refresh(self, positions: Tensor) -> None:
        """Rebuild the neighbor lists where an atom has moved half the skin.

        A walker that is not finite, or has moved far in one step, must not spoil the search for the
        others: it keeps its last good place (its own step will end it).
        """
        moved = torch.nan_to_num(positions - self._reference, nan=0.0, posinf=0.0, neginf=0.0)
        if float((moved**2).sum(dim=-1).max()) < (SKIN / 2) ** 2:
            return
        sane = torch.where(moved.abs() < 100.0, moved, torch.zeros_like(moved))
        places = (self._reference + sane).cpu().numpy()
        self._rebuild(np.split(places, np.cumsum(self._n_atoms)[:-1]))

    def __call__(self, positions: Tensor) -> StepForces:
        """Evaluate at `positions`, shape (n_atoms, 3), float64, Å."""
        self._refresh(positions)
        ensemble, batch = self._ensemble, self._batch
        x = positions.to(ensemble.dtype).expand(ensemble.n_members, -1, -1).clone().requires_grad_()
        out = ensemble.net(x, self._offset, batch)
        energy = batch.sum_over_atoms(out.energy)
        (gradient,) = torch.autograd.grad(energy.sum(), x)
        s, t, e = ensemble.scales
        with torch.no_grad():
            variance = s * batch.sum_over_atoms(out.variance).mean(dim=0)
            noise = t * out.force_noise.mean(dim=0)
            energy_sd = (variance + e * energy.var(dim=0, correction=0)).sqrt()
            spread = gradient.var(dim=0, correction=0).mean(dim=-1)
            return StepForces(
                energy.mean(dim=0).double() + self._isolated,
                -gradient.mean(dim=0).double(),
                energy_sd.double(),
                (noise + e * spread).sqrt().double(),
            )
