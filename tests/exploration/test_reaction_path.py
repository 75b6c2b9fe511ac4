"""A reaction path whose saddle is known, and what is kept of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from analytic import CPU, NEVER
from ase.build import molecule
from torch import Tensor

from al_engine.exploration.reaction_path import ReactionPathSampler, interpolated
from al_engine.exploration.sampler import Sampled
from al_engine.frames import Frame
from al_engine.records import ExitReason
from al_engine.samplers import ReactionPath
from al_engine.step_forces import StepForces

BARRIER, BEND = 0.7, 0.8  # eV, Å


@dataclass(frozen=True)
class DoubleWell:
    """The first atom of each frame: E = b (x² - 1)² + 8 (y - c (1 - x²))² + 5 z²; the force sd is 1 - x².

    Minima at x = +-1, y = 0; saddle at x = 0, y = c with energy b. The other atom is fixed far away.
    """

    device: torch.device = CPU

    def bind(self, frames: Sequence[Frame], _n_calls: int = 1) -> Callable[..., StepForces]:
        def forces_at(positions: Tensor) -> StepForces:
            with torch.enable_grad():
                at = positions.clone().requires_grad_()
                x, y, z = at[::2].unbind(1)
                energy = BARRIER * (x**2 - 1) ** 2 + 8 * (y - BEND * (1 - x**2)) ** 2 + 5 * z**2
                (gradient,) = torch.autograd.grad(energy.sum(), at)
            sd = torch.zeros(len(positions), dtype=torch.float64)
            sd[::2] = (1 - x**2).detach().clamp_min(0)
            return StepForces(energy.detach(), -gradient, torch.zeros(len(frames)).double(), sd)

        return forces_at


def end(x: float) -> Frame:
    return Frame(np.array([1, 1]), np.array([[x, 0, 0], [0, 0, -6.0]]), fixed=np.array([False, True]))


ENDS = (end(-1.0), end(1.0))


def test_the_band_finds_the_saddle_of_a_double_well():
    found = ReactionPathSampler(ReactionPath(n_steps=400, stride=50), NEVER, DoubleWell(), ENDS)([])
    (walker,) = found.walkers
    assert walker.exit_reason is ExitReason.STEP_LIMIT
    last = [visit.frame for visit in found.visits if visit.step == walker.n_steps]
    assert len(last) == 9
    at = np.array([frame.positions[0] for frame in last])
    np.testing.assert_allclose(at[4], [0, BEND, 0], atol=0.02)  # the one that climbed
    np.testing.assert_allclose(at[:, 1], BEND * (1 - at[:, 0] ** 2), atol=0.05)  # the others on the path
    assert walker.trace[-1, 1] == pytest.approx(BARRIER, abs=1e-3)
    assert walker.trace[0, 1] > 2 * BARRIER  # the straight path passes higher
    assert all((frame.positions[1] == [0, 0, -6]).all() for frame in last)


def test_a_band_stops_where_an_image_is_too_uncertain_and_keeps_the_step_before():
    settings = ReactionPath(n_images=4, n_steps=50, stride=20)

    def relaxed(limit: float) -> Sampled:
        exits = NEVER.model_copy(update={"force_sd_ev_per_ang": limit})
        return ReactionPathSampler(settings, exits, DoubleWell(), ENDS)([])

    late = relaxed(0.99)  # the images begin at x = +-0.2 and +-0.6, where it is 0.96; then one climbs
    assert late.visits == relaxed(0.99).visits
    (walker,) = late.walkers
    assert walker.exit_reason is ExitReason.UNCERTAINTY
    assert 0.99 < walker.exit_value < 1
    assert sorted({visit.step for visit in late.visits}) == [0, 20, 40, walker.n_steps]
    assert walker.trace[:, 0].tolist() == [0, 20, 40, walker.n_steps + 1]
    assert all(1 - visit.frame.positions[0, 0] ** 2 <= 0.99 for visit in late.visits)
    at_once = relaxed(0.9)
    assert at_once.walkers[0].exit_value == pytest.approx(0.96)
    assert at_once.visits == late.visits[:5]
    assert late.visits[0].frame == ENDS[1]  # the product is a candidate, too


def test_the_product_of_a_molecule_is_turned_to_the_reactant_before_anything_is_interpolated():
    water = molecule("H2O")
    turned = water.copy()
    turned.rotate(70, "x")
    turned.translate((5, 0, 0))
    frames = interpolated(Frame.from_ase(water), Frame.from_ase(turned), 3)
    assert len(frames) == 5
    for frame in frames:
        np.testing.assert_allclose(frame.positions, water.positions, atol=1e-6)


def test_distances_and_not_positions_are_interpolated():
    linear, bent = molecule("CO2"), molecule("CO2")
    bent.positions[2] = bent.positions[0] + bent.get_distance(0, 2) * np.array([1.0, 0, 0])  # it was along z
    ends = Frame.from_ase(linear), Frame.from_ase(bent)
    straight = 0.5 * (ends[0].positions + interpolated(*ends, 1)[-1].positions)
    found = interpolated(*ends, 1)[1].positions
    errors = [abs(np.linalg.norm(at[1] - at[0]) - linear.get_distance(0, 1)) for at in (found, straight)]
    assert errors[0] < 0.7 * errors[1]
