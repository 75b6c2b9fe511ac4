"""Queries in `ase db`'s form against the same conditions in Python; bad ones are one line."""

import operator
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_campaign import (
    COST,
    ETHANOL,
    NAME,
    begun,
    candidate_of,
    chosen,
    exploration_of,
    failure_of,
    frame_of,
    label_of,
    model_of,
    run_campaign,
)

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import Origin
from db.query import load, query
from db.store import Store

FORMULAS = [ETHANOL, [6, 1, 1, 1, 1], [8, 1, 1], [8, 1], [1], [14, 14]]


@pytest.fixture(scope="module")
def mixed(module_store: Store) -> Store:
    """Labels of several molecules in one campaign, one of them failed, and one without a campaign."""
    frames = [frame_of(i, numbers) for i, numbers in enumerate(FORMULAS * 2)]
    frames.append(Frame(np.array([8, 1]), frame_of(3, [8, 1]).positions, charge=-1, multiplicity=1))
    lone = frame_of(99, [8, 1, 1])
    module_store.import_labels(None, [(f, label_of(f)) for f in [*frames[1:], lone]])
    begun(module_store)
    waiting = [candidate_of(f, Origin.INITIAL, CandidateState.SELECTED) for f in frames]
    module_store.finish_initial(NAME, frames, waiting, COST)
    module_store.record_result(NAME, 0, failure_of(frames[0]))
    return module_store


@pytest.mark.parametrize(
    ("expression", "formulas"),
    [
        ("", {"C2H6O": 1, "CH4": 2, "H2O": 3, "HO": 3, "H": 2, "Si2": 2}),
        ("C", {"C2H6O": 1, "CH4": 2}),
        ("C=2", {"C2H6O": 1}),
        ("C>1,natoms<20", {"C2H6O": 1}),
        ("C=0", {"H2O": 3, "HO": 3, "H": 2, "Si2": 2}),
        ("C<2,O<1", {"CH4": 2, "H": 2, "Si2": 2}),
        ("H!=1", {"C2H6O": 1, "CH4": 2, "H2O": 3, "Si2": 2}),
        ("formula=C2H6O", {"C2H6O": 1}),
        ("OH2", {"C2H6O": 1, "H2O": 3}),
        ("2<=natoms<=3", {"H2O": 3, "HO": 3, "Si2": 2}),
        ("charge=-1", {"HO": 1}),
        ("charge<0,multiplicity=1", {"HO": 1}),
        ("status=failed", {"C2H6O": 1}),
        ("reason=imported", {"H2O": 1}),
        ("split=audit", {}),
        ("generation=0,natoms=3", {"H2O": 2}),
        ("energy_sd>0", {}),
        ("C=99999999999999999999999", {}),
    ],
)
def test_expressions(mixed: Store, expression: str, formulas: dict[str, int]) -> None:
    assert Counter(row.formula for row in query(mixed, expression)) == formulas


def test_numbers_are_compared_as_python_does(mixed: Store) -> None:
    everything = query(mixed, "")
    middle = sorted(row.energy_ev for row in everything if row.energy_ev is not None)[5]
    for sign, compare in ((">", operator.gt), (">=", operator.ge), ("<", operator.lt), ("=", operator.eq)):
        found = query(mixed, f"energy{sign}{middle!r}")
        assert found == [r for r in everything if r.energy_ev is not None and compare(r.energy_ev, middle)]
    assert len(query(mixed, "max_force>0")) == len(everything)
    assert query(mixed, "", limit=3) == everything[:3]
    assert query(mixed, "", campaign=NAME) == [row for row in everything if row.campaign == NAME]


def test_uncertainties_and_states_of_candidates(store: Store) -> None:
    run_campaign(store, 1)
    store.open_generation(NAME, 1)
    store.finish_training(NAME, 1, model_of(store, 1), [], COST)
    store.finish_exploration(NAME, 1, *exploration_of(1), COST)
    store.finish_selection(NAME, 1, chosen(store, 1), COST)
    sds = {c.frame_id: c.uncertainty for c in store.candidates(NAME, 1)}
    rejected = query(store, "status=rejected,force_sd>0.3")
    wanted = {
        c.frame_id
        for c in store.candidates(NAME, 1)
        if c.state is CandidateState.REJECTED and c.uncertainty and c.uncertainty.force_sd_max > 0.3
    }
    assert {row.frame_id for row in rejected} == wanted
    for row in rejected:
        given_ = sds[row.frame_id]
        assert given_ is not None
        assert (row.energy_sd_ev, row.force_sd_mean_ev_per_ang) == (given_.energy_sd, given_.force_sd_mean)
        assert row.energy_ev is None
    assert all(item.label is None and item.frame.formula == "C2H6O" for item in load(store, rejected))


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("nonsense", "unknown word 'nonsense'"),
        ("colour=red", "unknown key 'colour'"),
        ("id=1", "unknown key 'id'"),
        ("age<3d", "unknown key 'ctime'"),
        ("status=lost", "status is = or != one of visited, selected"),
        ("status>failed", "status is = or != one of"),
        ("energy=low", "must be a number"),
        ("energy_sd=low", "energy_sd must be compared with a number, not 'low'"),
        ("natoms<nan", "must be compared with a number"),
        ("natoms<inf", "must be compared with a number"),
        ("generation=true", "must be compared with a number"),
        ("C=1.5", "invalid literal"),
        ("<", "query = '<'"),
        ("=,=", "query = '=,='"),
        ("C" * 2000, "longer than 1000"),
        ("(" * 900, "query = "),
        ("energy<1; DROP TABLE labels", "must be a number"),
        ("natoms<" + "9" * 400, "must be compared with a number"),
    ],
)
def test_bad_expressions_are_one_line(sqlite_store: Store, expression: str, words: str) -> None:
    with pytest.raises(InputError, match="allowed: comparisons joined by commas") as caught:
        query(sqlite_store, expression)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("CHO2=<>!,. \x00'\";-%:()natomsenergy"), max_size=30))
def test_any_text_gives_rows_or_one_line(sqlite_store: Store, expression: str) -> None:
    with suppress(InputError):
        assert isinstance(query(sqlite_store, expression), list)


def test_a_campaign_that_is_not_there(store: Store) -> None:
    with pytest.raises(InputError, match="no such campaign"):
        query(store, "", campaign="none")
