"""A frame found by its first digits, with what became of it in each campaign."""

import numpy as np
import pytest
from stored_campaign import LEVEL, NAME, begun, label_of, run_campaign

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import LabelFailure
from db.candidacies import candidacies
from db.store import Store

ALIKE = [Frame(np.array([1]), np.array([[x, 0.0, 0.0]])) for x in (2783, 7039)]
"""Two frames whose ids begin with the same six digits, found by trying."""


def test_every_candidate_is_found_with_what_became_of_it(whole: Store):
    for number in (0, 1):
        for candidate in whole.candidates(NAME, number):
            (found,) = candidacies(whole, candidate.frame_id[:12].upper())
            assert (found.campaign, found.generation) == (NAME, number)
            assert found.frame.frame_id == candidate.frame_id
            for name, value in vars(candidate).items():
                np.testing.assert_equal(getattr(found.candidate, name), value)
            match candidate.state:
                case CandidateState.LABELED:
                    assert vars(found.result).keys() == vars(label_of(found.frame)).keys()
                    assert found.result.energy == label_of(found.frame).energy
                    np.testing.assert_array_equal(found.result.forces, label_of(found.frame).forces)
                case CandidateState.FAILED:
                    assert isinstance(found.result, LabelFailure)
                    assert (found.result.message, found.result.attempts) == ("no convergence", 2)
                case _:
                    assert found.result is None


def test_a_frame_of_two_campaigns_is_told_of_both_and_its_label_is_that_of_the_level(store: Store):
    run_campaign(store, 2)
    run_campaign(store, 1, name="again")
    (start,) = begun(store, "third")
    frame = store.frames([store.candidates("again", 0)[0].frame_id])[0]
    assert [c.campaign for c in candidacies(store, frame.frame_id)] == [NAME, "again"]
    assert [c.campaign for c in candidacies(store, frame.frame_id, "again")] == ["again"]
    with pytest.raises(InputError, match="of the candidates of the campaign 'third', none begins so"):
        candidacies(store, frame.frame_id, "third")
    with pytest.raises(InputError, match="none begins so"):
        candidacies(store, start.frame_id)  # a given structure, no candidate
    with pytest.raises(InputError, match="the database has no such campaign; it has ethanol, again, third"):
        candidacies(store, frame.frame_id, "fourth")
    rejected = next(c for c in store.candidates(NAME, 1) if c.state is CandidateState.REJECTED)
    (atoms,) = store.frames([rejected.frame_id])
    for level, label_is_there in (("another", False), (LEVEL, True)):
        store.import_labels(None, [(atoms, label_of(atoms, level=level))])
        (found,) = candidacies(store, rejected.frame_id)
        assert (found.result is not None) is label_is_there


def test_too_few_digits_are_refused_and_two_frames_told_apart(store: Store):
    begun(store)
    store.import_labels(NAME, [(frame, label_of(frame)) for frame in ALIKE])
    first, second = sorted(frame.frame_id for frame in ALIKE)
    assert first[:6] == second[:6]
    with pytest.raises(InputError) as error:
        candidacies(store, first[:6])
    assert first[:12] in str(error.value)
    assert second[:12] in str(error.value)
    assert "give more digits" in str(error.value)
    differ = next(n for n in range(64) if first[:n] != second[:n])
    assert [candidacies(store, one[:differ])[0].frame.frame_id for one in (first, second)] == [first, second]
    for digits in ("", first[:5], first + "0", "xyz" + first[3:], first[:5] + "%", first[:8] + "\n"):
        with pytest.raises(InputError, match="hexadecimal digits of a frame's id are needed"):
            candidacies(store, digits)
