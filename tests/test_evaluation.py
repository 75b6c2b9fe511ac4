import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, spearmanr
from synthetic import labels_of, prediction_of, turned

from al_engine.evaluation import evaluate, frame_coverage, max_force_errors
from al_engine.prediction import Prediction

ENERGY = {"mean_z2", "nll", "ence", "spearman", "coverage_90"}
KEYS = {
    "energy": ENERGY | {"rmse_ev_per_atom", "mae_ev_per_atom", "rmse_ev"},
    "forces": ENERGY | {"rmse_ev_per_ang", "mae_ev_per_ang", "auroc_worst_10_percent"},
    "coherence": {"correlation_observed", "correlation_predicted"},
}


def two_frames() -> Prediction:
    """One atom and two atoms; energies 0, sd 0.2 eV; forces 0, sd 0.1 eV/Å; no gradient, no spread."""
    return Prediction(
        frame_index=np.array([0, 1, 1]),
        member_energy=np.zeros((2, 2)),
        member_forces=np.zeros((2, 3, 3)),
        noise_variance=np.full((2, 2), 0.04),
        noise_gradient=np.zeros((2, 3, 3)),
        force_noise=np.full((2, 3), 0.01),
        epistemic_scale=1.0,
        features=np.zeros((2, 1)),
    )


def test_errors_of_two_frames_known_by_hand():
    forces = np.array([[0.3, 0, 0], [0, -0.1, 0], [0, 0, 0.1]])
    scores = evaluate(two_frames(), np.array([0.2, -0.4]), forces)
    assert (scores.n_frames, scores.n_atoms) == (2, 3)
    assert scores.energy.rmse_ev == pytest.approx(np.sqrt((0.04 + 0.16) / 2))
    assert scores.energy.rmse_ev_per_atom == pytest.approx(0.2)  # 0.2 / 1 and 0.4 / 2
    assert scores.energy.mae_ev_per_atom == pytest.approx(0.2)
    assert scores.energy.mean_z2 == pytest.approx((1 + 4) / 2)
    assert scores.energy.coverage_90 == 0.5  # 1 sd is in, 2 sd are out
    assert scores.energy.nll == pytest.approx(2.5 / 2 + np.log(0.2) + 0.5 * np.log(2 * np.pi))
    assert scores.energy.ence == pytest.approx(np.sqrt(2.5) - 1)  # one bin
    assert scores.forces.rmse_ev_per_ang == pytest.approx(np.sqrt(0.11 / 9))
    assert scores.forces.mae_ev_per_ang == pytest.approx(0.5 / 9)
    assert scores.forces.mean_z2 == pytest.approx(11 / 9)
    assert scores.forces.coverage_90 == pytest.approx(8 / 9)
    assert scores.forces.auroc_worst_10_percent == 0.5  # equal sds rank nothing
    np.testing.assert_allclose(max_force_errors(two_frames(), forces), [0.3, 0.1])
    energy, components = frame_coverage(two_frames(), [0.2, -0.4], forces)
    np.testing.assert_allclose(energy, [1, 0])
    np.testing.assert_allclose(components, [2 / 3, 1])


def test_likelihoods_and_ranks_agree_with_scipy():
    rng = np.random.default_rng(1)
    prediction = prediction_of(rng, rng.integers(1, 6, size=40))
    energies, forces = labels_of(prediction, rng)
    scores = evaluate(prediction, energies, forces)
    total, r_forces = prediction.total, forces - prediction.forces
    expected = -norm.logpdf(energies, prediction.energy, total.energy_sd).mean()
    assert scores.energy.nll == pytest.approx(expected, rel=1e-12)
    blocks = zip(r_forces, total.force_covariance, strict=True)
    expected = -np.mean([multivariate_normal.logpdf(r, cov=block) for r, block in blocks]) / 3
    assert scores.forces.nll == pytest.approx(expected, rel=1e-10)
    sd = np.sqrt(np.einsum("aii->ai", total.force_covariance))
    assert scores.forces.spearman == pytest.approx(spearmanr(np.abs(r_forces).ravel(), sd.ravel())[0])
    error = max_force_errors(prediction, forces)
    score = np.array([total.force_sd[prediction.frame_index == f].max() for f in range(40)])
    worst = np.argsort(error)[-4:]
    other = np.setdiff1d(np.arange(40), worst)
    wins = np.mean(score[worst][:, None] > score[other][None])
    assert scores.forces.auroc_worst_10_percent == pytest.approx(wins)


def test_labels_drawn_from_the_model_meet_every_target():
    rng = np.random.default_rng(2)
    prediction = prediction_of(rng, [9] * 2000)
    scores = evaluate(prediction, *labels_of(prediction, rng))
    for part in (scores.energy, scores.forces):
        assert part.mean_z2 == pytest.approx(1, abs=4 * np.sqrt(2 / 2000))
        assert part.coverage_90 == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 2000))
        assert part.ence < 0.08  # bias of the energy's 10 bins: sqrt(10 / (2000 pi)) = 0.04
        assert part.spearman > 0.3
    assert scores.forces.auroc_worst_10_percent > 0.9


@pytest.mark.parametrize("gradient", [0.3, 1.0, 3.0])
def test_observed_energy_force_correlation_is_the_predicted_one_if_the_model_holds(gradient):
    rng = np.random.default_rng(3)
    prediction = prediction_of(rng, rng.integers(1, 10, size=20_000), gradient=gradient)
    scores = evaluate(prediction, *labels_of(prediction, rng)).coherence
    assert 0.1 < scores.correlation_predicted < 0.99
    assert scores.correlation_observed == pytest.approx(scores.correlation_predicted, abs=4 / np.sqrt(20_000))


def test_predicted_correlation_agrees_with_the_dense_covariance():
    rng = np.random.default_rng(4)
    prediction = prediction_of(rng, [2, 3])
    expected = []
    for f in range(2):
        of = prediction.frame_index == f
        noise = np.concatenate(
            [
                np.sqrt(prediction.noise_variance[:, f, None]),
                -prediction.noise_scale_gradient[:, of].reshape(4, -1),
            ],
            axis=1,
        )
        member = np.concatenate(
            [prediction.energy_deviation[:, f, None], prediction.force_deviation[:, of].reshape(4, -1)],
            axis=1,
        )
        covariance = (noise.T @ noise + member.T @ member) / 4
        covariance[1:, 1:] += np.diag(np.repeat(prediction.force_noise[:, of].mean(axis=0), 3))
        c = covariance[0, 1:]
        expected.append((c @ c) / np.sqrt(covariance[0, 0] * (c @ covariance[1:, 1:] @ c)))
        np.testing.assert_allclose(c, prediction.total.energy_force_covariance[of].ravel())
    observed = evaluate(prediction, *labels_of(prediction, rng)).coherence.correlation_predicted
    assert observed == pytest.approx(np.mean(expected), rel=1e-12)


def test_labels_that_do_not_cohere_are_seen():
    rng = np.random.default_rng(5)
    prediction = prediction_of(rng, [5] * 5000)
    energies, _ = labels_of(prediction, rng)
    _, forces = labels_of(prediction, rng)  # of another draw
    scores = evaluate(prediction, energies, forces).coherence
    assert abs(scores.correlation_observed) < 4 / np.sqrt(5000) < scores.correlation_predicted


def test_rotation_changes_no_score_that_does_not_name_components():
    rng = np.random.default_rng(6)
    prediction = prediction_of(rng, [4] * 30)
    energies, forces = labels_of(prediction, rng)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    a = evaluate(prediction, energies, forces)
    b = evaluate(turned(prediction, rotation), energies, forces @ rotation.T)
    assert a.energy == b.energy
    for name in ("rmse_ev_per_ang", "nll"):
        assert getattr(b.forces, name) == pytest.approx(getattr(a.forces, name))
    assert b.coherence.correlation_observed == pytest.approx(a.coherence.correlation_observed)
    assert b.coherence.correlation_predicted == pytest.approx(a.coherence.correlation_predicted)


def test_missing_labels_are_left_out():
    rng = np.random.default_rng(7)
    prediction = prediction_of(rng, [3] * 30)
    energies, forces = labels_of(prediction, rng)
    energies[:5], forces[60:] = np.nan, np.nan  # frames 20 to 29
    scores = evaluate(prediction, energies, forces)
    part = replace(
        prediction,
        frame_index=prediction.frame_index[:60],
        **{
            name: getattr(prediction, name)[:, :60]
            for name in ("member_forces", "noise_gradient", "force_noise")
        },
        **{name: getattr(prediction, name)[:, :20] for name in ("member_energy", "noise_variance")},
    )
    assert scores.forces == evaluate(part, energies[:20], forces[:60]).forces
    r_energy = (energies - prediction.energy)[5:]
    assert scores.energy.rmse_ev == pytest.approx(np.sqrt(np.mean(r_energy**2)))
    assert len(scores.metrics("test")) == 18
    unlabeled = evaluate(prediction, np.full(30, np.nan), forces).to_json()
    assert set(unlabeled["energy"].values()) == {None}


@pytest.mark.parametrize("zero_noise", [False, True])
def test_one_frame_gives_valid_json_with_null_where_nothing_is_defined(zero_noise):
    prediction = replace(
        two_frames(),
        frame_index=np.zeros(3, dtype=np.int64),
        member_energy=np.zeros((2, 1)),
        noise_variance=np.full((2, 1), 0.04),
    )
    if zero_noise:
        prediction = replace(prediction, force_noise=np.zeros((2, 3)))
    scores = evaluate(prediction, [0.1], np.full((3, 3), 0.1))
    shown = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert list(shown) == ["n_frames", "n_atoms", "energy", "forces", "coherence"]
    assert {name: set(shown[name]) for name in KEYS} == KEYS
    assert shown["energy"]["spearman"] is None
    assert shown["forces"]["auroc_worst_10_percent"] is None
    assert shown["coherence"] == {"correlation_observed": None, "correlation_predicted": None}
    assert (shown["forces"]["mean_z2"] is None) == zero_noise
    metrics = {(m.split, m.quantity, m.name): m.value for m in scores.metrics("audit")}
    assert metrics["audit", "forces", "rmse_ev_per_ang"] == pytest.approx(0.1)
    assert ("audit", "energy", "spearman") not in metrics


def test_a_network_that_diverged_shows_null_and_no_false_number():
    rng = np.random.default_rng(8)
    prediction = prediction_of(rng, [3] * 20)
    energies, forces = labels_of(prediction, rng)
    broken = prediction.member_forces.copy()
    broken[0, 4] = np.nan
    shown = evaluate(replace(prediction, member_forces=broken), energies, forces).to_json()
    assert shown["forces"].pop("coverage_90") < 59 / 60 + 1e-9  # what is not finite is not covered
    assert set(shown["forces"].values()) == {None}
    assert np.isnan(max_force_errors(replace(prediction, member_forces=broken), forces)[1])


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="labels must have shapes"):
        evaluate(two_frames(), np.zeros(3), np.zeros((3, 3)))
