"""Parameters that several commands share."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from al_engine.errors import InputError

Database = Annotated[
    str | None,
    Parameter(
        name="--database",
        help="SQLAlchemy URL; default: AL_ENGINE_DATABASE, else sqlite:///al_engine.db in this folder.",
    ),
]


def check_output(path: Path, option: str = "--output") -> None:
    """Raise before any work where a file could not be written at its end.

    Raises:
        InputError: It is a folder, or its folder is not there or not writable.
    """
    if path.is_dir():
        raise InputError(f"{option} = {str(path)!r}: it is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{option} = {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{option} = {str(path)!r}: it cannot be written there")
