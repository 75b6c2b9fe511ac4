"""The ensemble bound to a batch of walkers: neighbor lists with a skin, one backward pass a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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


TINY = 1e-12
"""eV; below this the members agree, and their disagreement has no direction."""


class BoundEnsemble:
    """Mean energies and forces of certain frames at changing positions, with total deviations."""

    def __init__(self, ensemble: Ensemble, frames: Sequence[Frame]) -> None:
        self._ensemble = ensemble
        self._frames = list(frames)
        self._n_atoms = [frame.n_atoms for frame in frames]
        ones = torch.ones(len(frames), dtype=torch.float64, device=ensemble.device)
        self._rebuild([frame.positions for frame in frames], ones)

    def _rebuild(self, positions: Sequence[np.ndarray], scale: Tensor) -> None:
        """Find neighbors anew around `positions`, in cells that are scaled since the beginning."""
        ensemble, reach = self._ensemble, self._ensemble.net.arch.r_max + SKIN
        frames = [
            replace(frame, positions=at, cell=frame.cell * by)
            for frame, at, by in zip(self._frames, positions, scale.tolist(), strict=True)
        ]
        graphs = [graph(frame, ensemble.elements, reach) for frame in frames]
        self._batch = collate(
            graphs, reach, ensemble.net.arch.n_species, device=ensemble.device, dtype=ensemble.dtype
        )
        self._offset = self._batch.offset()
        self._isolated = torch.as_tensor(ensemble.isolated_energy(graphs), device=ensemble.device)
        self._reference = torch.as_tensor(np.concatenate(positions), device=ensemble.device)
        self._scale = scale

    def _refresh(self, positions: Tensor, scale: Tensor | None) -> None:
        """Rebuild the neighbor lists where a pair that is not in them may have come into the cut-off.

        Without a change of the cell: where an atom has moved half the skin. A pair beyond the reach R is at
        least s R - 2 d apart, where cells have been scaled by s and atoms moved by up to d beside that.
        A walker that is not finite, or has moved far in one step, must not spoil the search for the
        others: it keeps its last good place (its own step will end it).
        """
        cutoff, reference, scaled = self._ensemble.net.arch.r_max, self._reference, 1.0
        if scale is not None:
            by = torch.nan_to_num(scale / self._scale, nan=1.0, posinf=1.0, neginf=1.0)
            reference = by.index_select(0, self._batch.frame_index)[:, None] * reference
            scaled = float(by.min())
        moved = torch.nan_to_num(positions - reference, nan=0.0, posinf=0.0, neginf=0.0)
        allowed = (scaled * (cutoff + SKIN) - cutoff) / 2
        if allowed > 0 and float((moved**2).sum(dim=-1).max()) < allowed**2:
            return
        sane = torch.where(moved.abs() < 100.0, moved, torch.zeros_like(moved))
        places = (reference + sane).cpu().numpy()
        now = self._scale if scale is None else torch.where(scale.isfinite(), scale, self._scale)
        self._rebuild(np.split(places, np.cumsum(self._n_atoms)[:-1]), now)

    def __call__(self, positions: Tensor, scale: Tensor | None = None) -> StepForces:
        """Evaluate at `positions`, shape (n_atoms, 3), float64, Å.

        `scale`, shape (n_frames,), multiplies the cells as they were bound; where it is given, there is a
        virial, from the same backward pass.
        """
        self._refresh(positions, scale)
        ensemble, batch = self._ensemble, self._batch
        x = positions.to(ensemble.dtype).expand(ensemble.n_members, -1, -1).clone().requires_grad_()
        inputs, offset, strain = [x], self._offset, None
        if scale is not None:
            by = (scale / self._scale).to(ensemble.dtype)
            offset = batch.offset(batch.cells * by[:, None, None])
            inputs.append(x.new_zeros(ensemble.n_members, batch.n_frames, 1, 1).requires_grad_())
            strain = inputs[1] * torch.eye(3, dtype=x.dtype, device=x.device)
        out = ensemble.net(x, offset, batch, strain)
        energy = batch.sum_over_atoms(out.energy)
        gradient, *virial = torch.autograd.grad(energy.sum(), inputs)
        s, t, e = ensemble.scales
        with torch.no_grad():
            deviation, spread = energy - energy.mean(dim=0), gradient - gradient.mean(dim=0)
            disagreement = e * deviation.square().mean(dim=0)
            energy_sd = (s * batch.sum_over_atoms(out.variance).mean(dim=0) + disagreement).sqrt()
            noise = t * out.force_noise.mean(dim=0)
            along = (deviation / disagreement.sqrt().clamp_min(TINY)).index_select(1, batch.frame_index)
            return StepForces(
                energy.mean(dim=0).double() + self._isolated,
                -gradient.mean(dim=0).double(),
                energy_sd.double(),
                (noise + e * spread.square().mean(dim=(0, 2))).sqrt().double(),
                e * (along.unsqueeze(-1) * spread).mean(dim=0).double(),
                virial[0].mean(dim=0).flatten().double() if virial else None,
            )
