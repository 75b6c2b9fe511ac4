"""Each selection with the configuration that it followed, whatever was changed since."""

import time

import pytest
from stored_campaign import COST, NAME, begun, exploration_of, model_of, run_generation

from al_engine.errors import InputError
from db.selections import selecting_campaigns
from db.store import Store


def tick() -> None:
    """Wait for the next millisecond: the database's times have no more digits."""
    time.sleep(0.002)


def test_each_selection_has_the_configuration_of_its_time(store: Store):
    begun(store)
    configs = ['{"seed": 0}', '{"seed": 1}', '{"seed": 2}', '{"seed": 3}']
    for number in range(3):
        run_generation(store, number)
        assert list(selecting_campaigns(store, NAME)) == list(range(1, number + 1))
        tick()
        store.update_config(NAME, configs[number + 1])
        tick()
    found = selecting_campaigns(store, NAME)
    assert {number: c.config for number, c in found.items()} == {1: configs[1], 2: configs[2]}
    # a change while a generation is open: before its selection it is that of the selection
    store.open_generation(NAME, 3)
    store.finish_training(NAME, 3, model_of(store, 3), [], COST)
    store.finish_exploration(NAME, 3, *exploration_of(3)[:1], [], [], [], COST)
    assert 3 not in selecting_campaigns(store, NAME)
    store.update_config(NAME, configs[0])
    tick()
    store.finish_selection(NAME, 3, [], COST)
    assert selecting_campaigns(store, NAME)[3].config == configs[0]
    with pytest.raises(InputError, match="has no such campaign"):
        selecting_campaigns(store, "none")
