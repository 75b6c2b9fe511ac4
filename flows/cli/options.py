"""Parameters that several commands share."""

from typing import Annotated

from cyclopts import Parameter

Database = Annotated[
    str | None,
    Parameter(
        name="--database",
        help="SQLAlchemy URL; default: AL_ENGINE_DATABASE, else sqlite:///al_engine.db in this folder.",
    ),
]
