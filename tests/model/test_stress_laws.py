"""What must hold of stress for any weights, random or trained. Float64."""

from pathlib import Path

import numpy as np
import pytest
from networks import TIGHT, carbon_crystal, ethanol, supercell, turned
from scipy.spatial.transform import Rotation

from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.prediction import mandel
from al_engine.records import Label
from al_engine.stages.evaluate import evaluate_file


def strained(frame: Frame, strain: np.ndarray) -> Frame:
    turn = np.eye(3) + strain
    return Frame(frame.numbers, frame.positions @ turn, frame.cell @ turn, frame.pbc)


def test_stress_is_the_slope_of_the_energy_by_strain(model: Ensemble, crystal: Frame):
    p = model.predict([crystal])
    assert p.member_stress is not None
    volume, h = abs(np.linalg.det(crystal.cell)), 1e-3
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (2, 1), (0, 2)):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5
        strain[j, i] += 0.5

        def at(x: float, strain: np.ndarray = strain) -> np.ndarray:
            return model.predict([strained(crystal, x * strain)]).member_energy[:, 0]

        coarse, fine = (at(h) - at(-h)) / (2 * h), (at(h / 2) - at(-h / 2)) / h
        slope = (4 * fine - coarse) / 3 / volume
        np.testing.assert_allclose(p.member_stress[:, 0, i, j], slope, rtol=1e-6, atol=1e-9)


def test_stress_turns_with_the_frame_and_molecules_have_none(model: Ensemble):
    frame = carbon_crystal()
    rotation = Rotation.random(rng=np.random.default_rng(2)).as_matrix()
    p, q = model.predict([frame, ethanol()]), model.predict([turned(frame, rotation)])
    assert p.stress is not None
    assert q.stress is not None
    np.testing.assert_allclose(q.stress[0], rotation @ p.stress[0] @ rotation.T, **TIGHT)
    np.testing.assert_allclose(q.stress_sd, p.stress_sd[:1], **TIGHT)
    assert np.isnan(p.stress[1]).all()
    assert model.predict([ethanol()]).stress is None


def test_stress_noise_of_a_supercell_falls_as_one_over_its_size(model: Ensemble):
    cell = carbon_crystal(cubic=False)
    p, q = model.predict([cell]), model.predict([supercell(cell, (2, 1, 3))])
    np.testing.assert_allclose(q.member_stress, p.member_stress, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(q.stress_noise, p.stress_noise / 6, rtol=1e-8)


def test_a_file_with_stresses_is_evaluated_on_them(model: Ensemble, crystal: Frame, tmp_path: Path):
    frames = [crystal, ethanol()]
    p = model.predict(frames)
    assert p.stress is not None
    error = 0.01 * np.array([[1.0, 2, 3], [2, -1, 0.5], [3, 0.5, 2]])
    labels = [
        Label(frame.frame_id, "x", p.energy[k], p.forces[p.frame_index == k], stress)
        for k, (frame, stress) in enumerate(zip(frames, (p.stress[0] + error, None), strict=True))
    ]
    file = tmp_path / "labeled.extxyz"
    file.write_text("".join(to_extxyz(f, label) for f, label in zip(frames, labels, strict=True)))
    found = evaluate_file(model.to_bytes(), file, "cpu").stress
    assert found is not None
    assert found.rmse_ev_per_ang3 == pytest.approx(np.sqrt((error**2).sum() / 6), rel=1e-4)
    assert p.stress_variance is not None
    z2 = mandel(error) ** 2 / p.stress_variance[0]
    assert found.mean_z2 == pytest.approx(z2.mean(), rel=1e-3)  # weights go through float32 in a file
