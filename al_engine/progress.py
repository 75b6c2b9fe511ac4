"""How a long stage tells of its progress."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, total, one line of news)."""


def silent(_done: int, _total: int, _news: str) -> None:
    """Tell nobody."""
