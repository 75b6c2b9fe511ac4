from collections.abc import Callable

import numpy as np
import pytest

from al_engine.config import Stop
from al_engine.learning_curve import FRAME_ERROR, outlook
from al_engine.lifecycle import GenerationState
from al_engine.records import Generation, Metric

STOP = Stop(tolerance_ev_per_ang=0.1, fraction=0.95)


def generations(labels: list[int], errors: list[float | None]) -> list[Generation]:
    return [
        Generation("x", k, GenerationState.CLOSED, 0, 0, 0, n, 0, None, error, None, 0, 0, 0, "", "")
        for k, (n, error) in enumerate(zip(labels, errors, strict=True))
    ]


def frame_error(value: float) -> Callable[[int], list[Metric]]:
    return lambda _: [
        Metric("audit", "forces", "rmse_ev_per_ang", 0.3),
        Metric("audit", "forces", FRAME_ERROR, value),
    ]


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0])
def test_a_power_law_is_found_and_followed_to_the_tolerance(exponent: float):
    labels, trained = [20, 20, 40, 80], np.array([20, 40, 80])  # before generations 1, 2, 3
    errors = [None, *(3.0 * trained**-exponent)]
    found = outlook(generations(labels, errors), frame_error(0.2), STOP)
    assert found.exponent == pytest.approx(exponent)
    assert found.labels_expected == pytest.approx(80 * 2 ** (1 / exponent))  # half the error
    assert found.frame_error_ev_per_ang == 0.2
    # the law itself: at so many labels the error is the tolerance
    assert 0.2 * (found.labels_expected / 80) ** -exponent == pytest.approx(0.1)


def test_the_sentence_says_how_far_it_is():
    found = outlook(generations([20, 20, 20], [None, 0.4, 0.2]), frame_error(0.2), STOP)
    assert found.sentence == (
        "95 % of the newest audit's frames have forces within 0.2 eV/Å, 0.1 eV/Å are wanted; errors fall as "
        "labels^-1, so that about 80 labels are expected to be enough, 20 more than there are."
    )
    many = outlook(generations([20, 20, 100], [None, 0.4, 0.2]), frame_error(0.3), STOP)
    assert many.sentence.endswith("about 120 labels are expected to be enough, and there are as many by now.")


@pytest.mark.parametrize(
    ("errors", "metrics", "words"),
    [
        ([None, None, None], lambda _: [], "No audit yet"),
        ([None, 0.2, None], frame_error(0.4), "needs two generations"),
        ([None, 0.2, 0.21], frame_error(0.4), "do not fall"),
        ([None, 0.2, 0.1], frame_error(0.1), "a proof, not labels"),
    ],
)
def test_nothing_is_expected_that_cannot_be_fitted(
    errors: list[float | None], metrics: Callable[[int], list[Metric]], words: str
):
    found = outlook(generations([20, 20, 20], errors), metrics, STOP)
    assert found.labels_expected is None
    assert words in found.sentence
