from dataclasses import replace

import numpy as np
import pytest
from synthetic import labels_of, prediction_of, scaled

from al_engine.audit import clopper_pearson_interval
from al_engine.config import Stop
from al_engine.convergence import (
    MIN_LABELS,
    AuditOutcome,
    audit_sizes,
    count_looks,
    coverage_interval,
    decide,
    doubts,
    got_worse,
    look_size,
    promoted,
)
from al_engine.records import StopDecision

STOP = Stop(tolerance_ev_per_ang=0.5, fraction=0.95, confidence=0.9)


def outcome(rng, n, failing_share, *, n_exited=0, coverage=0.9):
    """An audit of n labels of an honest sigma, each with the given probability above the tolerance."""
    errors = np.where(rng.random(n) < failing_share, 0.9, 0.1)
    energy = (rng.random(n) < coverage).astype(float)
    forces = rng.binomial(9, rng.beta(20 * coverage, 20 * (1 - coverage), size=n)) / 9
    return AuditOutcome(n_exited, 0, errors, energy, forces)


def clean(n, n_bad=0, **other):
    """n labels of which n_bad are above the tolerance; nine in ten intervals hold."""
    errors = np.concatenate([np.full(n_bad, 0.6), np.full(n - n_bad, 0.2)])
    energy = (np.arange(n) % 10 > 0).astype(float)
    return AuditOutcome(max_force_errors=errors, energy_covered=energy, force_coverage=energy, **other)


def met(decision):
    return {criterion.name: criterion.met for criterion in decision.criteria}


def test_a_small_audit_says_what_it_lacks():
    decision = decide(clean(12, 2), STOP, [], [])
    assert not decision.converged
    assert decision.sentence == (
        "Not converged: 2 of 12 audit steps fail (force error above 0.5 eV/Å); up to 42.5 % of this "
        "generation's planned steps may fail at 90 % confidence over all looks, 5 % are allowed. "
        "12 audit steps are too few to promise that: 55 are needed, and labeled where a small audit looks "
        "good. "
        "12 audit labels are too few to judge coverage: 30 are needed."
    )


def test_a_clean_audit_large_enough_converges():
    decision = decide(clean(60), STOP, [12, 12], [("generation 1", False)])
    assert decision.converged
    assert all(met(decision).values())
    assert decision.sentence == (
        "Converged: 0 of 60 audit steps fail; up to 4.6 % of this generation's planned steps may fail at "
        "90 % confidence over all looks, 5 % are allowed. "
        "Nominal 90 % intervals hold 90 % of the energies (81.2 to 95.6 %). "
        "Nominal 90 % intervals hold 90 % of the force components (81.2 to 95.6 %)."
    )
    assert decision.criteria[0].value == pytest.approx(1 - (0.6 / np.pi**2) ** (1 / 60))


def test_every_kind_of_failure_counts():
    decision = decide(clean(57, 1, n_exited=2, n_unlabeled=1), STOP, [], [])
    assert "4 of 60 audit steps fail (1 force error above 0.5 eV/Å, 2 walker left early, 1 no label)" in (
        decision.sentence
    )
    assert met(decision) == {
        "failing_share_upper_bound": False,
        "audit_draws": True,
        "audit_labels": True,
        "energy_coverage_90": True,
        "force_coverage_90": True,
        "worse_blocks": True,
    }
    broken = clean(60)
    broken.max_force_errors[0] = np.nan  # a prediction that is not finite
    assert not decide(broken, STOP, [], []).converged


def test_the_tolerance_itself_is_allowed():
    edge = clean(60)
    edge.max_force_errors[:] = 0.5
    assert decide(edge, STOP, [], []).converged


def test_walkers_that_all_leave_early_never_converge():
    assert not decide(AuditOutcome(n_exited=1000), STOP, [], []).converged
    assert not decide(AuditOutcome(), STOP, [], []).converged
    assert "0 of 0 audit steps fail; up to 100 %" in decide(AuditOutcome(), STOP, [], []).sentence
    # 29 good labels are too few even where the wanted share is tiny
    assert not decide(clean(29), Stop(fraction=0.5, confidence=0.5), [], []).converged


def test_a_block_that_got_worse_refuses():
    decision = decide(clean(60), STOP, [], [("generation 1", False), ("generation 2", True)])
    assert not decision.converged
    assert "not promoted, as it got worse on earlier labels: generation 2;" in decision.sentence


def test_the_promoted_model_is_the_newest_that_did_not_get_worse():
    fine, worse = (decide(clean(12), STOP, [], [("generation 1", is_worse)]) for is_worse in (False, True))
    initial = StopDecision(False, (), "no model")
    assert promoted({}) is None
    assert promoted({0: initial}) is None
    assert promoted({0: initial, 1: fine, 2: fine}) == 2
    assert promoted({0: initial, 1: fine, 2: worse}) == 1
    assert promoted({0: initial, 1: fine, 2: worse, 3: worse, 4: fine, 5: worse}) == 4


def test_a_small_audit_looks_good_only_where_nothing_speaks_against_it():
    assert doubts(clean(12), STOP, [("generation 1", False)]) == ""
    assert "1 of 12 audit steps fails" in doubts(clean(12, 1), STOP, [])
    assert "walker left early" in doubts(clean(11, n_exited=1), STOP, [])
    assert "no label" in doubts(clean(11, n_unlabeled=1), STOP, [])
    assert doubts(AuditOutcome(), STOP, []) == "0 of 0 audit steps fail"
    assert doubts(clean(12), STOP, [("generation 1", True)]) == "worse on the generation 1"
    narrow = clean(12)
    narrow = replace(narrow, force_coverage=np.full(12, 0.3))
    assert doubts(narrow, STOP, []) == "nominal 90 % intervals hold 30 % of the force components"
    assert doubts(clean(12, 1), Stop(fraction=0.5), []) == ""  # fewer fail than may


def test_a_look_needs_enough_labels_to_judge_coverage_by():
    assert look_size(1, Stop(fraction=0.5)) == MIN_LABELS
    assert look_size(1, STOP) == 55
    assert count_looks([29, 30], Stop(fraction=0.5)) == 1
    decisions = [decide(clean(n), STOP, [], []) for n in (12, 60)]
    assert audit_sizes([StopDecision(False, (), ""), *decisions]) == [12, 60]


def test_only_audits_that_could_pass_are_looks_and_later_looks_need_more():
    assert count_looks([12, 54, 12], STOP) == 0
    assert count_looks([12, 55, 60, 81], STOP) == 1
    assert count_looks([55, 82, 12, 98], STOP) == 3
    assert decide(clean(60), STOP, [12], []).converged
    decision = decide(clean(60), STOP, [60], [])  # the second look may spend a quarter of the first
    assert not decision.converged
    assert "82 are needed" in decision.sentence
    assert decide(clean(82), STOP, [60], []).converged


def test_a_broken_promise_is_granted_in_at_most_a_tenth_of_campaigns_with_ten_looks():
    rng, granted = np.random.default_rng(1), 0
    sizes = [55, 82, 100, 110, 120, 130, 140, 140, 150, 160]
    for _ in range(300):
        audits = (outcome(rng, n, 0.06) for n in sizes)
        granted += any(decide(a, STOP, sizes[:g], []).converged for g, a in enumerate(audits))
    assert granted <= 30 + 3 * np.sqrt(300 * 0.1 * 0.9)


def test_a_kept_promise_is_mostly_granted():
    rng = np.random.default_rng(2)
    granted = sum(decide(outcome(rng, 60, 0.002), STOP, [12, 12], []).converged for _ in range(1000))
    assert granted >= 800  # (1 - 0.002)^60 = 0.89 have no failure


@pytest.mark.parametrize(("shrink", "granted"), [(1.0, True), (1 / 3, False)])
def test_sigma_shrunk_threefold_is_refused_and_an_honest_one_is_not(shrink, granted):
    rng, wide, converged = np.random.default_rng(3), Stop(tolerance_ev_per_ang=1e3), 0
    for _ in range(50):
        truth = prediction_of(rng, [9] * 60)
        energies, forces = labels_of(truth, rng)
        claimed = scaled(truth, shrink**2, shrink**2, shrink**2)
        audit = AuditOutcome.of_labels(claimed, energies, forces, n_exited=0, n_unlabeled=0)
        converged += decide(audit, wide, [], []).converged
    assert converged >= 45 if granted else converged == 0


def test_coverage_of_single_events_has_the_exact_interval():
    covered = np.array([1.0] * 41 + [0.0] * 4)
    assert coverage_interval(covered) == pytest.approx(clopper_pearson_interval(41, 45, 0.9))
    assert coverage_interval(np.ones(30)) == clopper_pearson_interval(30, 30, 0.9)
    assert coverage_interval(np.zeros(0)) == (0, 1)


@pytest.mark.parametrize("concentration", [2.0, 20.0, 1e6])
def test_the_interval_of_force_coverage_holds_the_truth_whatever_the_frames_share(concentration):
    rng, n = np.random.default_rng(4), 45
    inside = 0
    for _ in range(2000):
        frame = rng.beta(0.9 * concentration, 0.1 * concentration, size=n)
        low, high = coverage_interval(rng.binomial(27, frame) / 27)
        inside += low <= 0.9 <= high
    assert inside / 2000 >= 0.87  # 0.9 nominal; components pooled give 0.4 at concentration 2


def test_errors_that_grew_are_seen_and_noise_is_not():
    rng = np.random.default_rng(5)
    before = np.exp(rng.normal(size=(2000, 16)))
    same = before * np.exp(0.3 * rng.normal(size=before.shape))
    false = np.mean([got_worse(b, a) for b, a in zip(before, same, strict=True)])
    assert false == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))
    assert np.mean([got_worse(b, 2 * a) for b, a in zip(before, same, strict=True)]) > 0.99
    assert not got_worse(before[0], 0.5 * before[0])
    assert not got_worse([0.1, 0.1], [9.0, 9.0])
    assert got_worse([0.1, 0.1, 0.1], [0.1, 0.1, np.nan])
