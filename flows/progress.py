"""Who watches a stage at work: the terminal, a Prefect artifact, both, or nobody."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from al_engine.progress import Progress

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
    """Return the callback that a stage reports to."""

    def report(done: int, total: int, news: str = "") -> None:
        for watcher in _watchers.get():
            watcher(stage, done, total, news)

    return report
