"""Proof that a campaign's rows are whole: hashes, blobs, life cycles, keys."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sqlalchemy import Connection, exists, select

from al_engine.errors import AlEngineError
from al_engine.lifecycle import CandidateState, GenerationState
from al_engine.records import Generation, Label
from db import campaigns, generations
from db.frames import FRAME_COLUMNS, frame_of
from db.labels import LABEL_COLUMNS, flaw, largest_force
from db.rows import chunked
from db.schema import (
    CandidateRow,
    FormulaElementRow,
    FrameRow,
    LabelFailureRow,
    LabelRow,
    LevelRow,
    ModelRow,
)
from db.store import Store

_G, _C = GenerationState, CandidateState
_UNFIT: dict[GenerationState, frozenset[CandidateState]] = {
    _G.OPEN: frozenset({_C.VISITED, _C.SELECTED, _C.AUDIT, _C.REJECTED}),
    _G.TRAINED: frozenset({_C.VISITED, _C.SELECTED, _C.AUDIT, _C.REJECTED}),
    _G.EXPLORED: frozenset({_C.SELECTED, _C.REJECTED}),
    _G.SELECTED: frozenset(),
    _G.LABELED: frozenset({_C.VISITED, _C.SELECTED, _C.AUDIT}),
    _G.CLOSED: frozenset({_C.VISITED, _C.SELECTED, _C.AUDIT}),
    _G.ABORTED: frozenset(),
}
"""States of a candidate that do not go with the state of its generation."""
_MODELED = frozenset({_G.TRAINED, _G.EXPLORED, _G.SELECTED, _G.LABELED, _G.CLOSED})


def verify(store: Store, campaign: str) -> list[str]:
    """Return what is wrong with a campaign, one line each; an empty list is the proof."""
    with store.database.read() as connection:
        level_id, _ = campaigns.level(connection, campaigns.key(connection, campaign))
        problems = list(_sqlite(connection)) if store.database.is_sqlite else []
        for ids in chunked(campaigns.frame_ids(connection, campaign)):
            problems += _readable(lambda some: _frames(connection, some), ids)
            problems += _readable(lambda some: _labels(connection, some, level_id), ids)
        try:
            found = generations.summaries(connection, campaign)
        except ValueError as error:
            return [*problems, f"a generation's state is unknown: {error}"]
        if [item.number for item in found] != list(range(len(found))):
            problems.append(f"generations are not 0, 1, 2 ...: {[item.number for item in found]}")
        for item in found:
            problems += _generation(connection, item, level_id)
    return problems


def _readable(check: Callable[[Sequence[str]], Iterator[str]], ids: Sequence[str]) -> list[str]:
    """Check frames together; one by one where a damaged value stops the reading."""
    try:
        return list(check(ids))
    except (ValueError, LookupError, AlEngineError) as error:
        if len(ids) == 1:
            return [f"frame {ids[0]} or its label is unreadable: {error}"]
        return [line for one in ids for line in _readable(check, [one])]


def _sqlite(connection: Connection) -> Iterator[str]:
    for (line,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if line != "ok":
            yield f"SQLite's integrity check: {line}"
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} refers to a row of {parent} that is not there"


def _frames(connection: Connection, ids: Sequence[str]) -> Iterator[str]:
    stored: dict[str, dict[int, int]] = {}
    elements = select(FormulaElementRow.formula, FormulaElementRow.z, FormulaElementRow.count)
    formulas = select(FrameRow.formula).where(FrameRow.id.in_(ids))
    for formula, z, count in connection.execute(elements.where(FormulaElementRow.formula.in_(formulas))):
        stored.setdefault(formula, {})[z] = count
    query = select(FrameRow.id, FrameRow.formula, FrameRow.n_atoms, *FRAME_COLUMNS)
    for row in map(tuple, connection.execute(query.where(FrameRow.id.in_(ids)))):
        frame_id, formula, n_atoms = row[:3]
        frame = frame_of(row[3:])
        if frame.frame_id != frame_id:
            yield f"frame {frame_id}: its content has the id {frame.frame_id}"
        if (frame.formula, frame.n_atoms) != (formula, n_atoms):
            yield f"frame {frame_id}: formula or number of atoms is not that of its content"
        if dict(Counter(frame.numbers.tolist())) != stored.get(formula):
            yield f"frame {frame_id}: the elements of {formula} are not those stored"


def _labels(connection: Connection, ids: Sequence[str], level_id: int) -> Iterator[str]:
    columns = (FrameRow.n_atoms, LabelRow.max_force_ev_per_ang, LabelRow.frame_id, *LABEL_COLUMNS)
    query = (
        select(*columns)
        .join(FrameRow, FrameRow.id == LabelRow.frame_id)
        .join(LevelRow, LevelRow.id == LabelRow.level_id)
        .where(LabelRow.frame_id.in_(ids), LabelRow.level_id == level_id)
    )
    for n_atoms, max_force, *content in connection.execute(query):
        label = Label(*content)
        problem = flaw(label, n_atoms)
        if problem is None and not np.isclose(largest_force(label.forces), max_force, rtol=1e-12, atol=0):
            problem = f"the largest force is not {max_force} eV/Å"
        if problem is not None:
            yield f"label of frame {label.frame_id}: {problem}"


def _generation(connection: Connection, item: Generation, level_id: int) -> Iterator[str]:
    name = f"generation {item.number}"
    generation_id = generations.key(connection, item.campaign, item.number)
    this = CandidateRow.generation_id == generation_id
    label = exists().where(LabelRow.frame_id == CandidateRow.frame_id, LabelRow.level_id == level_id)
    failure = exists().where(LabelFailureRow.candidate_id == CandidateRow.id)
    query = select(CandidateRow.frame_id, CandidateRow.state, label, failure).where(this)
    try:
        candidates = connection.execute(query).all()
    except LookupError as error:
        yield f"{name}: a candidate's state is unknown: {error}"
        return
    for frame_id, state, has_label, has_failure in candidates:
        if state in _UNFIT[item.state]:
            yield f"{name} is {item.state.value!r}, its candidate {frame_id} {state.value!r}"
        if state is _C.LABELED and not has_label:
            yield f"{name}: candidate {frame_id} is labeled without a label"
        if state is _C.FAILED and not has_failure:
            yield f"{name}: candidate {frame_id} failed without a reason"
    if item.n_candidates > len(candidates):
        yield f"{name}: {item.n_candidates} candidates were counted at close, {len(candidates)} are there"
    weights = select(ModelRow.weights, ModelRow.weights_sha256).where(ModelRow.generation_id == generation_id)
    model = connection.execute(weights).first()
    if model is None and item.number > 0 and item.state in _MODELED:
        yield f"{name} is {item.state.value!r} without a model"
    if model is not None and hashlib.sha256(model[0]).hexdigest() != model[1]:
        yield f"{name}: the weights of the model are not those that were stored"
