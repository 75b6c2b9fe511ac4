"""The smallest distances against ASE's minimum image convention."""

import numpy as np
import torch
from analytic import CPU, row
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.exploration.distances import FAR, NearestDistance
from al_engine.exploration.layout import Layout
from al_engine.frames import Frame


def frames_and_wanted(seed: int) -> tuple[list[Frame], list[float]]:
    """A molecule, skewed cells with any periodic directions, and a lone atom."""
    rng = np.random.default_rng(seed)
    frames, wanted = [row([1])], [FAR]
    for pbc in ([False] * 3, [True] * 3, rng.random(3) < 0.5):
        cell = np.diag(rng.uniform(5, 8, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
        n = int(rng.integers(2, 9))
        positions = rng.uniform(-1.0, 2.0, (n, 3)) @ cell  # not wrapped into the cell
        positions[1] = positions[0] + rng.normal(0, 0.5, 3) + (rng.integers(-1, 2, 3) * pbc) @ cell
        frames.append(Frame(np.ones(n, dtype=np.int32), positions, cell, np.array(pbc)))
        distances = frames[-1].to_ase().get_all_distances(mic=True)
        wanted.append(distances[np.triu_indices(n, 1)].min())
    return frames, wanted


def nearest(frames: list[Frame]) -> torch.Tensor:
    layout = Layout.of(frames, [300.0] * len(frames), CPU)
    return NearestDistance(layout)(torch.as_tensor(np.concatenate([f.positions for f in frames])))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_distances_below_half_the_smallest_height_are_those_of_the_nearest_image(seed):
    frames, wanted = frames_and_wanted(seed)
    found = nearest(frames).numpy()
    for frame, distance, exact in zip(frames, found, wanted, strict=True):
        half = 0.5 / np.linalg.norm(np.linalg.inv(frame.cell), axis=0).max() if frame.is_periodic else np.inf
        if exact < half:
            np.testing.assert_allclose(distance, exact, rtol=1e-10)
        else:
            assert distance >= exact - 1e-10


def test_a_walker_that_is_not_finite_has_no_distance_and_leaves_the_others_theirs():
    frames = [row([1, 1]), row([1, 1, 1]), row([1, 1])]
    positions = torch.as_tensor(np.concatenate([frame.positions for frame in frames]))
    positions[3] = torch.nan
    found = NearestDistance(Layout.of(frames, [300.0] * 3, CPU))(positions)
    assert found[1].isnan()
    assert found[[0, 2]].tolist() == [3.0, 3.0]
