"""A pool: uniform audits, and nothing visited twice."""

import numpy as np
from analytic import row
from scipy.stats import chisquare

from al_engine.audit import draw_audit
from al_engine.exploration.pool import PoolSampler

FRAMES = [row([1] * (k + 1)) for k in range(12)]


def test_every_frame_is_audited_as_often_as_any_other_and_looked_at_as_often():
    audited, visited = np.zeros(12), np.zeros(12)
    for seed in range(600):
        rng = np.random.default_rng(seed)
        sampler = PoolSampler(FRAMES, 5, rng)
        drawn = draw_audit(sampler.planned, 3, rng)
        found = sampler(drawn)
        assert set(found.audit) == set(drawn)
        chosen = [visit.frame for visit in found.audit.values()]
        others = [visit.frame for visit in found.visits]
        assert len(set(chosen)) == 3
        assert len(set(others)) == 5
        assert not set(chosen) & set(others)
        for frame in chosen:
            audited[frame.n_atoms - 1] += 1
        for frame in others:
            visited[frame.n_atoms - 1] += 1
    assert chisquare(audited).pvalue > 1e-3
    assert chisquare(visited).pvalue > 1e-3


def test_a_small_pool_is_looked_at_as_a_whole_and_no_walker_is_named():
    found = PoolSampler(FRAMES, 100, np.random.default_rng(0))([(4, 1)])
    assert [visit.frame for visit in found.visits] == FRAMES[:4] + FRAMES[5:]
    assert found.audit[4, 1].frame == FRAMES[4]
    assert {visit.walker for visit in [*found.visits, *found.audit.values()]} == {None}
    assert PoolSampler([], 5, np.random.default_rng(0))([]).visits == ()
