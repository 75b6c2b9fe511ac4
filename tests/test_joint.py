from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, kstest, multivariate_normal
from synthetic import labels_of, prediction_of, turned

from al_engine.evaluation import evaluate
from al_engine.joint import Coherence, Joint, LowRankCovariance, coherence
from al_engine.prediction import Prediction


def dense_covariance(prediction: Prediction, frame: int, members: bool) -> np.ndarray:
    """Covariance of (E, F) of a frame, shape (3N + 1, 3N + 1), by math 4."""
    of, n_members = prediction.frame_index == frame, len(prediction.member_energy)
    energy, forces = np.sqrt(prediction.noise_variance), -prediction.noise_scale_gradient
    if members:
        energy = np.concatenate([energy, prediction.energy_deviation])
        forces = np.concatenate([forces, prediction.force_deviation], axis=0)
    columns = np.concatenate([energy[:, frame, None], forces[:, of].reshape(len(forces), -1)], axis=1)
    covariance = columns.T @ columns / n_members
    covariance[1:, 1:] += np.diag(np.repeat(prediction.force_noise[:, of].mean(axis=0), 3))
    return covariance


def coherence_of(prediction: Prediction, energies: np.ndarray, forces: np.ndarray) -> Coherence:
    return coherence(prediction, energies - prediction.energy, forces - prediction.forces)


@pytest.mark.parametrize("members", [True, False])
def test_distance_and_determinant_agree_with_the_dense_covariance(members):
    rng = np.random.default_rng(1)
    prediction = prediction_of(rng, [1, 2, 7])
    energies, forces = labels_of(prediction, rng)
    r_energy, r_forces = energies - prediction.energy, forces - prediction.forces
    low_rank = LowRankCovariance(prediction, members=members)
    distance = low_rank.distance(r_energy, r_forces)
    for frame in range(3):
        covariance = dense_covariance(prediction, frame, members)
        r = np.concatenate([r_energy[[frame]], r_forces[prediction.frame_index == frame].ravel()])
        assert distance[frame] == pytest.approx(r @ np.linalg.solve(covariance, r), rel=1e-9)
        assert low_rank.log_det[frame] == pytest.approx(np.linalg.slogdet(covariance)[1], rel=1e-9)
        scores = Joint.of_distances(distance[[frame]], low_rank.log_det[[frame]], prediction.n_atoms[[frame]])
        expected = -multivariate_normal.logpdf(r, cov=covariance)
        assert scores.nll_per_label == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("gradient", [0.1, 1.0, 30.0])
def test_labels_drawn_from_the_model_have_chi_squared_distances(gradient):
    rng = np.random.default_rng(2)
    prediction = prediction_of(rng, rng.integers(1, 12, size=3000), gradient=gradient)
    energies, forces = labels_of(prediction, rng)
    distance = LowRankCovariance(prediction).distance(
        energies - prediction.energy, forces - prediction.forces
    )
    degrees = 3 * prediction.n_atoms + 1
    test = kstest(chi2.cdf(distance, degrees), "uniform")
    assert test.pvalue > 1e-3
    scores = evaluate(prediction, energies, forces).parts.total.joint_low_rank
    assert scores.ks_distance == pytest.approx(test.statistic)
    assert scores.mean_z2 == pytest.approx(np.mean(distance / degrees))
    assert scores.coverage_90 == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 3000))


def test_rotation_changes_no_distance():
    rng = np.random.default_rng(3)
    prediction = prediction_of(rng, [3, 5])
    r_energy, r_forces = rng.normal(size=2), rng.normal(size=(8, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    a = LowRankCovariance(prediction).distance(r_energy, r_forces)
    b = LowRankCovariance(turned(prediction, rotation)).distance(r_energy, r_forces @ rotation.T)
    np.testing.assert_allclose(b, a, rtol=1e-10)


def test_blocks_have_the_right_mean_but_a_wider_spread_where_atoms_err_together():
    rng = np.random.default_rng(4)
    prediction = prediction_of(rng, [20] * 2000, gradient=3.0)
    parts = evaluate(prediction, *labels_of(prediction, rng)).parts.total
    assert parts.joint_blocks.mean_z2 == pytest.approx(1, abs=0.1)
    assert parts.joint_blocks.coverage_90 < 0.75
    assert parts.joint_blocks.nll_per_label > parts.joint_low_rank.nll_per_label


def test_four_members_are_overconfident_outside_their_directions_and_blocks_are_less_so():
    """Members and truth are draws of one process with more directions than members."""
    rng = np.random.default_rng(5)
    prediction = prediction_of(rng, [20] * 300, gradient=0.0)
    sd = 5 * np.sqrt(prediction.force_noise.mean())
    prediction = replace(prediction, member_forces=sd * rng.normal(size=(4, 6000, 3)), epistemic_scale=5 / 3)
    noise = labels_of(replace(prediction, epistemic_scale=0.0), rng)[1] - prediction.forces
    truth = sd * rng.normal(size=(6000, 3)) + noise
    r_forces = truth - prediction.forces
    assert np.mean(r_forces**2) == pytest.approx(np.mean(prediction.total.force_sd**2), rel=0.05)
    parts = evaluate(prediction, prediction.energy, truth).parts.total
    assert parts.joint_low_rank.mean_z2 > 2 * parts.joint_blocks.mean_z2
    assert parts.joint_low_rank.nll_per_label > parts.joint_blocks.nll_per_label + 60  # a nat a number


def test_a_frame_that_is_not_finite_spoils_no_other():
    rng = np.random.default_rng(6)
    prediction = prediction_of(rng, [3, 4])
    broken = prediction.member_forces.copy()
    broken[0, 1] = np.nan
    r_energy, r_forces = rng.normal(size=2), rng.normal(size=(7, 3))
    whole = LowRankCovariance(prediction)
    part = LowRankCovariance(replace(prediction, member_forces=broken))
    assert np.isnan(part.distance(r_energy, r_forces)[0])
    assert np.isnan(part.log_det[0])
    assert part.distance(r_energy, r_forces)[1] == pytest.approx(whole.distance(r_energy, r_forces)[1])


@pytest.mark.parametrize("gradient", [0.3, 1.0, 3.0])
def test_observed_energy_force_correlation_is_the_predicted_one_if_the_model_holds(gradient):
    rng = np.random.default_rng(7)
    prediction = prediction_of(rng, rng.integers(1, 10, size=20_000), gradient=gradient)
    found = coherence_of(prediction, *labels_of(prediction, rng))
    assert 0.1 < found.correlation_predicted < 0.99
    assert found.correlation_observed == pytest.approx(found.correlation_predicted, abs=4 / np.sqrt(20_000))


def test_predicted_correlation_agrees_with_the_dense_covariance():
    rng = np.random.default_rng(8)
    prediction = prediction_of(rng, [2, 3])
    expected = []
    for frame in range(2):
        covariance = dense_covariance(prediction, frame, members=True)
        c = covariance[0, 1:]
        expected.append((c @ c) / np.sqrt(covariance[0, 0] * (c @ covariance[1:, 1:] @ c)))
        of = prediction.frame_index == frame
        np.testing.assert_allclose(c, prediction.total.energy_force_covariance[of].ravel())
    found = coherence_of(prediction, *labels_of(prediction, rng))
    assert found.correlation_predicted == pytest.approx(np.mean(expected), rel=1e-12)


def test_labels_that_do_not_cohere_are_seen():
    rng = np.random.default_rng(9)
    prediction = prediction_of(rng, [5] * 5000)
    energies, _ = labels_of(prediction, rng)
    _, forces = labels_of(prediction, rng)  # of another draw
    found = coherence_of(prediction, energies, forces)
    assert abs(found.correlation_observed) < 4 / np.sqrt(5000) < found.correlation_predicted
