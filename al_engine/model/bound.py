"""The ensemble bound to a batch of walkers: neighbor lists with a skin, one backward pass a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from al_engine.frames import Frame
from al_engine.model.batch import FrameBatch, Graph, collate, ghosts, graph
from al_engine.model.force_graphs import MAX_PAIRS, Shape, evaluate
from al_engine.model.slopes import MAX_ATOMS_PER_BATCH, by_members
from al_engine.step_forces import StepForces

if TYPE_CHECKING:
    from al_engine.model.ensemble import Ensemble

SKIN = 1.0
"""Å beyond the cut-off; the list is kept while no atom has moved half of it."""
TINY = 1e-12
"""eV; below this the members agree, and their disagreement has no direction."""


class BoundEnsemble:
    """Mean energies and forces of certain frames at changing positions, with total deviations."""

    def __init__(self, ensemble: Ensemble, frames: Sequence[Frame], n_calls: int = 1) -> None:
        self._ensemble = ensemble
        self._frames = list(frames)
        self._n_atoms = [frame.n_atoms for frame in frames]
        self._n_calls = n_calls
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
        self._isolated = torch.as_tensor(ensemble.isolated_energy(graphs), device=ensemble.device)
        self._batch = self._collated(graphs, reach)
        self._offset = self._batch.offset()
        self._reference = torch.as_tensor(np.concatenate(positions), device=ensemble.device)
        self._index = self._batch.frame_index[: len(self._reference)]
        self._scale = scale

    def _collated(self, graphs: Sequence[Graph], reach: float) -> FrameBatch:
        """Join the frames; where a compiled graph is used, with ghosts after them."""
        n_slots = max(g.table.n_slots for g in graphs)
        needed = Shape(n_slots, sum(self._n_atoms), len(graphs))
        shape = self._ensemble.graphs.shape(needed, self._n_calls)
        self._is_compiled = shape is not None
        if shape is not None:
            n_slots = shape.n_slots
            missing = (shape.n_frames - needed.n_frames, shape.n_atoms - needed.n_atoms)
            graphs = [*graphs, *ghosts(graphs[0], *missing)]
        arch, device, dtype = self._ensemble.net.arch, self._ensemble.device, self._ensemble.dtype
        return collate(graphs, reach, arch.n_species, device=device, dtype=dtype, n_slots=n_slots)

    def _refresh(self, positions: Tensor, scale: Tensor | None) -> None:
        """Rebuild the neighbor lists where a pair that is not in them may have come into the cut-off.

        Without a change of the cell: where an atom has moved half the skin. A pair beyond the reach R is at
        least s R - 2 d apart, where cells have been scaled by s and atoms moved by up to d beside that.
        A walker that is not finite, or has moved far in one step, must not spoil the search for the
        others: it keeps its last good place (its own step will end it).
        One number comes to the host: on a device, work goes on behind it only once it is known.
        """
        reference, scaled = self._reference, torch.ones_like(self._scale[0])
        if scale is not None:
            by = torch.nan_to_num(scale / self._scale, nan=1.0, posinf=1.0, neginf=1.0)
            reference = by.index_select(0, self._index)[:, None] * reference
            scaled = by.min()
        moved = torch.nan_to_num(positions - reference, nan=0.0, posinf=0.0, neginf=0.0)
        cutoff = self._ensemble.net.arch.r_max
        allowed = ((scaled * (cutoff + SKIN) - cutoff) / 2).clamp_min(0.0)
        if bool(moved.square().sum(dim=-1).max() < allowed.square()):
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
        energy, variance, noise, gradient, *strained = self._evaluate(positions, scale)
        s, t, e = self._ensemble.scales
        energy, variance = self._sum(energy), self._sum(variance)
        deviation, spread = energy - energy.mean(dim=0), gradient - gradient.mean(dim=0)
        disagreement = e * deviation.square().mean(dim=0)
        energy_sd = (s * variance.mean(dim=0) + disagreement).sqrt()
        along = (deviation / disagreement.sqrt().clamp_min(TINY)).index_select(1, self._index)
        return StepForces(
            energy.mean(dim=0).double() + self._isolated,
            -gradient.mean(dim=0).double(),
            energy_sd.double(),
            (t * noise.mean(dim=0) + e * spread.square().mean(dim=(0, 2))).sqrt().double(),
            e * (along.unsqueeze(-1) * spread).mean(dim=0).double(),
            strained[0].mean(dim=0).flatten().double() if strained else None,
        )

    def _evaluate(self, positions: Tensor, scale: Tensor | None) -> list[Tensor]:
        """Return what `evaluate` does, without ghosts."""
        ensemble, batch, offset = self._ensemble, self._batch, self._offset
        n_atoms, n_frames = len(positions), len(self._frames)
        if scale is not None:
            by = (scale / self._scale).to(ensemble.dtype)
            by = torch.cat([by, by.new_ones(batch.n_frames - n_frames)])
            offset = batch.offset(batch.cells * by[:, None, None])
        x = torch.cat([positions.to(ensemble.dtype), batch.positions[n_atoms:]])
        x = x.expand(ensemble.n_members, -1, -1).contiguous()
        with_virial = scale is not None
        if self._is_compiled:
            found = ensemble.graphs(x, offset, batch, with_virial=with_virial)
        else:
            found = list(
                by_members(
                    ensemble.net,
                    batch.neighbor.numel() * MAX_ATOMS_PER_BATCH // MAX_PAIRS,
                    lambda net, n: tuple(evaluate(net, x[:n], offset, batch, with_virial=with_virial)),
                )
            )
        return [value[:, :n_atoms] for value in found[:4]] + [value[:, :n_frames] for value in found[4:]]

    def _sum(self, per_atom: Tensor) -> Tensor:
        """Sum (n_members, n_atoms) over each frame: (n_members, n_frames)."""
        total = per_atom.new_zeros(len(per_atom), len(self._frames))
        return total.index_add(1, self._index, per_atom)
