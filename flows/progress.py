"""Who watches a stage at work: the terminal, a Prefect artifact, both, or nobody; and the log, at times."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from al_engine.progress import Progress

log = logging.getLogger("al_engine.campaign")
LOG_EVERY_S = 30.0

Watcher = Callable[[str, int, int, str], None]
"""Called with stage, done, total and one line of news."""

_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let `watcher` hear of the progress of every stage that runs inside."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def progress_of(stage: str) -> Progress:
    """Return the callback that a stage reports to; it adds the expected end to the news.

    Time is counted from the first report, which says where a stage begins (it may go on from a checkpoint),
    and anew where one of its parts begins.
    """
    began, first, last = 0.0, 0, (-1, -1)
    logged = time.monotonic()

    def report(done: int, total: int, news: str = "") -> None:
        nonlocal began, first, last, logged
        now = time.monotonic()
        if total != last[1] or done < last[0]:
            began, first = now, done
        last = done, total
        if first < done < total:
            left = (now - began) * (total - done) / (done - first)
            news = ", ".join(filter(None, (news, f"{in_words(left)} left")))
        if done < total and now >= logged + LOG_EVERY_S:
            logged = now
            log.info("%s: %d of %d, %s", stage, done, total, news)
        for watcher in _watchers.get():
            watcher(stage, done, total, news)

    return report


def in_words(seconds: float) -> str:
    """Return a time as precisely as an expectation can be: "about 40 s", "about 12 min", "about 3.5 h"."""
    if seconds < 99.5:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"about {seconds / 3600:.1f} h"
