"""The errors of a broken promise; an expected scientific failure is a returned value instead."""

from collections.abc import Iterator
from contextlib import contextmanager


class AlEngineError(Exception):
    """Base of every error this application raises on purpose."""


class InputError(AlEngineError):
    """The user's input is wrong; the message says where, what it is, and what is allowed.

    `key` is the path in the campaign file that it comes from, where it comes from there.
    """

    key: tuple[str | int, ...] = ()


class ConfigError(InputError):
    """A campaign file is wrong: one line with file, line, key, value and what is allowed."""

    def __init__(self, *, file: str, line: int | None, key: str, value: object, allowed: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        where = f"{file}, line {line}" if line is not None else file
        super().__init__(f"{where}: {key} = {shown}: {allowed}")
        self.file, self.line, self.dotted, self.value, self.allowed = file, line, key, value, allowed


class StructureError(InputError):
    """A structure cannot be used: no atoms, not finite, atoms on top of each other, wrong electrons."""


class CalculatorUnavailableError(InputError):
    """The reference calculator cannot be imported or does not know an element."""


class DatabaseError(InputError):
    """The database cannot be reached, is newer than this program, or refuses a write."""


class StateError(AlEngineError):
    """A life cycle was asked for a move that it does not have."""


class StoppedError(AlEngineError):
    """A stage had to end before it was done; the same call goes on where it was."""


@contextmanager
def blaming(*key: str | int) -> Iterator[None]:
    """Name the key of the campaign file that an `InputError` from inside is due to."""
    try:
        yield
    except InputError as error:
        error.key = error.key or key
        raise
