"""The ensemble bound to walkers: what biased dynamics and dynamics at constant pressure ask of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import carbon_crystal, ensemble, ethanol

from al_engine.frames import Frame
from al_engine.model.bound import SKIN


def at(frames: list[Frame]) -> torch.Tensor:
    return torch.tensor(np.concatenate([frame.positions for frame in frames]))


def test_the_bias_is_the_gradient_of_the_members_disagreement():
    frames, field = [ethanol(1), carbon_crystal(2), ethanol(3)], ensemble()
    bound, here = field.bind(frames), at(frames)
    bias = bound(here).bias

    def disagreement(positions: torch.Tensor) -> np.ndarray:
        parts = np.split(positions.numpy(), np.cumsum([f.n_atoms for f in frames])[:-1])
        return field.predict([f.moved_to(p) for f, p in zip(frames, parts, strict=True)]).epistemic.energy_sd

    rng = np.random.default_rng(0)
    for _ in range(3):
        along = torch.tensor(rng.normal(size=here.shape))
        slope = (disagreement(here + 1e-5 * along) - disagreement(here - 1e-5 * along)) / 2e-5
        wanted = np.array([part.sum() for part in np.split((along * bias).numpy(), [9, 9 + 8])])
        np.testing.assert_allclose(wanted, slope, rtol=1e-6, atol=1e-8)


def scaled(frame: Frame, by: float) -> Frame:
    return replace(frame, positions=frame.positions * by, cell=frame.cell * by)


def test_the_virial_is_the_derivative_by_the_scale_of_the_cell():
    frames, field = [carbon_crystal(1), carbon_crystal(2, cubic=False)], ensemble()
    virial = field.bind(frames)(at(frames), torch.ones(2).double()).virial
    step = 1e-5
    up, down = (field.predict([scaled(f, 1 + s * step) for f in frames]).energy for s in (1, -1))
    np.testing.assert_allclose(virial.numpy(), (up - down) / (2 * step), rtol=1e-7, atol=1e-7)
    stress = field.predict(frames).stress
    volume = np.array([np.linalg.det(f.cell) for f in frames])
    np.testing.assert_allclose(virial.numpy(), np.trace(stress, axis1=1, axis2=2) * volume, rtol=1e-10)


@pytest.mark.parametrize("by", [0.999, 0.93, 1.1, 0.8])
def test_a_cell_that_changed_since_it_was_bound_is_as_one_bound_anew(by: float):
    frames, field = [carbon_crystal(1, cubic=False), carbon_crystal(2, cubic=False)], ensemble()
    bound, scale = field.bind(frames), torch.tensor([by, 1.0], dtype=torch.float64)
    rng = np.random.default_rng(1)
    now = [scaled(frames[0], by), frames[1]]
    now = [f.moved_to(f.positions + rng.uniform(-0.1, 0.1, f.positions.shape)) for f in now]
    anew = field.bind(now)(at(now), torch.ones(2).double())
    for _ in range(2):  # the second time with the lists of the first
        found = bound(at(now), scale)
        for one, other in zip(found, anew, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-9)


def test_a_small_change_of_the_cell_keeps_the_lists_and_a_large_one_does_not(monkeypatch: pytest.MonkeyPatch):
    frames, field = [carbon_crystal(1, cubic=False)], ensemble()
    bound, built = field.bind(frames), []
    rebuild = bound._rebuild
    monkeypatch.setattr(bound, "_rebuild", lambda *a: (built.append(1), rebuild(*a)))
    limit = 1 - SKIN / (field.net.arch.r_max + SKIN)
    for by, wanted in ((0.99, 0), (limit + 0.01, 0), (limit - 0.01, 1), (1.0, 1)):
        bound(at([scaled(frames[0], by)]), torch.tensor([by], dtype=torch.float64))
        assert len(built) == wanted


def test_members_one_by_one_say_what_they_say_together(monkeypatch: pytest.MonkeyPatch):
    frames, field = [carbon_crystal(1), ethanol(2)], ensemble()
    together = field.bind(frames)(at(frames), torch.ones(2).double())
    monkeypatch.setattr("al_engine.model.bound.MAX_PAIRS", 1)
    for one, other in zip(field.bind(frames)(at(frames), torch.ones(2).double()), together, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-9)
