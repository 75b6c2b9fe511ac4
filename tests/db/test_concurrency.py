"""Eight processes at once: the schema is made once, each label is there once, no one meets a lock error."""

import os
import subprocess
import sys
from pathlib import Path

from stored_campaign import COST, NAME, begun, candidate_of, initial_frames
from writers import N_FRAMES, N_WRITERS

from al_engine.lifecycle import CandidateState
from al_engine.records import Origin
from db.query import query
from db.store import Store
from db.verify import verify

HERE = Path(__file__).parent


def run_writers(work: str, url: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(HERE / "writers.py"), work, url],
        env=os.environ | {"PYTHONPATH": str(HERE.parent.parent)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_processes_may_create_it_at_once(empty_url: str) -> None:
    assert run_writers("open", empty_url) == ["[]"] * N_WRITERS


def test_eight_writers_of_the_same_labels(store: Store, url: str) -> None:
    begun(store)
    frames = initial_frames(N_FRAMES)
    waiting = [candidate_of(f, Origin.INITIAL, CandidateState.SELECTED) for f in frames]
    store.finish_initial(NAME, frames, waiting, COST)
    assert run_writers("write", url) == ["0 conflicts"] * N_WRITERS
    assert store.unlabeled_ids(NAME, 0) == []
    assert len(store.labeled(NAME)) == len(query(store, "", NAME))
    states = [c.state for c in store.candidates(NAME, 0)]
    assert len(states) == N_FRAMES
    assert set(states) <= {CandidateState.LABELED, CandidateState.FAILED}
    assert store.finish_labeling(NAME, 0, COST)
    assert verify(store, NAME) == []
