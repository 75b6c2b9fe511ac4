import numpy as np
import pytest
from scipy.stats import binom, chisquare

from al_engine.audit import (
    audit_size,
    clopper_pearson_interval,
    clopper_pearson_upper,
    draw_audit,
    look_alpha,
)

PLANNED = [5, 0, 3, 8, 0, 4]  # some walkers are not audited, and some have fewer steps


def test_draws_are_uniform_over_the_planned_steps():
    rng = np.random.default_rng(0)
    pairs = [(walker, step) for walker, n in enumerate(PLANNED) for step in range(1, n + 1)]
    for n_drawn, n_looked_at in ((6, 6), (6, 1)):  # any part in order is uniform too
        counts = dict.fromkeys(pairs, 0)
        for _ in range(3000):
            for pair in draw_audit(PLANNED, n_drawn, rng)[:n_looked_at]:
                counts[pair] += 1
        assert chisquare(list(counts.values())).pvalue > 1e-3


def test_draws_are_distinct_and_repeat_with_the_seed():
    draws = [draw_audit([500] * 24, 60, np.random.default_rng(3)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 60
    everything = draw_audit([3, 0, 3], 12, np.random.default_rng(3))
    assert sorted(everything) == [(w, s) for w in (0, 2) for s in (1, 2, 3)]
    for planned, n in (([3, 3], 0), ([0, 0], 5), ([], 5)):
        assert draw_audit(planned, n, np.random.default_rng(3)) == []


def test_no_failure_in_45_promises_five_percent_at_ninety():
    assert clopper_pearson_upper(0, 45, 0.1) == pytest.approx(0.05, abs=2e-4)  # 1 - 0.1^(1/45)
    assert audit_size(0.95, 0.1) == 45
    assert audit_size(0.95, look_alpha(1, 0.9)) == 55
    assert clopper_pearson_upper(2, 12, 0.1) == pytest.approx(0.386, abs=1e-3)


@pytest.mark.parametrize(("k", "n", "alpha"), [(0, 10, 0.1), (3, 12, 0.05), (20, 60, 0.01)])
def test_the_bound_is_where_so_few_failures_have_probability_alpha(k, n, alpha):
    assert binom.cdf(k, n, clopper_pearson_upper(k, n, alpha)) == pytest.approx(alpha)


@pytest.mark.parametrize("share", [0.002, 0.05, 0.3, 0.9])
def test_the_bound_covers_the_true_share_as_often_as_it_says(share):
    n, repeats = 45, 4000
    k = np.random.default_rng(1).binomial(n, share, size=repeats)
    bounds = np.array([clopper_pearson_upper(i, n, 0.1) for i in range(n + 1)])
    assert np.mean(bounds[k] >= share) >= 0.9 - 3 * np.sqrt(0.09 / repeats)
    ends = np.array([clopper_pearson_interval(i, n, 0.9) for i in range(n + 1)])
    inside = (ends[k, 0] <= share) & (share <= ends[k, 1])
    assert np.mean(inside) >= 0.9 - 3 * np.sqrt(0.09 / repeats)


def test_nothing_drawn_says_nothing():
    assert clopper_pearson_interval(0, 0, 0.9) == (0, 1)
    assert clopper_pearson_upper(5, 5, 0.1) == 1
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson_upper(6, 5, 0.1)


def test_all_looks_together_spend_what_the_confidence_leaves():
    assert sum(look_alpha(j, 0.9) for j in range(1, 100_000)) == pytest.approx(0.1, rel=1e-4)
    with pytest.raises(ValueError, match="counted from 1"):
        look_alpha(0, 0.9)
