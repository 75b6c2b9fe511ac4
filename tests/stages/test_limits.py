"""Whether the next step fits what is left of the budget's hours and of a run's wall time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_campaign import config

from al_engine.errors import InputError
from al_engine.lifecycle import GenerationState
from al_engine.records import Cost, Generation
from al_engine.stages.limits import NextStep

COSTS = {
    0: [Cost("initial", 1.0, "cpu"), Cost("labeling", 40.0, "cpu", 20), Cost("closing", 1.0, "cpu")],
    1: [
        Cost("training", 100.0, "cpu"), Cost("training", 200.0, "cpu"), Cost("exploring", 500.0, "cpu"),
        Cost("selecting", 2.0, "cpu"), Cost("labeling", 30.0, "cpu", 10), Cost("closing", 6.0, "cpu"),
    ],
}  # fmt: skip
"""880 s in all; 300 s of training in two parts, 3 s a label."""


def step(state, number=2, n_labels=0, extra=(), costs=COSTS):
    newest = Generation("test", number, state, 0, 0, 0, 0, 0, None, None, None, 0.0, 0.0, 0.0, "", None)
    return NextStep(costs | ({number: list(extra)} if extra else {}), newest, n_labels)


def test_a_step_is_expected_to_take_what_it_took_in_the_generation_before():
    states = GenerationState
    assert step(states.OPEN).seconds_expected() == 300.0
    assert step(states.OPEN, extra=[Cost("training", 120.0, "cpu")]).seconds_expected() == 180.0
    assert step(states.TRAINED).seconds_expected() == 500.0
    assert step(states.EXPLORED).seconds_expected() == 2.0
    assert step(states.SELECTED, n_labels=7).seconds_expected() == 21.0
    assert (
        step(states.SELECTED, extra=[Cost("labeling", 5.0, "cpu", 1)], n_labels=7).seconds_expected() == 35.0
    )
    assert step(states.LABELED).seconds_expected() == 6.0
    assert step(states.CLOSED, number=1).seconds_expected() == 838.0  # a whole generation
    assert step(states.TRAINED, number=1).seconds_expected() == 0.0  # generation 0 has not explored
    assert NextStep({}, None, 0).seconds_expected() == 0.0


def test_hours_are_never_exceeded_by_what_is_known_to_take_longer():
    for state in (GenerationState.OPEN, GenerationState.TRAINED, GenerationState.LABELED):
        needed = (880.0 + step(state).seconds_expected()) / 3600
        assert step(state).fits_budget(config(budget={"hours": needed + 1e-9}))
        assert not step(state).fits_budget(config(budget={"hours": needed - 1e-9}))
    assert step(GenerationState.OPEN).fits_budget(config())
    unknown = step(GenerationState.TRAINED, number=1)  # nothing is known of it, but the hours are over
    assert not unknown.fits_budget(config(budget={"hours": 880.0 / 3600}))


def test_a_training_may_begin_where_it_can_reach_a_checkpoint_others_only_where_they_fit():
    hour = config(wall_time_h=1.0)
    assert step(GenerationState.OPEN).fits_wall_time(hour, 61.0)
    assert not step(GenerationState.OPEN).fits_wall_time(hour, 59.0)
    assert step(GenerationState.TRAINED).fits_wall_time(hour, 501.0)
    assert not step(GenerationState.TRAINED).fits_wall_time(hour, 499.0)
    assert step(GenerationState.SELECTED, n_labels=10).fits_wall_time(hour, 31.0)
    assert not step(GenerationState.SELECTED, n_labels=10).fits_wall_time(hour, 29.0)
    assert not step(GenerationState.CLOSED, number=1).fits_wall_time(hour, 0.0)


def test_a_step_that_would_never_fit_is_an_error_that_says_so():
    with pytest.raises(
        InputError, match=r"wall_time_h = 0\.1: exploring takes about 500 s and would never fit"
    ):
        step(GenerationState.TRAINED).fits_wall_time(config(wall_time_h=0.1), 300.0)


@given(seconds=st.lists(st.floats(10.0, 100.0), min_size=1, max_size=9), hours=st.floats(1e-4, 0.2))
def test_generations_that_repeat_never_exceed_the_hours(seconds, hours):
    """Each takes what the first one took, which is what teaches it."""
    rows = [Cost(f"stage {k}", s, "cpu") for k, s in enumerate(seconds)]
    budget, costs = config(budget={"hours": hours}), {1: rows}
    for number in itertools.count(2):
        now = step(GenerationState.CLOSED, number - 1, costs=costs)
        if not now.fits_budget(budget):
            break
        costs = costs | {number: rows}
    assert now.seconds_spent <= max(hours * 3600, sum(seconds)) * (1 + 1e-12)
    assert now.seconds_spent + sum(seconds) > hours * 3600 * (1 - 1e-12)
