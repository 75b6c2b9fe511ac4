from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal
from synthetic import labels_of, prediction_of, scaled, turned

from al_engine.calibration import (
    PRIOR_VARIANCE,
    Scales,
    _terms,
    conformal_quantile,
    fit_scales,
    force_sd_threshold,
)
from al_engine.evaluation import evaluate, max_force_errors

START = Scales(1.0, 1.0, 1.0, (0.0, 0.0, 0.0), "out-of-fold")


def logs(scales: Scales) -> np.ndarray:
    return np.log([scales.s, scales.t, scales.e])


@pytest.mark.parametrize("true", [(1.0, 1.0, 1.0), (0.2, 3.0, 5.0), (6.0, 0.1, 0.5)])
def test_scales_of_many_frames_are_recovered_within_their_errors(true):
    rng = np.random.default_rng(1)
    raw = prediction_of(rng, rng.integers(2, 12, size=800))
    energies, forces = labels_of(scaled(raw, *true), rng)
    fitted = fit_scales(raw, energies, forces, START)
    assert fitted.source == "audit"
    assert max(fitted.errors) < 0.35
    assert np.all(np.abs(logs(fitted) - np.log(true)) < 3.5 * np.array(fitted.errors))


def test_standard_errors_are_the_spread_over_repeated_labels():
    rng = np.random.default_rng(2)
    raw = prediction_of(rng, [6] * 60)
    true = scaled(raw, 0.7, 2.0, 1.5)
    start = Scales(0.7, 2.0, 1.5, (0.0, 0.0, 0.0), "out-of-fold")
    fits = [fit_scales(raw, *labels_of(true, rng), start) for _ in range(200)]
    pulls = [(logs(fit) - np.log([0.7, 2.0, 1.5])) / fit.errors for fit in fits]
    rms = np.sqrt(np.mean(np.square(pulls), axis=0))
    assert np.all(rms > 0.7), rms
    assert np.all(rms < 1.3), rms  # e would have 2.4, were the atoms of a frame taken as independent


@pytest.mark.parametrize("n_frames", [12, 45])
def test_intervals_of_the_scales_hold_the_true_ones_as_often_as_they_say(n_frames):
    """The truth is anywhere that the prior allows, the frames are as few as an audit has.

    A scale whose part is small beside the other is bounded from above only, so that symmetric intervals
    hold somewhat less than 90 %.
    """
    rng = np.random.default_rng(13)
    pulls = []
    for _ in range(120):
        raw = prediction_of(rng, [6] * n_frames)
        true = np.exp(np.sqrt(PRIOR_VARIANCE) * rng.normal(size=3))
        fit = fit_scales(raw, *labels_of(scaled(raw, *true), rng), START)
        pulls.append((logs(fit) - np.log(true)) / fit.errors)
    share = np.mean(np.abs(pulls) < 1.645, axis=0)  # of nominal 90 % intervals
    assert np.all(share > 0.74), share
    assert np.all(share < 0.97), share


def test_recalibrated_forces_meet_their_targets_on_new_frames():
    rng = np.random.default_rng(3)
    z2, coverage = [], []
    for _ in range(20):
        raw = prediction_of(rng, [9] * 136)
        energies, forces = labels_of(scaled(raw, 0.5, 0.3, 8.0), rng)
        known = np.where(np.arange(136) < 45, energies, np.nan)
        known_forces = np.where(raw.frame_index[:, None] < 45, forces, np.nan)
        start = Scales(30.0, 30.0, 1.0, (0.1, 0.1, 0.0), "out-of-fold")  # one member's whole error
        fit = fit_scales(raw, known, known_forces, start)
        energies[:45], forces[: 9 * 45] = np.nan, np.nan
        scores = evaluate(scaled(raw, fit.s, fit.t, fit.e), energies, forces)
        z2.append((scores.energy.mean_z2, scores.forces.mean_z2))
        coverage.append((scores.energy.coverage_90, scores.forces.coverage_90))
    assert np.all(np.abs(np.mean(z2, axis=0) - 1) < 0.12)
    assert np.all(np.abs(np.mean(coverage, axis=0) - 0.9) < 0.02)


def test_one_frame_moves_the_scales_but_not_far():
    rng = np.random.default_rng(4)
    raw = prediction_of(rng, [9])
    energies, forces = labels_of(scaled(raw, 1e-3, 1e-3, 1e-3), rng)
    start = Scales(2.0, 3.0, 1.0, (0.1, 0.1, 0.0), "out-of-fold")
    fit = fit_scales(raw, energies, forces, start)
    shift = logs(fit) - logs(start)
    assert np.all(shift < 0)
    assert np.all(shift > -2 * np.sqrt(PRIOR_VARIANCE))
    assert np.all(np.array(fit.errors) > 0.7)


@pytest.mark.parametrize("factor", [0.03, 1e6])
@pytest.mark.parametrize("n_members", [2, 8])
def test_a_start_far_off_is_left_for_the_labels(n_members, factor):
    rng = np.random.default_rng(12)
    raw = prediction_of(rng, [9] * 45, n_members=n_members)
    energies, forces = labels_of(raw, rng)
    start = Scales(factor, factor, 1.0, (0.1, 0.1, 0.0), "out-of-fold")
    fit = fit_scales(raw, energies, forces, start)
    scores = evaluate(scaled(raw, fit.s, fit.t, fit.e), energies, forces)
    assert 0.6 < scores.energy.mean_z2 < 1.4  # ln(1e6) = 14 is 5 widths of the prior: some pull stays
    assert scores.forces.mean_z2 == pytest.approx(1, abs=0.15)


def test_without_labels_the_start_stays():
    raw = prediction_of(np.random.default_rng(5), [4, 4])
    assert fit_scales(raw, np.full(2, np.nan), np.full((8, 3), np.nan), START) == START


def test_members_that_agree_say_nothing_of_the_epistemic_scale():
    rng = np.random.default_rng(6)
    raw = prediction_of(rng, [5] * 50)
    raw = replace(
        raw,
        member_energy=np.zeros_like(raw.member_energy),
        member_forces=np.zeros_like(raw.member_forces),
    )
    start = Scales(1.0, 1.0, 2.5, (0.0, 0.0, 0.5), "out-of-fold")
    fit = fit_scales(raw, *labels_of(raw, rng), start)
    assert fit.e == pytest.approx(2.5)
    assert fit.errors[2] == pytest.approx(np.sqrt(PRIOR_VARIANCE[2] + 0.25))


def test_rotation_order_of_frames_and_units_change_nothing():
    rng = np.random.default_rng(7)
    raw = prediction_of(rng, [4] * 20)
    energies, forces = labels_of(scaled(raw, 2.0, 0.5, 3.0), rng)
    expected = fit_scales(raw, energies, forces, START)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(20)
    atoms = (4 * order[:, None] + np.arange(4)).ravel()
    shuffled = replace(
        raw,
        **{name: getattr(raw, name)[:, order] for name in ("member_energy", "noise_variance")},
        **{name: getattr(raw, name)[:, atoms] for name in ("member_forces", "noise_gradient", "force_noise")},
    )
    mev = replace(
        raw,
        member_energy=1e3 * raw.member_energy,
        member_forces=1e3 * raw.member_forces,
        noise_variance=1e6 * raw.noise_variance,
        noise_gradient=1e6 * raw.noise_gradient,
        force_noise=1e6 * raw.force_noise,
    )
    for fit in (
        fit_scales(turned(raw, rotation), energies, forces @ rotation.T, START),
        fit_scales(shuffled, energies[order], forces[atoms], START),
        fit_scales(mev, 1e3 * energies, 1e3 * forces, START),
    ):
        np.testing.assert_allclose(logs(fit), logs(expected), atol=1e-6)
        np.testing.assert_allclose(fit.errors, expected.errors, rtol=1e-5)


def test_noise_learned_ten_times_too_large_is_undone_by_the_scales():
    rng = np.random.default_rng(8)
    raw = prediction_of(rng, [4] * 20)
    energies, forces = labels_of(raw, rng)
    fit = fit_scales(raw, energies, forces, START)
    start = Scales(0.1, 0.1, 1.0, START.errors, START.source)
    other = fit_scales(scaled(raw, 10.0, 10.0, 1.0), energies, forces, start)
    np.testing.assert_allclose(logs(other), logs(fit) - np.log([10, 10, 1]), atol=1e-6)


def test_likelihood_and_its_derivatives_agree_with_scipy():
    rng = np.random.default_rng(9)
    raw = prediction_of(rng, [3, 1])
    energies, forces = labels_of(raw, rng)
    theta = np.array([0.3, -0.7, 1.1])
    _, atoms = _terms(raw, energies, forces)
    blocks = scaled(raw, *np.exp(theta)).total.force_covariance
    logpdf = [multivariate_normal.logpdf(r, cov=c) for r, c in zip(forces - raw.forces, blocks, strict=True)]
    constant = 1.5 * np.log(2 * np.pi)
    weighted = np.array([1 / 3, 1 / 3, 1 / 3, 1]) @ (np.array(logpdf) + constant)
    assert atoms.value(theta) == pytest.approx(weighted, rel=1e-10)
    score, information = atoms.derivatives(theta)
    np.testing.assert_allclose(score.sum(axis=0), approx_fprime(theta, atoms.value, 1e-6), atol=1e-4)
    simulated = []
    for _ in range(4000):
        drawn = labels_of(scaled(raw, *np.exp(theta)), rng)[1]
        simulated.append(_terms(raw, energies, drawn)[1].derivatives(theta)[0] / atoms.weight[:, None] ** 0.5)
    expected = np.einsum("rnp,rnq->pq", simulated, simulated) / 4000  # Fisher: variance of the score
    np.testing.assert_allclose(information, expected, atol=0.1 * information.max())


def test_a_scaled_or_broken_prediction_is_refused():
    rng = np.random.default_rng(10)
    raw = prediction_of(rng, [3])
    energies, forces = labels_of(raw, rng)
    with pytest.raises(ValueError, match="e = 1"):
        fit_scales(replace(raw, epistemic_scale=2.0), energies, forces, START)
    with pytest.raises(ValueError, match="not finite"):
        fit_scales(replace(raw, member_energy=np.full((4, 1), np.nan)), energies, forces, START)


@pytest.mark.parametrize(("n", "level"), [(19, 0.9), (50, 0.8), (200, 0.95)])
def test_conformal_quantile_covers_a_new_frame_as_often_as_asked(n, level):
    rng = np.random.default_rng(11)
    sd = np.exp(rng.normal(size=(4000, n + 1)))
    error = sd * rng.standard_t(3, size=(4000, n + 1))  # no normal distribution needed
    inside = [
        abs(e[-1]) <= conformal_quantile(e[:-1], s[:-1], level) * s[-1]
        for e, s in zip(error, sd, strict=True)
    ]
    slack = 4 * np.sqrt(level * (1 - level) / 4000)
    assert level - slack <= np.mean(inside) <= level + 1 / (n + 1) + slack


def test_nine_ratios_give_the_largest_at_ninety_percent_and_eight_give_none():
    assert conformal_quantile(np.arange(1.0, 10), np.ones(9), 0.9) == 9
    assert conformal_quantile(np.arange(1.0, 9), np.ones(8), 0.9) == np.inf


def test_ratios_that_are_no_number_count_as_the_largest():
    errors, sds = np.array([np.nan, 0.0, *np.arange(1.0, 8)]), np.array([1.0, 0.0, *np.ones(7)])
    assert conformal_quantile(errors, sds, 0.7) == 7
    assert conformal_quantile(errors, sds, 0.8) == np.inf


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_frames_within_the_threshold_break_the_promise_as_seldom_as_it_says(scale):
    """The sd may be wrong in scale and the errors heavy-tailed: the promise still holds."""
    rng = np.random.default_rng(14)
    tolerance, level, n_failed, n_passed = 0.5, 0.9, 0, 0
    for _ in range(2000):
        sd = 0.2 * np.exp(rng.normal(size=31))
        error = scale * sd * np.abs(rng.standard_t(3, size=31))
        threshold = force_sd_threshold(error[:30], sd[:30], tolerance, level)
        passed = sd[30] <= threshold
        n_passed += passed
        n_failed += passed and error[30] > tolerance
    assert n_failed / 2000 <= 1 - level + 4 * np.sqrt(0.09 / 2000)
    assert n_passed > 100 / scale  # and it is no empty promise


def test_threshold_of_an_audit_known_by_hand():
    errors, sds = np.arange(1.0, 10) / 10, np.full(9, 0.2)  # ratios 0.5 to 4.5
    assert force_sd_threshold(errors, sds, 0.9) == pytest.approx(0.2)  # 0.9 / 4.5
    assert force_sd_threshold(errors[:8], sds[:8], 0.9) == 0  # too few: nothing is trusted
    assert force_sd_threshold(np.zeros(9), sds, 0.9) == np.inf


def test_threshold_of_a_prediction_and_its_labels():
    rng = np.random.default_rng(15)
    prediction = prediction_of(rng, [9] * 400)
    _, forces = labels_of(prediction, rng)
    errors = max_force_errors(prediction, forces)
    sds = prediction.max_over_atoms(prediction.total.force_sd)
    threshold = force_sd_threshold(errors, sds, 1.0)
    within = sds <= threshold
    assert within.sum() > 40
    assert np.mean(errors[within] <= 1.0) > 0.9
