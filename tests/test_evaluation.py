import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, spearmanr
from synthetic import labels_of, prediction_of, turned, two_frames

from al_engine.evaluation import evaluate, frame_coverage, max_force_errors

PROMISED = {"mean_z2", "nll", "ence", "spearman", "coverage_90"}
KEYS = {
    "energy": PROMISED | {"rmse_ev_per_atom", "mae_ev_per_atom", "rmse_ev"},
    "forces": PROMISED | {"rmse_ev_per_ang", "mae_ev_per_ang", "auroc_worst_10_percent"},
    "coherence": {"correlation_observed", "correlation_predicted"},
}


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
    part = prediction.of_frames(np.arange(30) < 20)
    assert scores.forces == evaluate(part, energies[:20], forces[:60]).forces
    both = prediction.of_frames((np.arange(30) >= 5) & (np.arange(30) < 20))
    joint = evaluate(both, energies[5:20], forces[15:60]).parts
    assert scores.parts.total.joint_low_rank == joint.total.joint_low_rank
    assert scores.parts.epistemic.joint_blocks == joint.epistemic.joint_blocks
    r_energy = (energies - prediction.energy)[5:]
    assert scores.energy.rmse_ev == pytest.approx(np.sqrt(np.mean(r_energy**2)))
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
    assert list(shown)[:5] == ["n_frames", "n_atoms", "energy", "forces", "coherence"]
    assert {name: KEYS[name] - set(shown[name]) for name in KEYS} == {name: set() for name in KEYS}
    assert shown["parts"]["epistemic"]["joint_low_rank"] is None
    assert shown["by_size"] == []
    assert shown["energy"]["spearman"] is None
    assert shown["forces"]["auroc_worst_10_percent"] is None
    assert shown["coherence"] == {"correlation_observed": None, "correlation_predicted": None}
    assert (shown["forces"]["mean_z2"] is None) == zero_noise
    metrics = {(m.split, m.quantity, m.name): m.value for m in scores.metrics("audit")}
    assert metrics["audit", "forces", "rmse_ev_per_ang"] == pytest.approx(0.1)
    assert ("audit", "energy", "spearman") not in metrics
    assert ("audit", "parts.total.joint_blocks", "mean_z2") in metrics or zero_noise


def test_a_network_that_diverged_shows_null_and_no_false_number():
    rng = np.random.default_rng(8)
    prediction = prediction_of(rng, [3] * 20)
    energies, forces = labels_of(prediction, rng)
    broken = prediction.member_forces.copy()
    broken[0, 4] = np.nan
    shown = evaluate(replace(prediction, member_forces=broken), energies, forces).to_json()
    total = shown["parts"]["total"]
    for scores in (shown["forces"], total["atoms"], total["joint_low_rank"], total["joint_blocks"]):
        assert scores.pop("coverage_90") < 1  # what is not finite is not covered
        assert set(scores.values()) == {None}
    assert np.isnan(max_force_errors(replace(prediction, member_forces=broken), forces)[1])


def test_a_part_is_scored_as_the_total_would_be_if_it_were_alone():
    rng = np.random.default_rng(9)
    prediction = prediction_of(rng, [6] * 50)
    labels = labels_of(prediction, rng)
    parts = evaluate(prediction, *labels).parts
    noise_only = replace(prediction, epistemic_scale=0.0)
    assert evaluate(noise_only, *labels).parts.total.energy == parts.aleatoric.energy
    assert evaluate(noise_only, *labels).parts.total.atoms == parts.aleatoric.atoms
    assert evaluate(noise_only, *labels).parts.total.joint_low_rank.nll_per_label == pytest.approx(
        parts.aleatoric.joint_low_rank.nll_per_label
    )
    members_only = replace(
        prediction,
        noise_variance=1e-30 * prediction.noise_variance,
        noise_gradient=1e-30 * prediction.noise_gradient,
        force_noise=1e-30 * prediction.force_noise,
    )
    alone = evaluate(members_only, *labels).parts.total
    for name in ("energy", "forces"):
        found, expected = (vars(getattr(part, name)) for part in (alone, parts.epistemic))
        assert found == pytest.approx(expected)
    # a part is too narrow alone, and the total scores best by every proper score
    for other in (parts.aleatoric, parts.epistemic):
        assert other.energy.mean_z2 > parts.total.energy.mean_z2
        assert other.energy.nll > parts.total.energy.nll
        assert other.energy.crps_ev > parts.total.energy.crps_ev
        assert other.atoms.nll > parts.total.atoms.nll
        assert other.forces.crps_ev_per_ang > parts.total.forces.crps_ev_per_ang
        assert other.joint_blocks.nll_per_label > parts.total.joint_blocks.nll_per_label


def test_frames_of_equal_size_and_one_part_of_the_block_give_the_components_of_an_axis():
    """Isotropic blocks: an atom is three components, whatever the axes."""
    rng = np.random.default_rng(10)
    prediction = prediction_of(rng, [4] * 50, gradient=0.0)
    total = evaluate(prediction, *labels_of(prediction, rng)).parts.total
    for name in ("mean_z2", "nll", "crps_ev_per_ang"):
        assert getattr(total.atoms, name) == pytest.approx(getattr(total.forces, name))


@pytest.mark.parametrize(
    ("sizes", "ranges"),
    [
        ([5] * 8, []),
        ([9, 5, 9, 5], [(5, 5), (9, 9)]),
        (list(range(1, 13)), [(1, 3), (4, 6), (7, 9), (10, 12)]),
        ([3] * 20 + [4, 5, 6, 50], [(3, 50)]),  # a quarter of the frames is the least
    ],
)
def test_sizes_are_cut_into_few_ranges_that_hold_every_frame_once(sizes, ranges):
    rng = np.random.default_rng(11)
    prediction = prediction_of(rng, sizes)
    energies, forces = labels_of(prediction, rng)
    scores = evaluate(prediction, energies, forces)
    assert [(b.smallest_n_atoms, b.largest_n_atoms) for b in scores.by_size] == ranges
    for b in scores.by_size:
        chosen = (np.array(sizes) >= b.smallest_n_atoms) & (np.array(sizes) <= b.largest_n_atoms)
        part = prediction.of_frames(chosen)
        alone = evaluate(part, energies[chosen], forces[chosen[prediction.frame_index]])
        assert (b.n_frames, b.n_atoms) == (alone.n_frames, alone.n_atoms)
        for name in ("energy", "forces", "coherence", "parts"):
            np.testing.assert_equal(getattr(b, name), getattr(alone, name))
    assert not ranges or sum(b.n_frames for b in scores.by_size) == len(sizes)


def test_the_frames_of_a_prediction_stay_what_they_were():
    rng = np.random.default_rng(12)
    prediction = prediction_of(rng, [2, 3, 1, 4])
    part = prediction.of_frames(np.array([False, True, False, True]))
    np.testing.assert_array_equal(part.frame_index, [0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(part.n_atoms, [3, 4])
    np.testing.assert_array_equal(part.total.force_sd, prediction.total.force_sd[[2, 3, 4, 6, 7, 8, 9]])
    np.testing.assert_array_equal(part.total.energy_sd, prediction.total.energy_sd[[1, 3]])
    unsorted = replace(prediction, frame_index=prediction.frame_index[::-1])
    with pytest.raises(ValueError, match="sorted by frame"):
        unsorted.sum_over_atoms(np.ones(10))


def test_a_thousand_frames_take_less_than_two_seconds_and_no_square_of_the_atoms():
    rng = np.random.default_rng(13)
    prediction = prediction_of(rng, [27] * 1000)
    labels = labels_of(prediction, rng)
    tracemalloc.start()
    started = time.process_time()
    evaluate(prediction, *labels)
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2
    assert peak < 27_000 * 4 * 2000  # bytes, linear in atoms x members; the square would be 6 GB


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="labels must have shapes"):
        evaluate(two_frames(), np.zeros(3), np.zeros((3, 3)))
