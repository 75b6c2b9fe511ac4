import numpy as np
import pytest
import scoringrules
from scipy.stats import multivariate_normal, norm, spearmanr

from al_engine.scores import LEVELS, NormalErrors, auroc_worst_10_percent, spearman


def drawn(n: int, shrink: float = 1.0, seed: int = 0) -> NormalErrors:
    """Errors of varied size with the deviations that they were drawn from, or smaller ones."""
    rng = np.random.default_rng(seed)
    sd = np.exp(rng.normal(size=n))
    return NormalErrors.of_numbers(sd * rng.normal(size=n), sd / shrink)


def vectors(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors drawn from covariances (n, 3, 3) of all shapes and sizes."""
    factor = np.exp(rng.normal(size=(n, 1, 1))) * rng.normal(size=(n, 3, 3))
    return np.einsum("aij,aj->ai", factor, rng.normal(size=(n, 3))), factor @ factor.transpose(0, 2, 1)


@pytest.mark.parametrize("shrink", [1.0, 3.0])
def test_reliability_is_the_one_that_the_normal_distribution_gives(shrink):
    curve = drawn(40_000, shrink).reliability()
    reach = norm.ppf((1 + np.array(LEVELS)) / 2) / shrink
    np.testing.assert_allclose(curve.observed, 2 * norm.cdf(reach) - 1, atol=4 * 0.5 / 200)
    np.testing.assert_allclose(np.array(curve.rmse) / np.array(curve.rmv), shrink, rtol=0.05)
    assert list(curve.rmv) == sorted(curve.rmv)
    assert len(curve.rmv) == 10


def test_honest_vectors_lie_in_their_ellipsoids_as_often_as_promised():
    errors = NormalErrors.of_vectors(*vectors(np.random.default_rng(1), 20_000))
    for level in (0.1, 0.5, 0.9):
        assert errors.coverage(level) == pytest.approx(level, abs=4 * 0.5 / np.sqrt(20_000))
    assert errors.calibration().mean_z2 == pytest.approx(1, abs=4 * np.sqrt(2 / 60_000))
    assert errors.calibration().ence < 0.05


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_no_other_width_scores_better_than_the_true_one(factor):
    true = drawn(5000)
    other = NormalErrors(true.error, factor * true.sd)
    assert other.calibration().nll > true.calibration().nll
    assert other.crps() > true.crps()


def test_rotation_changes_nothing_of_vectors():
    rng = np.random.default_rng(2)
    error, covariance = vectors(rng, 200)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    a = NormalErrors.of_vectors(error, covariance)
    b = NormalErrors.of_vectors(error @ rotation.T, rotation @ covariance @ rotation.T)
    for name in ("z2", "log_det", "size", "scale"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-9)
    assert b.crps() == pytest.approx(a.crps(), rel=1e-9)


def test_one_error_of_two_deviations_known_by_hand():
    errors = NormalErrors.of_numbers(np.array([0.2]), np.array([0.1]))
    scores = errors.calibration()
    assert scores.mean_z2 == pytest.approx(4)
    assert scores.nll == pytest.approx(2 + np.log(0.1) + 0.5 * np.log(2 * np.pi))
    assert scores.ence == pytest.approx(1)
    assert scores.coverage_90 == 0
    assert errors.coverage(0.96) == 1  # 2 deviations hold 95.4 %
    # 2 (2 Phi(2) - 1) + 2 phi(2) - 1 / sqrt(pi) = 1.9090 + 0.1080 - 0.5642
    assert errors.crps() == pytest.approx(0.1 * 1.45279, rel=1e-5)


def test_scores_agree_with_scoringrules_and_scipy():
    errors = drawn(300, 1.7)
    error, sd = errors.error[:, 0], errors.sd[:, 0]
    assert errors.crps() == pytest.approx(scoringrules.crps_normal(error, 0.0, sd).mean(), rel=1e-12)
    scores = errors.calibration()
    assert scores.nll == pytest.approx(scoringrules.logs_normal(error, 0.0, sd).mean(), rel=1e-12)
    assert scores.spearman == pytest.approx(spearmanr(np.abs(error), sd)[0], rel=1e-12)
    worst = np.argsort(np.abs(error))[-30:]
    wins = np.mean(sd[worst][:, None] > np.delete(sd, worst)[None])
    assert scores.auroc_worst_10_percent == pytest.approx(wins)
    error, covariance = vectors(np.random.default_rng(3), 50)
    pairs = zip(error, covariance, strict=True)
    expected = -np.mean([multivariate_normal.logpdf(r, cov=block) for r, block in pairs]) / 3
    assert NormalErrors.of_vectors(error, covariance).calibration().nll == pytest.approx(expected, rel=1e-9)


def test_a_direction_without_width_makes_any_error_in_it_infinitely_unlikely():
    flat = np.diag([1.0, 1.0, 0.0])[None] + 1e-17
    errors = NormalErrors.of_vectors(np.array([[0.1, 0.1, 0.1]]), flat)
    with np.errstate(all="ignore"):
        scores, crps = errors.calibration(), errors.crps()
    assert np.isinf(scores.mean_z2)
    assert scores.coverage_90 == 0
    assert 0 < crps < 1


def test_an_error_known_exactly_scores_its_size():
    with np.errstate(all="ignore"):
        assert NormalErrors.of_numbers(np.array([0.3]), np.array([0.0])).crps() == 0.3
    assert NormalErrors.of_numbers(np.array([0.3]), np.array([1e-9])).crps() == pytest.approx(0.3)


def test_nothing_to_rank_is_not_a_number():
    nothing = NormalErrors.of_numbers(np.zeros(0), np.zeros(0))
    assert all(np.isnan(value) for value in vars(nothing.calibration()).values())
    assert np.isnan(nothing.crps())
    assert np.isnan(spearman(np.arange(3.0), np.ones(3)))
    assert np.isnan(auroc_worst_10_percent([1.0, 1.0], [1.0, 2.0]))  # all are among the worst
    assert auroc_worst_10_percent(np.arange(20), np.ones(20)) == 0.5
