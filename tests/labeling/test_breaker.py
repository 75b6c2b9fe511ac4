"""Where the first labels all fail, the campaign stops and stores none of them; else nothing changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_isolation import MOODY, behaving

from al_engine.config import Labeling
from al_engine.errors import AlEngineError
from al_engine.labeling import Labeler, level_of_theory
from al_engine.labeling.breaker import stop_where_all_fail
from al_engine.records import FailureReason, Label, LabelFailure


def result(number, is_good):
    if is_good:
        return Label(str(number), "level", 0.0, np.zeros((1, 3)))
    return LabelFailure(str(number), "level", FailureReason.SCF, "no luck")


@given(outcomes=st.lists(st.booleans(), max_size=12), n_first=st.integers(0, 6))
def test_all_results_pass_in_order_unless_the_first_ones_all_failed(outcomes, n_first):
    results = [result(k, is_good) for k, is_good in enumerate(outcomes)]
    passed = []
    if n_first and len(outcomes) >= n_first and not any(outcomes[:n_first]):
        with pytest.raises(AlEngineError, match=f"the first {n_first} labels all failed"):
            passed.extend(stop_where_all_fail(iter(results), n_first))
        assert passed == []
    else:
        passed.extend(stop_where_all_fail(iter(results), n_first))
        assert [item.frame_id for item in passed] == [item.frame_id for item in results]


def test_the_line_names_the_commonest_reason_an_example_and_the_remedy():
    bad = [behaving("raise"), *(behaving("segv", 0.1 * k) for k in range(2)), behaving("good")]
    labeler = Labeler(MOODY, Labeling(n_workers=1), level_of_theory(MOODY))
    with pytest.raises(AlEngineError) as caught:
        list(stop_where_all_fail(labeler.label_all(bad), 3))
    line = str(caught.value)
    assert "\n" not in line
    assert "the first 3 labels all failed, 2 by 'crash'" in line
    assert "SIGSEGV" in line
    assert "labeling.memory_limit_gb, and run the same command again" in line


def test_who_tries_failed_labels_again_is_told_of_each():
    """Only a campaign stops: `labels retry` and `verify` expect failures."""
    bad = [behaving("raise", 0.1 * k) for k in range(Labeling().stop_after_failures + 1)]
    found = list(Labeler(MOODY, Labeling(), level_of_theory(MOODY)).label_all(bad))
    assert {item.frame_id for item in found} == {frame.frame_id for frame in bad}
    assert all(isinstance(item, LabelFailure) for item in found)
