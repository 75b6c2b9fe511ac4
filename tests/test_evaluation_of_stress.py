from dataclasses import replace

import numpy as np
import pytest
from synthetic import labels_of, prediction_of, two_frames

from al_engine.evaluation import evaluate
from al_engine.prediction import Prediction, mandel


def with_stress(prediction: Prediction, rng: np.random.Generator) -> Prediction:
    """Symmetric member stresses of sd 0.02 eV/Å³ and a noise of 0.01 eV/Å³ on every Mandel component."""
    n_members, n_frames = prediction.member_energy.shape
    half = rng.normal(size=(n_members, n_frames, 3, 3))
    stress = 0.02 * (half + half.swapaxes(2, 3)) / 2
    return replace(prediction, member_stress=stress, stress_noise=np.full((n_members, n_frames), 1e-4))


def test_stress_of_a_cell_known_by_hand_and_none_where_a_label_or_a_direction_lacks():
    stress = np.zeros((2, 2, 3, 3))
    stress[:, 0, 0, 0] = 0.03, -0.03  # members disagree on xx of the first frame: variance 9e-4
    stress[:, 1] = np.nan  # the second frame is a molecule
    prediction = replace(two_frames(), member_stress=stress, stress_noise=np.full((2, 2), 1e-4))
    label = np.zeros((3, 3))
    label[0, 0], label[1, 2], label[2, 1] = 0.02, 0.01, 0.01
    labels = ([0.2, -0.4], np.zeros((3, 3)), np.array([label, label]))
    found = evaluate(prediction, *labels).stress
    assert found is not None
    assert found.rmse_ev_per_ang3 == pytest.approx(np.sqrt((0.02**2 + 2 * 0.01**2) / 6))
    assert found.mae_ev_per_ang3 == pytest.approx((0.02 + np.sqrt(2) * 0.01) / 6)
    assert found.mean_z2 == pytest.approx((4e-4 / 10e-4 + 2e-4 / 1e-4) / 6)
    assert found.coverage_90 == 1.0  # sqrt(2) sd is within 1.64
    assert evaluate(prediction, *labels[:2]).stress is None
    assert evaluate(two_frames(), *labels).to_json()["stress"] is None
    assert evaluate(prediction, *labels[:2], np.full((2, 3, 3), np.nan)).stress is None
    (cell, molecule) = evaluate(prediction, *labels).by_size
    assert (cell.stress, molecule.stress) == (found, None)


def test_stresses_drawn_from_the_model_meet_their_targets():
    rng = np.random.default_rng(11)
    prediction = with_stress(prediction_of(rng, [2] * 2000), rng)
    assert prediction.stress_variance is not None
    sd = np.sqrt(prediction.stress_variance) / [1, 1, 1, *[np.sqrt(2)] * 3]  # of xx, yy, zz, yz, xz, xy
    xx, yy, zz, yz, xz, xy = (sd * rng.normal(size=sd.shape)).T
    drawn = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)
    labels = (*labels_of(prediction, rng), prediction.stress + drawn)
    found = evaluate(prediction, *labels).stress
    assert found is not None
    assert found.mean_z2 == pytest.approx(1, abs=4 * np.sqrt(2 / 12000))
    assert found.coverage_90 == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 12000))
    assert found.rmse_ev_per_ang3 == pytest.approx(np.sqrt((drawn**2).sum() / 12000))
    np.testing.assert_allclose((mandel(drawn) ** 2).sum(axis=1), (drawn**2).sum(axis=(1, 2)))
    metrics = {(m.quantity, m.name) for m in evaluate(prediction, *labels).metrics("test")}
    assert ("stress", "rmse_ev_per_ang3") in metrics
