"""What must hold for any weights, random or trained: symmetry, slopes, coherence, extensivity. Float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from networks import ELEMENTS, TIGHT, carbon_crystal, ensemble, ethanol, labeled, supercell, trained, turned
from scipy.spatial.transform import Rotation

from al_engine.errors import InputError
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.model.batch import graph
from al_engine.model.ensemble import Ensemble
from al_engine.model.slopes import MAX_ATOMS_PER_BATCH
from al_engine.prediction import Prediction
from flows.cli import execute

PARTS = ("aleatoric", "epistemic", "total")


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_rotation_and_inversion_turn_forces_and_covariances_and_leave_energies(
    model: Ensemble, frame: Frame, mirror: float
):
    rotation = mirror * Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    p, q = model.predict([frame]), model.predict([turned(frame, rotation)])
    np.testing.assert_allclose(q.member_energy, p.member_energy, **TIGHT)
    np.testing.assert_allclose(q.member_forces, p.member_forces @ rotation.T, **TIGHT)
    np.testing.assert_allclose(q.features, p.features, **TIGHT)
    for part in PARTS:
        a, b = getattr(p, part), getattr(q, part)
        np.testing.assert_allclose(b.energy_variance, a.energy_variance, **TIGHT)
        np.testing.assert_allclose(b.energy_force_covariance, a.energy_force_covariance @ rotation.T, **TIGHT)
        np.testing.assert_allclose(b.force_covariance, rotation @ a.force_covariance @ rotation.T, **TIGHT)


def test_translation_changes_nothing(model: Ensemble, frame: Frame):
    p = model.predict([frame])
    q = model.predict([frame.moved_to(frame.positions + np.array([5.0, -3.0, 11.0]))])
    np.testing.assert_allclose(q.member_energy, p.member_energy, **TIGHT)
    np.testing.assert_allclose(q.member_forces, p.member_forces, **TIGHT)


def test_permutation_permutes_atoms(model: Ensemble, frame: Frame):
    order = np.random.default_rng(0).permutation(frame.n_atoms)
    p = model.predict([frame])
    q = model.predict([Frame(frame.numbers[order], frame.positions[order], frame.cell, frame.pbc)])
    np.testing.assert_allclose(q.member_energy, p.member_energy, **TIGHT)
    np.testing.assert_allclose(q.member_forces, p.member_forces[:, order], **TIGHT)
    np.testing.assert_allclose(q.total.force_covariance, p.total.force_covariance[order], **TIGHT)


def displaced(frame: Frame, atom: int, axis: int, h: float) -> Frame:
    positions = frame.positions.copy()
    positions[atom, axis] += h
    return frame.moved_to(positions)


def derivative(
    model: Ensemble, frame: Frame, value: str, atom: int, axis: int, h: float = 1e-3
) -> np.ndarray:
    """Central differences with one Richardson step: the error is of order h^4."""

    def at(shift: float) -> np.ndarray:
        p = model.predict([displaced(frame, atom, axis, shift)])
        return (
            p.member_energy[:, 0]
            if value == "energy"
            else np.array([getattr(p, part).energy_variance[0] for part in PARTS])
        )

    coarse = (at(h) - at(-h)) / (2 * h)
    fine = (at(h / 2) - at(-h / 2)) / h
    return (4 * fine - coarse) / 3


def test_forces_are_minus_the_slope_of_each_members_energy(model: Ensemble, frame: Frame):
    p = model.predict([frame])
    scale = np.abs(p.member_forces).max()
    for atom, axis in ((0, 0), (1, 1), (-1, 2)):
        expected = -derivative(model, frame, "energy", atom, axis)
        np.testing.assert_allclose(p.member_forces[:, atom, axis], expected, rtol=1e-6, atol=1e-7 * scale)


def test_energy_force_covariance_is_minus_half_the_slope_of_the_energy_variance(
    model: Ensemble, frame: Frame
):
    p = model.predict([frame])
    for atom, axis in ((0, 0), (1, 1), (-1, 2)):
        expected = -0.5 * derivative(model, frame, "variance", atom, axis)
        for part, value in zip(PARTS, expected, strict=True):
            covariance = getattr(p, part).energy_force_covariance
            scale = np.abs(covariance).max()
            np.testing.assert_allclose(covariance[atom, axis], value, rtol=1e-6, atol=1e-7 * scale)


def test_the_joint_covariance_is_positive_definite(model: Ensemble, frame: Frame):
    """Cov F >= g g^T on each atom: the block of (E, F_a) is a covariance matrix."""
    p = model.predict([frame])
    for part in PARTS:
        u = getattr(p, part)
        for a in range(frame.n_atoms):
            joint = np.zeros((4, 4))
            joint[0, 0], joint[1:, 1:] = u.energy_variance[0], u.force_covariance[a]
            joint[0, 1:] = joint[1:, 0] = u.energy_force_covariance[a]
            assert np.linalg.eigvalsh(joint).min() > -1e-12


def test_a_batch_gives_what_single_frames_give(model: Ensemble):
    frames = [ethanol(1), carbon_crystal(2), Frame(np.array([8]), np.zeros((1, 3))), ethanol(3)]
    together = model.predict(frames)
    alone = [model.predict([frame]) for frame in frames]
    np.testing.assert_allclose(together.member_energy, np.hstack([p.member_energy for p in alone]), **TIGHT)
    np.testing.assert_allclose(together.member_forces, np.hstack([p.member_forces for p in alone]), **TIGHT)
    np.testing.assert_allclose(
        together.total.force_covariance, np.vstack([p.total.force_covariance for p in alone]), **TIGHT
    )
    np.testing.assert_allclose(together.features, np.vstack([p.features for p in alone]), **TIGHT)


def copies(frame: Frame, n: int) -> Frame:
    shifts = 100.0 * np.arange(n)[:, None, None] * np.array([1.0, 0, 0])
    return Frame(np.tile(frame.numbers, n), (frame.positions + shifts).reshape(-1, 3))


def test_eight_distant_copies_have_eight_times_the_noise_and_sixty_four_times_the_disagreement(
    model: Ensemble,
):
    one, n = ethanol(), 8
    p, q = model.predict([one]), model.predict([copies(one, n)])
    np.testing.assert_allclose(q.aleatoric.energy_variance, n * p.aleatoric.energy_variance, rtol=1e-9)
    np.testing.assert_allclose(q.epistemic.energy_variance, n**2 * p.epistemic.energy_variance, rtol=1e-9)
    np.testing.assert_allclose(q.force_noise[:, : one.n_atoms], p.force_noise, rtol=1e-9)
    rank_one = p.noise_scale_gradient**2 / n
    np.testing.assert_allclose(q.noise_scale_gradient[:, : one.n_atoms] ** 2, rank_one, rtol=1e-9)


def test_an_atom_without_neighbors_has_exactly_its_isolated_energy(model: Ensemble):
    atoms = [Frame(np.array([z]), np.zeros((1, 3))) for z in ELEMENTS]
    p = model.predict([*atoms, pair(4.0), pair(1e3), pair(9e3)])
    expected = [model.provenance.atomic_energies[z] for z in ELEMENTS]
    assert p.member_energy[:, :3].tolist() == [expected] * 3
    assert p.member_energy[:, 3:].tolist() == [[expected[1] + expected[2]] * 3] * 3
    assert not p.member_forces.any()


def test_trained_networks_know_the_labels_of_isolated_atoms_and_have_learned_the_rest():
    model = trained()
    for z in ELEMENTS:
        atom = Frame(np.array([z]), np.zeros((1, 3)))
        assert model.predict([atom]).member_energy[:, 0].tolist() == [labeled(atom).label.energy] * 3
    frames = [ethanol(50), carbon_crystal(50), ethanol(51)]
    forces = np.concatenate([labeled(frame).label.forces for frame in frames])
    errors = model.predict(frames).forces - forces
    assert np.sqrt(np.mean(errors**2)) < 0.7 * np.sqrt(np.mean(forces**2))


def pair(distance: float) -> Frame:
    return Frame(np.array([6, 8]), np.array([[0.0, 0, 0], [distance, 0, 0]]))


def test_energy_and_forces_vanish_smoothly_at_the_cut_off(model: Ensemble):
    r = 4.0 - np.array([1e-2, 1e-3, 1e-4])
    p = model.predict([pair(x) for x in r])
    interaction = np.abs(p.member_energy - sum(model.provenance.atomic_energies[z] for z in (6, 8)))
    assert (interaction[:, 1] < 1e-2 * interaction[:, 0]).all()  # cubic in the distance to the cut-off
    assert (np.abs(p.member_forces).max(axis=(0, 2)).reshape(3, 2).max(axis=1)[1:] < 1e-4).all()
    beyond = model.predict([pair(4.0 + 1e-9)])
    assert not beyond.member_forces.any()


def test_a_supercell_has_the_energy_of_its_cells_and_the_same_forces(model: Ensemble):
    cell = carbon_crystal(cubic=False)  # 2 atoms, vectors shorter than the cut-off
    assert np.linalg.norm(cell.cell, axis=1).min() < 4.0
    p, q = model.predict([cell]), model.predict([supercell(cell, (2, 1, 3))])
    np.testing.assert_allclose(q.member_energy, 6 * p.member_energy, rtol=1e-9)
    np.testing.assert_allclose(q.member_forces[:, :2], p.member_forces, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(q.aleatoric.energy_variance, 6 * p.aleatoric.energy_variance, rtol=1e-9)


def test_members_evaluated_one_by_one_say_what_they_say_together():
    """As `predict` does with large frames: 1,200 atoms here, whose members also are those of one cell."""
    model, cell = ensemble(), carbon_crystal()
    large = supercell(cell, (5, 5, 6))
    assert large.n_atoms > MAX_ATOMS_PER_BATCH
    p, q = model.predict([cell]), model.predict([large])
    assert p.member_stress is not None
    np.testing.assert_allclose(q.member_energy, 150 * p.member_energy, rtol=1e-9)
    np.testing.assert_allclose(q.member_forces[:, :8], p.member_forces, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(q.noise_gradient[:, :8], p.noise_gradient, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(q.force_noise[:, :8], p.force_noise, rtol=1e-9)
    np.testing.assert_allclose(q.features, p.features, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(q.member_stress, p.member_stress, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(q.stress_noise, p.stress_noise / 150, rtol=1e-8)


def test_neighbors_of_a_skewed_cell_equal_a_brute_force_count(crystal: Frame):
    table = graph(crystal, ELEMENTS, 4.0).table
    reach = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3) @ crystal.cell
    for a in range(crystal.n_atoms):
        d = np.linalg.norm(crystal.positions[None] + reach[:, None] - crystal.positions[a], axis=-1)
        assert (~table.is_pad[a]).sum() == ((d < 4.0) & (d > 1e-9)).sum()


def test_an_element_never_seen_is_refused(model: Ensemble):
    with pytest.raises(InputError, match=r"Z = \[7\].*never seen"):
        model.predict([ammonia()])


def ammonia() -> Frame:
    return Frame.from_ase(molecule("NH3"))


def test_the_command_line_ends_with_2_at_an_element_never_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trained().save(tmp_path / "m.safetensors")
    label = labeled(ammonia()).label
    (tmp_path / "ammonia.extxyz").write_text(to_extxyz(ammonia(), label))
    assert execute(["evaluate", str(tmp_path / "m.safetensors"), str(tmp_path / "ammonia.extxyz")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "never seen" in error


def test_dynamics_sees_the_forces_of_predict_also_after_moves_beyond_the_skin(model: Ensemble):
    frames = [ethanol(1), carbon_crystal(2), carbon_crystal(2, cubic=False)]
    bound = model.bind(frames)
    rng = np.random.default_rng(0)
    positions = np.concatenate([f.positions for f in frames])
    for _ in range(4):
        positions = positions + rng.normal(0, 0.3, positions.shape)
        moved = [f.moved_to(x) for f, x in zip(frames, np.split(positions, [9, 17]), strict=True)]
        p: Prediction = model.predict(moved)
        step = bound(torch.tensor(positions))
        np.testing.assert_allclose(step.energy, p.energy, **TIGHT)
        np.testing.assert_allclose(step.forces, p.forces, **TIGHT)
        np.testing.assert_allclose(step.energy_sd, p.total.energy_sd, **TIGHT)
        rank_one = np.einsum("mai,mai->a", p.noise_scale_gradient, p.noise_scale_gradient) / (3 * 3)
        np.testing.assert_allclose(step.force_sd**2 + torch.tensor(rank_one), p.total.force_sd**2, **TIGHT)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e6])
def test_a_broken_walker_leaves_the_others_alone(model: Ensemble, broken: float):
    frames = [ethanol(1), ethanol(2), ethanol(3)]
    bound = model.bind(frames)
    positions = torch.tensor(np.concatenate([f.positions for f in frames]))
    expected = bound(positions)
    positions[9] = broken
    got = bound(positions)
    keep = [*range(9), *range(18, 27)]
    np.testing.assert_array_equal(got.forces[keep], expected.forces[keep])
    np.testing.assert_array_equal(got.energy[[0, 2]], expected.energy[[0, 2]])


def test_charge_and_multiplicity_change_the_energy_and_isolated_atoms_stay_exact(model: Ensemble):
    neutral = ethanol()
    ion = Frame(neutral.numbers, neutral.positions, charge=1, multiplicity=2)
    triplet = Frame(neutral.numbers, neutral.positions, multiplicity=3)
    p = model.predict([neutral, ion, triplet, Frame(np.array([8]), np.zeros((1, 3)), multiplicity=3)])
    assert len(set(p.energy.round(6))) == 4
    assert p.member_energy[:, 3].tolist() == [model.provenance.atomic_energies[8]] * 3
    alone = model.predict([neutral]).member_energy[:, 0]
    np.testing.assert_allclose(p.member_energy[:, 0], alone, rtol=1e-13)  # products round by the batch's size
