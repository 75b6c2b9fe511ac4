"""The building blocks against e3nn's own, and the checkpoint."""

import math

import numpy as np
import pytest
import torch
from e3nn import o3
from networks import carbon_crystal, ensemble, ethanol

from al_engine.errors import InputError
from al_engine.model.ensemble import Ensemble
from al_engine.model.gather import to_neighbors
from al_engine.model.layers import Products, RadialBasis, cartesian, saturated
from al_engine.model.neighbors import neighbor_table
from al_engine.model.potential import spherical_harmonics

torch.set_default_dtype(torch.float32)


def test_harmonics_equal_e3nn():
    unit = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    expected = o3.spherical_harmonics([0, 1, 2], unit, normalize=True, normalization="component")
    torch.testing.assert_close(torch.cat(spherical_harmonics(unit), dim=-1), expected)


def product(first: str, second: str, out: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    path = [(0, 0, 0, "uuu", False)]
    module = o3.TensorProduct(first, second, out, path, irrep_normalization="component")
    result: torch.Tensor = module.double()(a, b)
    return result


def test_products_of_matrices_are_the_couplings_of_e3nn():
    vector, tensor = (torch.randn(7, d, dtype=torch.float64) for d in (3, 5))
    matrix = (tensor @ cartesian().t()).unflatten(-1, (3, 3))
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))
    turned = torch.einsum("bij,bj->bi", matrix, vector)
    torch.testing.assert_close(turned, product("2e", "1o", "1o", tensor, vector))
    cubic = torch.einsum("bij,bjk,bki->b", matrix, matrix, matrix)
    coupled = (product("2e", "2e", "2e", tensor, tensor) * tensor).sum(dim=1)
    factor = (cubic @ coupled) / (coupled @ coupled)
    torch.testing.assert_close(cubic, factor * coupled, rtol=1e-6, atol=1e-5)  # e3nn's are rounded to single


def test_the_invariants_are_those_of_the_couplings():
    layer = Products(1, 1, 9, vectors=False).double()
    with torch.no_grad():
        layer.invariant_weight.copy_(torch.eye(9, dtype=torch.float64)[None, None])
    a0, a1, a2 = (torch.randn(7, d, dtype=torch.float64) for d in (1, 3, 5))
    stacked = [x[None, :, :, None].expand(-1, -1, -1, 9) for x in (a0, a1, a2)]
    got = layer(*stacked, torch.ones(7, 1, dtype=torch.float64))[0][0]
    s, n1, n2 = a0[:, 0], (a1**2).mean(dim=1), (a2**2).mean(dim=1)
    mixed = (a1 * product("2e", "1o", "1o", a2, a1)).mean(dim=1)
    torch.testing.assert_close(got[:, :8].t(), torch.stack([s, s**2, s**3, n1, n2, s * n1, s * n2, mixed]))
    matrix = (a2 @ cartesian().t()).unflatten(-1, (3, 3))
    torch.testing.assert_close(got[:, 8], torch.einsum("bij,bjk,bki->b", matrix, matrix, matrix) / 2)


def test_sums_are_saturated_below_a_limit_and_left_alone_where_they_are_small():
    a = torch.randn(2, 7, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(saturated(1e-5 * a, 2.0), 1e-5 * a)
    large = saturated(1e5 * a, 2.0)
    rms = large.square().mean(dim=-2).sqrt()
    torch.testing.assert_close(rms, torch.full_like(rms, 2.0))
    torch.testing.assert_close(large / rms[:, :, None], a / a.square().mean(dim=-2, keepdim=True).sqrt())


def test_however_large_the_messages_the_energy_is_bounded():
    model = ensemble()
    messages = model.net.layers[1].sums
    energies = []
    for factor in (1.0, 1e8, 1e8):
        with torch.no_grad():
            messages.radial_out.weight.mul_(factor)
        energies.append(model.predict([ethanol()]).member_energy)
    assert np.abs(energies[1] - energies[0]).max() > 0.1
    np.testing.assert_allclose(energies[2], energies[1], rtol=1e-6)


def test_radial_basis_is_orthonormal_without_its_envelope_and_flat_at_the_end():
    basis = RadialBasis(4, 3.0).double()
    r = torch.linspace(1e-6, 3.0, 20001, dtype=torch.float64)
    x = r / 3.0
    envelope = 1 - x**3 * (10 - 15 * x + 6 * x**2)
    plain = basis(r)[:-1] / envelope[:-1, None] * r[:-1, None]
    gram = torch.trapezoid(plain.unsqueeze(1) * plain.unsqueeze(2), r[:-1], dim=0)
    torch.testing.assert_close(gram, torch.eye(4, dtype=torch.float64), atol=1e-3, rtol=0)
    near = basis(torch.tensor([3.0 - 1e-3, 3.0, 3.1], dtype=torch.float64))
    assert near[0].abs().max() < 1e-8 * math.sqrt(2 / 3) * 12  # cubic: (dr / r_max)^3 times 10 and sin / r
    assert not near[1:].any()


def test_a_checkpoint_comes_back_bit_for_bit():
    model = ensemble()
    data = model.to_bytes()
    again = Ensemble.from_bytes(data, device="cpu", dtype=torch.float64)
    assert again.to_bytes() == data
    assert again.provenance == model.provenance
    p, q = model.predict([ethanol()]), again.predict([ethanol()])
    np.testing.assert_array_equal(q.member_forces, p.member_forces)


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x80\x04K\x01.", b"\x10" + b"\0" * 30])
def test_bytes_that_are_no_checkpoint_are_refused_in_one_line(data: bytes):
    with pytest.raises(InputError, match="not an ensemble written by al-engine"):
        Ensemble.from_bytes(data)


def test_repulsion_of_two_protons_close_together_is_coulombs_with_the_universal_screening():
    from al_engine.model.repulsion import Repulsion

    r = torch.tensor([[[0.05]]], dtype=torch.float64)
    module = Repulsion((1,), [62.0])  # so wide that the cut-off is 1 here
    energy = float(module(r, torch.ones(1, 1, dtype=torch.float64)))
    x = 0.05 / (0.4685 / 2)
    phi = sum(
        a * math.exp(-b * x)
        for a, b in ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
    )
    assert energy == pytest.approx(0.5 * 14.399645 / 0.05 * phi, rel=1e-6)


def test_repulsion_ends_at_the_sum_of_the_covalent_radii():
    from al_engine.model.repulsion import Repulsion, bond_lengths

    module = Repulsion((1, 6), bond_lengths((1, 6)))
    pair = torch.eye(4)[1:2]  # H with C: 0.31 + 0.76 Å
    inside, outside = (float(module(torch.tensor([[[r]]]), pair)) for r in (1.06, 1.08))
    assert inside > 0
    assert outside == 0


def test_distances_are_themselves_where_frames_are_and_stop_falling_well_below():
    from al_engine.model.repulsion import FLOOR, DistanceFloor

    r = torch.tensor([0.3, 0.6, FLOOR * 1.0, 1.0, 1.5, 4.0], dtype=torch.float64).requires_grad_()
    seen = DistanceFloor([1.0])(r.view(1, 1, -1), torch.ones(6, 1, dtype=torch.float64)).flatten()
    (slope,) = torch.autograd.grad(seen.sum(), r)
    torch.testing.assert_close(seen[3:], r[3:], rtol=2e-3, atol=0)
    torch.testing.assert_close(seen[:2], torch.full_like(seen[:2], FLOOR), rtol=1e-3, atol=0)
    assert slope[:2].max() < 3e-3
    assert float(slope[2].detach()) == pytest.approx(0.5)
    torch.testing.assert_close(slope[4:], torch.ones_like(slope[4:]), rtol=1e-4, atol=0)


def test_the_sum_back_is_the_transpose_of_the_copy_to_the_neighbors():
    """<to_neighbors(x), y> = <x, sum back of y>, for a cell with several images of a neighbor."""
    table = neighbor_table(carbon_crystal(), 4.0)
    index, n_slots = torch.as_tensor(table.neighbor), table.n_slots
    reverse = index * n_slots + torch.as_tensor(table.back)
    assert reverse.flatten()[reverse.flatten()].equal(torch.arange(reverse.numel()))
    shift = torch.as_tensor(table.shift).flatten(0, 1)
    pad = torch.as_tensor(table.is_pad).flatten()
    assert torch.equal(shift[reverse.flatten()], -shift)
    assert not pad[reverse.flatten()][~pad].any()
    x = torch.randn(2, len(index), 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: to_neighbors(v, index, reverse), x)
    assert torch.autograd.gradgradcheck(lambda v: to_neighbors(v, index, reverse), x)
