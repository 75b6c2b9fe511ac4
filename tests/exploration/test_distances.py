"""The smallest distances against ASE's minimum image convention."""

import numpy as np
import torch
from analytic import CPU, row
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.exploration.distances import FAR, Distances
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


def positions_of(frames: list[Frame]) -> torch.Tensor:
    return torch.as_tensor(np.concatenate([f.positions for f in frames]))


def nearest(frames: list[Frame]) -> torch.Tensor:
    layout = Layout.of(frames, [300.0] * len(frames), CPU)
    return Distances(layout, frames)(positions_of(frames))[0]


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
    positions = positions_of(frames)
    positions[3] = torch.nan
    found, _ = Distances(Layout.of(frames, [300.0] * 3, CPU), frames)(positions)
    assert found[1].isnan()
    assert found[[0, 2]].tolist() == [3.0, 3.0]


def test_the_longest_bond_of_the_start_is_measured_and_no_other_pair():
    def line(first: float, second: float) -> Frame:  # H-O-H, their radii 0.31 and 0.66 Å
        return row([1, 8, 1]).moved_to([[-first, 0, 0], [0, 0, 0], [second, 0, 0]])

    start, cell = line(0.96, 1.2), 4.0 * np.eye(3)  # 1.2 Å is within 1.25 * 0.97 Å
    wrapped = Frame(start.numbers, start.positions + np.diag([4.0, 0, 0]), cell, [True] * 3)
    frames = [start, row([1, 8, 1]), wrapped]
    distances = Distances(Layout.of(frames, [300.0] * 3, CPU), frames)
    later = [line(1.455, 0.97), line(0.9, 0.9), wrapped.moved_to(line(0.97, 1.94).positions)]
    np.testing.assert_allclose(distances(positions_of(later))[1], [1.5, 0, 2.0], rtol=1e-12)
