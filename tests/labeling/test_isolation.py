"""Whatever a calculator does to its process costs one label, and nothing is left behind."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from bad_calculators import BEHAVIORS, nap

import al_engine
from al_engine.config import ASECalculator, Labeling
from al_engine.cores import memory_bytes
from al_engine.errors import CalculatorUnavailableError
from al_engine.frames import Frame
from al_engine.labeling import Labeler, level_of_theory
from al_engine.labeling.base import Failed, from_json
from al_engine.labeling.isolation import run_isolated
from al_engine.records import FailureReason, Label

MOODY = ASECalculator(calculator="bad_calculators.Moody")
REASONS = {
    "good": None,
    "hang": FailureReason.TIMEOUT,
    "hang_deaf": FailureReason.TIMEOUT,
    "orphan": FailureReason.TIMEOUT,
    "segv": FailureReason.CRASH,
    "leave": FailureReason.CRASH,
    "exit_code": FailureReason.CRASH,
    "shout": FailureReason.CRASH,
    "not_finite": FailureReason.NOT_FINITE,
    "wrong_shape": FailureReason.WRONG_SHAPE,
    "wrong_energy": FailureReason.WRONG_SHAPE,
    "raise": FailureReason.EXCEPTION,
    "system_exit": FailureReason.EXCEPTION,
    "ragged": FailureReason.EXCEPTION,
    "scf": FailureReason.SCF,
    "large": FailureReason.FORCE_TOO_LARGE,
    "hog": FailureReason.EXCEPTION,
    "daemon": FailureReason.TIMEOUT,
}


def behaving(behavior, wobble=0.0):
    """A frame at which `Moody` behaves so."""
    return Frame(np.array([1, 1]), np.array([[10.0 * BEHAVIORS.index(behavior), 0, wobble], [0, 3.0, 0]]))


def curious(about, frames, **labeling):
    reference = ASECalculator(calculator="bad_calculators.Curious", keywords={"about": about})
    labels = list(Labeler(reference, Labeling(**labeling), level_of_theory(reference)).label_all(frames))
    assert all(isinstance(label, Label) for label in labels), labels
    return [label.energy for label in labels]


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory):
    """Where the workers have their temporary files."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        yield folder


def our_processes():
    """Every descendant, without the database server that other tests keep for the session."""
    descendants = psutil.Process().children(recursive=True)
    servers = {p.pid for p in psutil.process_iter(["name"]) if p.info["name"] == "postgres"}
    return [p for p in descendants if p.pid not in servers]


@pytest.fixture(scope="module")
def results(scratch):
    """Every behavior once, among good frames, by two workers."""
    frames = {behavior: behaving(behavior) for behavior in BEHAVIORS}
    good = [behaving("good", 0.1 * i) for i in range(1, 11)]
    limits = Labeling(time_limit_s=0.5, memory_limit_gb=1.0, n_workers=2)
    labeler = Labeler(MOODY, limits, level_of_theory(MOODY))
    by_id = {r.frame_id: r for r in labeler.label_all([*frames.values(), *good])}
    assert len(by_id) == len(frames) + len(good)
    assert all(isinstance(by_id[frame.frame_id], Label) for frame in good)
    return {behavior: by_id[frame.frame_id] for behavior, frame in frames.items()}


@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_each_misbehavior_costs_one_label_and_has_its_reason(results, behavior):
    result = results[behavior]
    assert getattr(result, "reason", None) == REASONS[behavior]
    if REASONS[behavior] is not None:
        assert "\n" not in result.message
        assert len(result.message) < 500
        assert result.level_of_theory == level_of_theory(MOODY)
        may_be_the_machine = result.reason in (FailureReason.CRASH, FailureReason.TIMEOUT)
        assert result.attempts == (2 if may_be_the_machine else 1)


def test_messages_say_what_happened(results):
    assert "SIGSEGV" in results["segv"].message
    assert "about to crash" in results["segv"].message
    assert "thinking" in results["hang"].message
    assert "exit code 3" in results["exit_code"].message
    assert results["raise"].message == "ValueError: no such luck"
    assert "(1, 3), not (2, 3)" in results["wrong_shape"].message
    assert "MemoryError" in results["hog"].message
    assert "labeling.memory_limit_gb" in results["hog"].message


def test_a_hanging_label_takes_its_limit_and_a_crash_takes_no_time(results):
    assert 1.0 <= results["hang"].seconds < 3.0  # twice
    assert results["segv"].seconds < 1.0


@pytest.mark.parametrize("how", ["crash", "hang"])
def test_what_dies_once_is_labeled_and_what_dies_twice_is_not_tried_again(tmp_path, how):
    for n, reason in ((1, None), (2, {"crash": FailureReason.CRASH, "hang": FailureReason.TIMEOUT}[how])):
        folder = tmp_path / str(n)
        folder.mkdir()
        keywords = {"folder": str(folder), "n": n, "how": how}
        weak = ASECalculator(calculator="bad_calculators.Weak", keywords=keywords)
        labeler = Labeler(weak, Labeling(time_limit_s=0.5, n_workers=1), level_of_theory(weak))
        (result,) = labeler.label_all([behaving("good")])
        assert getattr(result, "reason", None) == reason
        assert [file.read_text() for file in folder.iterdir()] == ["xx"]


def test_memory_is_shared_among_the_processes_unless_it_is_given():
    def limit(**settings):
        return Labeler(MOODY, Labeling(**settings), level_of_theory(MOODY)).memory_limit

    assert limit(memory_limit_gb=0.5) == 5 * 10**8
    assert limit(n_workers=1) == max(memory_bytes(), 2 * 10**9)
    assert limit(n_workers=10**6) == 2 * 10**9


def test_no_process_and_no_file_is_left(results, scratch):
    assert results
    assert our_processes() == []
    assert list(scratch.iterdir()) == []


def test_each_label_has_a_new_calculator_in_a_new_process_in_an_empty_folder(results):
    frames = [behaving("good", 0.1 * i) for i in range(6)]
    assert curious("calls", frames, n_workers=2) == [1.0] * 6
    assert curious("files", frames, n_workers=2) == [0.0] * 6
    assert len(set(curious("pid", frames, n_workers=2))) == 6


def test_workers_have_one_thread_and_no_torch(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert curious("threads", [behaving("good")]) == [1.0]
    assert curious("torch", [behaving("good")]) == [0.0]


def test_frames_are_taken_as_they_are_needed():
    taken = []

    def frames():
        for i in range(20):
            taken.append(i)
            yield behaving("good", 0.1 * i)

    labels = Labeler(MOODY, Labeling(n_workers=2), level_of_theory(MOODY)).label_all(frames())
    next(labels)
    assert len(taken) <= 2
    assert len(list(labels)) == 19


def test_stopping_early_ends_the_processes():
    labels = Labeler(MOODY, Labeling(n_workers=2), level_of_theory(MOODY)).label_all(
        [behaving("good"), behaving("hang"), behaving("good", 1.0), behaving("hang_deaf")]
    )
    next(labels)
    assert our_processes()
    labels.close()
    assert our_processes() == []


def test_no_process_is_started_without_a_frame(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert list(run_isolated(nap, [], n_workers=2, time_limit=1.0)) == []


def test_a_killed_watcher_costs_its_label_and_is_replaced():
    results = run_isolated(nap, [30.0, 0.0, 0.1, 0.2, 0.3], n_workers=2, time_limit=60.0)
    seen = [next(results)[0]]
    lanes = our_processes()[0].children()
    sleeping = next(lane for lane in lanes if lane.children())
    sleeping.kill()
    rest = list(results)
    outcomes = {item: outcome for item, outcome, _ in rest}
    assert sorted([*seen, *outcomes]) == [0.0, 0.1, 0.2, 0.3, 30.0]
    failed = outcomes.pop(30.0)
    assert isinstance(failed, Failed)
    assert failed.reason == FailureReason.CRASH
    for seconds, outcome in outcomes.items():  # the numbers as they were
        assert outcome.energy == seconds
        np.testing.assert_array_equal(outcome.forces, [[0.1, -np.inf, np.nan]])


@pytest.mark.parametrize(
    "said", [b"", b"junk", b"[1, 2]", b"\x80\x04K\x01.", b"[0, null, 1, [[1], [2, 3]], null]"]
)
def test_what_is_no_outcome_is_refused(said):
    with pytest.raises((ValueError, TypeError)):
        from_json(said)


def test_a_module_that_cannot_be_loaded_is_named():
    with pytest.raises(CalculatorUnavailableError, match="no_such_module"):
        list(run_isolated(nap, [1.0], n_workers=1, time_limit=1.0, preload=("no_such_module",)))


def test_it_works_in_a_thread():
    energies = []
    thread = threading.Thread(target=lambda: energies.extend(curious("calls", [behaving("good")])))
    thread.start()
    thread.join(60)
    assert energies == [1.0]


DRIVER = """
import sys
sys.path[:] = {path!r}
print("script runs", flush=True)
from al_engine.config import ASECalculator, Labeling
from al_engine.labeling import Labeler, level_of_theory
from test_isolation import MOODY, behaving
labeler = Labeler(MOODY, Labeling(n_workers=2, time_limit_s={limit}), level_of_theory(MOODY))
for result in labeler.label_all([behaving(b) for b in {behaviors!r}]):
    print(type(result).__name__, flush=True)
"""


def driver(tmp_path, behaviors, limit=600.0):
    """A script without a guard around its main part."""
    path = [str(Path(__file__).parent), str(Path(al_engine.__file__).parents[1]), *sys.path]
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(path=path, behaviors=behaviors, limit=limit))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)


def test_a_script_without_a_guard_runs_once(tmp_path):
    out, _ = driver(tmp_path, ["good", "good"]).communicate(timeout=60)
    assert out.split("\n") == ["script runs", "Label", "Label", ""]


def test_kill_9_of_the_driver_leaves_no_process_and_no_file(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = driver(tmp_path, ["good", "orphan", "hang_deaf"])
    with process:
        for _ in range(2):
            process.stdout.readline()  # "script runs", "Label"
        until = time.monotonic() + 20
        while len(family := psutil.Process(process.pid).children(recursive=True)) < 6:
            assert time.monotonic() < until, family  # parent, 2 lanes, 2 labels, an orphan
            time.sleep(0.05)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert list(scratch.iterdir()) == []
