"""Frames in and out of the database, by content id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, select

from al_engine.errors import InputError
from al_engine.frames import Frame
from db.rows import chunked, insert_new
from db.schema import FormulaElementRow, FrameRow

FRAME_COLUMNS = (
    FrameRow.numbers, FrameRow.positions, FrameRow.cell, FrameRow.pbc,
    FrameRow.charge, FrameRow.multiplicity, FrameRow.fixed,
)  # fmt: skip
"""What `frame_of` needs, in its order."""


def frame_of(row: Row[Any] | Sequence[Any]) -> Frame:
    """Build a frame from the values of `FRAME_COLUMNS`."""
    numbers, positions, cell, pbc, charge, multiplicity, fixed = tuple(row)
    periodic: NDArray[np.bool_] = np.array([letter == "T" for letter in pbc])
    cell = np.zeros((3, 3)) if cell is None else cell
    return Frame(numbers, positions, cell, periodic, charge, multiplicity, fixed)


def put_frames(connection: Connection, frames: Iterable[Frame]) -> None:
    """Store frames that are not there yet."""
    by_id = {frame.frame_id: frame for frame in frames}
    insert_new(connection, FrameRow, [_row(by_id[frame_id]) for frame_id in sorted(by_id)])
    formulas = {frame.formula: frame for frame in by_id.values()}
    elements = [
        {"formula": formula, "z": z, "count": count}
        for formula in sorted(formulas)
        for z, count in sorted(Counter(formulas[formula].numbers.tolist()).items())
    ]
    insert_new(connection, FormulaElementRow, elements)


def get_frames(connection: Connection, frame_ids: Sequence[str]) -> list[Frame]:
    """Return frames in the order asked.

    Raises:
        InputError: A frame that is not there.
    """
    found: dict[str, Frame] = {}
    for ids in chunked(sorted(set(frame_ids))):
        for row in connection.execute(select(FrameRow.id, *FRAME_COLUMNS).where(FrameRow.id.in_(ids))):
            found[row[0]] = frame_of(row[1:])
    missing = sorted(set(frame_ids) - found.keys())
    if missing:
        raise InputError(f"frame id = {missing[0]!r}: the database has no such frame")
    return [found[frame_id] for frame_id in frame_ids]


def _row(frame: Frame) -> dict[str, Any]:
    return {
        "id": frame.frame_id,
        "formula": frame.formula,
        "n_atoms": frame.n_atoms,
        "charge": frame.charge,
        "multiplicity": frame.multiplicity,
        "pbc": "".join("FT"[int(periodic)] for periodic in frame.pbc),
        "numbers": frame.numbers,
        "positions": frame.positions,
        "cell": frame.cell if frame.cell.any() else None,
        "fixed": frame.fixed_mask if frame.fixed_mask.any() else None,
    }
