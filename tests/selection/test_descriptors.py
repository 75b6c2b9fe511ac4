"""Whitening and distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.selection.descriptors import nearest, whitened


def sample(seed: int, n: int, n_features: int = 40) -> np.ndarray:
    """Correlated descriptors far from zero."""
    mix = np.random.default_rng(7).normal(size=(n_features, n_features)) * np.geomspace(0.1, 10, n_features)
    return 50 + np.random.default_rng(seed).normal(size=(n, n_features)) @ mix.T


def test_the_training_set_becomes_white():
    known, new = whitened(sample(0, 400), sample(1, 30), np.random.default_rng(0), n=8)
    assert known.shape == (400, 8)
    assert new.shape == (30, 8)
    assert known.dtype == new.dtype == np.float32
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(known.T, bias=True), np.eye(8), atol=0.03)  # up to the ridge


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-3, 1e3))
def test_whitened_distances_ignore_the_scale_and_the_origin_of_the_descriptors(seed, factor):
    training, new = sample(seed, 60), sample(seed + 1, 10)
    one, other = (
        whitened(a, b, np.random.default_rng(seed))
        for a, b in ((training, new), (factor * training - 3, factor * new - 3))
    )
    np.testing.assert_allclose(nearest(*one[::-1])[0], nearest(*other[::-1])[0], rtol=1e-3, atol=1e-4)


def test_a_frame_outside_the_span_of_the_training_set_is_far_but_not_infinitely():
    rng = np.random.default_rng(0)
    training, new = np.zeros((20, 6)), np.zeros((2, 6))
    training[:, 0] = rng.normal(size=20)
    new[0, 0] = new[1, 3] = 1.0  # along what is known, and along what never varied
    inside, outside = nearest(*whitened(training, new, np.random.default_rng(1))[::-1])[0]
    assert 5 * inside < outside < 100


@pytest.mark.parametrize("n_training", [1, 2, 5])
def test_few_or_equal_training_frames_are_enough(n_training):
    training = np.ones((n_training, 12))
    known, new = whitened(training, np.stack([np.ones(12), np.zeros(12)]), np.random.default_rng(0))
    assert known.shape[1] == new.shape[1] == max(1, n_training // 2)
    near, far = nearest(new, known)[0]
    assert near == 0 < far < np.inf


def test_without_a_training_frame_whitening_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        whitened(np.zeros((0, 3)), np.zeros((2, 3)), np.random.default_rng(0))


def test_the_nearest_is_that_of_the_full_table_and_there_is_none_without_known_frames():
    rng = np.random.default_rng(0)
    features, known = (rng.normal(size=(n, 3)).astype(np.float32) for n in (5000, 7))
    known[2] = features[9] = np.nan  # no descriptor
    table = np.linalg.norm(features[:, None].astype(float) - np.delete(known, 2, axis=0)[None], axis=2)
    table[9] = np.inf
    distances, rows = nearest(features, known)
    np.testing.assert_allclose(distances, table.min(axis=1), rtol=1e-12)
    wanted = np.array([0, 1, 3, 4, 5, 6])[table.argmin(axis=1)]
    wanted[9] = -1
    assert rows.tolist() == wanted.tolist()
    distances, rows = nearest(features, known[:0])
    assert np.isinf(distances).all()
    assert (rows == -1).all()
    assert len(nearest(features[:0], known)[0]) == 0
