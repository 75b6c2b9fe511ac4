"""Live progress in a terminal: a bar for the stage at work, a line for what is done; elsewhere only lines."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from flows.progress import watching


class _Lines(logging.Handler):
    """Prints what the campaign logs, above the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else ""
        self._console.print(record.getMessage(), style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def live(console: Console) -> Iterator[None]:
    """Show what runs inside."""
    logger, lines = logging.getLogger("al_engine"), _Lines(console)
    logger.setLevel(logging.INFO)
    logger.addHandler(lines)
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), TextColumn("{task.fields[news]}", style="dim"),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    shown: dict[str, TaskID] = {}

    def watch(stage: str, done: int, total: int, news: str) -> None:
        if stage not in shown:
            for other in shown.values():
                bars.remove_task(other)
            shown.clear()
            shown[stage] = bars.add_task(stage, total=total, news=news)
        bars.update(shown[stage], completed=done, total=total, news=news)
        if done >= total:
            bars.remove_task(shown.pop(stage))

    try:
        with bars, watching(watch):
            yield
    finally:
        logger.removeHandler(lines)
