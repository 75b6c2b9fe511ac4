"""A short version of `benchmarks/stop_rule.py`: the promise in campaigns whose truth is known."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "stop_rule.py"


@pytest.fixture(scope="module")
def rule() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stop_rule", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stop_rule"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_bound_holds_the_true_share_as_often_as_it_says(rule: ModuleType):
    for share in (0.01, 0.05):
        assert rule.covered(share, 1000, seed=1) >= 880


@pytest.mark.parametrize(
    ("world", "least", "most"),
    [
        ({"failing": 0.07}, 0, 2),
        ({"failing": 0.002}, 8, 10),
        ({"failing": 0.002, "claimed": 1 / 3}, 0, 0),
        ({"failing": 0.0, "leaves": 50}, 0, 0),
    ],
)
def test_ten_campaigns_end_as_their_truth_demands(
    rule: ModuleType, world: dict[str, float], least: int, most: int
):
    found = [rule.campaign(rule.World(**world), seed) for seed in range(10)]
    assert least <= sum(converged for converged, _, _ in found) <= most
    if world.get("leaves"):
        assert all(n_looks == 0 for _, n_looks, _ in found)  # nothing is spent on a walk that ends early


def test_failing_steps_are_as_many_as_the_world_says(rule: ModuleType):
    rng = rule.np.random.default_rng(0)
    errors, _ = rule.errors_of(rule.World(0.055), rng)
    failing = (abs(errors[:, 1:]).max(axis=1) > rule.STOP.tolerance_ev_per_ang).mean()
    assert failing == pytest.approx(0.055, abs=1e-12)
