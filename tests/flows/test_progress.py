"""The expected end of a stage, from the time that its first part took."""

import logging

import pytest

from flows import progress, tasks
from flows.progress import in_words, progress_of, watching

Told = list[tuple[str, int, int, str]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_rest_takes_as_long_a_step_as_what_was_done(clock: list[float]):
    told: Told = []
    with watching(lambda *news: told.append(news)):
        report = progress_of("train")
        clock[0] += 7  # before the first report: no step was taken then
        report(200, 800, "")  # goes on from a checkpoint
        for done, after in ((300, 10), (500, 10), (800, 40)):
            clock[0] += after
            report(done, 800, "news")
    assert [news for *_, news in told] == ["", "news, about 50 s left", "news, about 20 s left", "news"]


def test_another_part_of_a_stage_is_timed_anew(clock: list[float]):
    told: Told = []
    with watching(lambda *news: told.append(news)):
        report = progress_of("explore")
        for total in (10, 20):
            report(0, total, "")
            clock[0] += total
            report(5, total, "")
    assert [news for *_, news in told] == ["", "about 10 s left", "", "about 60 s left"]


def test_the_log_hears_of_it_twice_a_minute(clock: list[float], caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "al_engine.campaign"):
        report = progress_of("train")
        for done in range(0, 101, 5):
            report(done, 100, "fine")
            clock[0] += 5
    assert caplog.messages == [
        "train: 30 of 100, fine, about 70 s left",
        "train: 60 of 100, fine, about 40 s left",
        "train: 90 of 100, fine, about 10 s left",
    ]


def test_the_bar_in_the_ui_says_it_too(clock: list[float], monkeypatch: pytest.MonkeyPatch):
    shown: list[object] = []
    monkeypatch.setattr(tasks, "is_there", lambda: True)
    monkeypatch.setattr(tasks, "create_progress_artifact", lambda **_: "id")
    monkeypatch.setattr(tasks, "update_progress_artifact", lambda **values: shown.append(values))
    with watching(tasks.progress_bar("ethanol", 1)):
        report = progress_of("train")
        for done in (0, 50):
            report(done, 100, "fine")
            clock[0] += 10
    assert shown == [{"artifact_id": "id", "progress": 50, "description": "train: fine, about 10 s left"}]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 0 s"), (99, "about 99 s"), (600, "about 10 min"), (9000, "about 2.5 h")],
)
def test_words(seconds: float, words: str):
    assert in_words(seconds) == words
