"""A short version of `benchmarks/faulty.py`: a fifth of the labels fail, in every known way."""

import importlib
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "faulty.py"


def test_a_campaign_with_a_faulty_calculator_ends_with_every_failure_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(FILE.parent))  # for the processes that compute, too
    faulty = importlib.import_module("faulty")
    found = faulty.run(tmp_path, n_frames=45)
    assert found["end"] == "max_generations"
    assert found["wrong"] == []
    assert found["processes_left"] == []
    assert len(found["kinds"]) > 5
    assert found["became"]["label"] > 30
