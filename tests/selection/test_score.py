"""The information score against dense matrices and its laws; records of uncertainty."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from al_engine.prediction import Prediction
from al_engine.selection.score import information, uncertainties


def prediction(seed: int, n_members: int = 4, counts: tuple[int, ...] = (1, 9, 2, 5)) -> Prediction:
    rng = np.random.default_rng(seed)
    n_atoms, n_frames = sum(counts), len(counts)
    shape = (n_members, n_atoms, 3)
    return Prediction(
        frame_index=np.repeat(np.arange(n_frames), counts),
        member_energy=rng.normal(-100, 0.2, (n_members, n_frames)),
        member_forces=rng.normal(0, 2, (1, n_atoms, 3)) + rng.normal(0, 0.1, shape),
        noise_variance=rng.uniform(0.01, 0.3, (n_members, n_frames)) ** 2,
        noise_gradient=rng.normal(0, 0.02, shape),
        force_noise=rng.uniform(0.02, 0.3, (n_members, n_atoms)) ** 2,
        epistemic_scale=float(rng.uniform(0.5, 3)),
        features=np.zeros((n_frames, 1)),
    )


def dense_information(p: Prediction) -> np.ndarray:
    """Build every covariance from its definition and take determinants."""
    scores = []
    for f in range(p.n_frames):
        atoms = np.flatnonzero(p.frame_index == f)
        members = []
        for m in range(len(p.member_energy)):
            sigma = np.sqrt(p.noise_variance[m, f])
            u = np.append(sigma, -p.noise_gradient[m, atoms].ravel() / (2 * sigma))
            members.append(np.diag(np.append(0, np.repeat(p.force_noise[m, atoms], 3))) + np.outer(u, u))
        samples = np.column_stack(
            [p.member_energy[:, f], p.member_forces[:, atoms].reshape(len(members), -1)]
        )
        spread = p.epistemic_scale * np.cov(samples.T, bias=True)
        log_dets = [np.linalg.slogdet(c)[1] for c in members]
        scores.append(0.5 * (np.linalg.slogdet(np.mean(members, axis=0) + spread)[1] - np.mean(log_dets)))
    return np.array(scores)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_members=st.integers(2, 8))
def test_information_is_that_of_the_dense_covariances_and_never_negative(seed, n_members):
    p = prediction(seed, n_members)
    found = information(p)
    np.testing.assert_allclose(found, dense_information(p), rtol=1e-9, atol=1e-9)
    assert (found >= 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_information_ignores_rotation_and_the_order_of_atoms_members_and_frames(seed):
    p, rng = prediction(seed), np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix()
    members, frames = rng.permutation(4), rng.permutation(4)
    atoms = np.concatenate([rng.permutation(np.flatnonzero(p.frame_index == f)) for f in frames])
    counts = np.bincount(p.frame_index)[frames]
    turned = replace(
        p,
        frame_index=np.repeat(np.arange(4), counts),
        member_energy=p.member_energy[members][:, frames],
        member_forces=p.member_forces[members][:, atoms] @ turn.T,
        noise_variance=p.noise_variance[members][:, frames],
        noise_gradient=p.noise_gradient[members][:, atoms] @ turn.T,
        force_noise=p.force_noise[members][:, atoms],
    )
    np.testing.assert_allclose(information(turned), information(p)[frames], rtol=1e-10, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_members_that_say_the_same_have_nothing_to_learn(seed):
    p = prediction(seed)
    same = {
        name: np.repeat(getattr(p, name)[:1], 4, axis=0)
        for name in ("member_energy", "member_forces", "noise_variance", "noise_gradient", "force_noise")
    }
    found = information(replace(p, **same))
    assert (found >= 0).all()
    np.testing.assert_allclose(found, 0, atol=1e-11)


def test_information_of_two_members_without_gradients_by_hand():
    # One atom; sigma = tau = 1 for both members, energies +1 and -1, equal forces: det C_tot / det C_m = 2.
    p = replace(
        prediction(0, n_members=2, counts=(1,)),
        member_energy=np.array([[1.0], [-1.0]]), member_forces=np.ones((2, 1, 3)),
        noise_variance=np.ones((2, 1)), noise_gradient=np.zeros((2, 1, 3)), force_noise=np.ones((2, 1)),
        epistemic_scale=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(information(p), np.log(2) / 2, rtol=1e-14)


def test_records_hold_the_largest_and_the_mean_over_the_atoms_of_each_frame():
    p = prediction(3)
    records = uncertainties(p)
    for f, (record, nats) in enumerate(zip(records, information(p), strict=True)):
        own = p.frame_index == f
        assert record.force_sd_max == p.total.force_sd[own].max()
        assert record.force_sd_mean == pytest.approx(p.total.force_sd[own].mean(), rel=1e-14)
        assert record.force_sd_max_aleatoric == p.aleatoric.force_sd[own].max()
        assert record.force_sd_max_epistemic == p.epistemic.force_sd[own].max()
        assert (record.energy_sd, record.information) == (p.total.energy_sd[f], nats)
        assert record.energy_sd_aleatoric == p.aleatoric.energy_sd[f]
        assert record.energy_sd_epistemic == p.epistemic.energy_sd[f]


def test_atoms_that_are_not_sorted_by_frame_are_refused():
    p = prediction(0)
    with pytest.raises(ValueError, match="sorted by frame"):
        information(replace(p, frame_index=p.frame_index[::-1]))
