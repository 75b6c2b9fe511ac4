"""Labels: one for each frame and level of theory, as first written; what differs is kept beside it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from al_engine.errors import InputError
from al_engine.records import Label
from db.columns import pack, utc_now
from db.rows import chunked, insert_new
from db.schema import FrameRow, LabelConflictRow, LabelRow, LevelRow


class Recorded(StrEnum):
    """What became of a result that was handed in."""

    NEW = "new"
    KNOWN = "known"
    CONFLICT = "conflict"


def level_id(connection: Connection, name: str) -> int:
    """Return the number of a level of theory, stored if it is new."""
    query = select(LevelRow.id).where(LevelRow.name == name)
    found = connection.execute(query).scalar()
    if found is None:
        insert_new(connection, LevelRow, [{"name": name}])
        found = connection.execute(query).scalar_one()
    return found


def put_labels(connection: Connection, labels: Sequence[Label]) -> list[Recorded]:
    """Store labels whose frames are stored; the first value of a frame and level stays.

    Returns:
        For each label: NEW; KNOWN, with the same bits; CONFLICT, stored in `label_conflicts`.

    Raises:
        InputError: A value that is not finite, or of the wrong shape.
    """
    _check(connection, labels)
    levels = {name: level_id(connection, name) for name in sorted({item.level_of_theory for item in labels})}
    keys = [(item.frame_id, levels[item.level_of_theory]) for item in labels]
    first = dict(zip(reversed(keys), reversed(labels), strict=True))
    now = utc_now()
    inserted = insert_new(
        connection,
        LabelRow,
        [{**_row(first[key], now), "frame_id": key[0], "level_id": key[1]} for key in sorted(first)],
        (LabelRow.frame_id, LabelRow.level_id),
    )
    new, outcome = set(inserted), []
    doubtful = sorted({key for key, n in Counter(keys).items() if n > 1 or key not in new})
    stored = _stored(connection, doubtful)
    for key, item in zip(keys, labels, strict=True):
        if key in new:
            outcome.append(Recorded.NEW)
            new.remove(key)
        elif stored[key][1] == digest(item):
            outcome.append(Recorded.KNOWN)
        else:
            row = {**_row(item, now), "label_id": stored[key][0], "digest": digest(item)}
            insert_new(connection, LabelConflictRow, [{k: row[k] for k in _CONFLICT_COLUMNS}])
            outcome.append(Recorded.CONFLICT)
    return outcome


_CONFLICT_COLUMNS = ("label_id", "digest", "energy_ev", "forces", "stress", "created_at")


def digest(label: Label) -> str:
    """Return the SHA-256 (hex) of the bits of energy, forces and stress."""
    content = hashlib.sha256(pack(np.array([label.energy + 0.0], dtype=np.float64)))
    content.update(pack(_real(label.forces)))
    content.update(b"" if label.stress is None else pack(_real(label.stress)))
    return content.hexdigest()


def largest_force(forces: NDArray[np.float64]) -> float:
    """Return the norm of the longest force, eV/Å."""
    return float(np.sqrt((forces**2).sum(axis=1).max()))


def flaw(label: Label, n_atoms: int) -> str | None:
    """Return what is wrong with the shapes or values of a label, if anything."""
    if np.shape(label.forces) != (n_atoms, 3):
        return f"forces must be ({n_atoms}, 3), got {np.shape(label.forces)}"
    stress = np.zeros((3, 3)) if label.stress is None else label.stress
    if np.shape(stress) != (3, 3):
        return f"stress must be (3, 3), got {np.shape(stress)}"
    finite = np.isfinite(label.energy) and np.isfinite(label.forces).all() and np.isfinite(stress).all()
    return None if finite else "energy (eV), forces (eV/Å) or stress (eV/Å³) are not finite"


LABEL_COLUMNS = (LevelRow.name, LabelRow.energy_ev, LabelRow.forces, LabelRow.stress, LabelRow.seconds)
"""What a `Label` holds beside the frame's id, in its order."""


def _stored(
    connection: Connection, keys: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, str]]:
    """Return number and digest of stored labels by frame and level."""
    found: dict[tuple[str, int], tuple[int, str]] = {}
    for some in chunked(keys):
        for row in connection.execute(
            select(LabelRow.id, LabelRow.level_id, LabelRow.frame_id, *LABEL_COLUMNS)
            .join(LevelRow, LevelRow.id == LabelRow.level_id)
            .where(LabelRow.frame_id.in_([frame_id for frame_id, _ in some]))
        ):
            found[row[2], row[1]] = (row[0], digest(Label(*row[2:])))
    return found


def _check(connection: Connection, labels: Sequence[Label]) -> None:
    n_atoms: dict[str, int] = {}
    for ids in chunked(sorted({item.frame_id for item in labels})):
        rows = connection.execute(select(FrameRow.id, FrameRow.n_atoms).where(FrameRow.id.in_(ids)))
        n_atoms.update((row[0], row[1]) for row in rows)
    for item in labels:
        where = f"label of frame {item.frame_id}"
        if item.frame_id not in n_atoms:
            raise InputError(f"{where}: the database has no such frame")
        problem = flaw(item, n_atoms[item.frame_id])
        if problem is not None:
            raise InputError(f"{where}: {problem}")


def _real(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)


def _row(label: Label, now: str) -> dict[str, Any]:
    forces = _real(label.forces)
    return {
        "energy_ev": float(label.energy) + 0.0,
        "max_force_ev_per_ang": largest_force(forces),
        "forces": forces,
        "stress": None if label.stress is None else _real(label.stress),
        "seconds": float(label.seconds),
        "created_at": now,
    }
