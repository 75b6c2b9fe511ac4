"""Structures by an expression in the form of `ase db`; parameters are bound, never pasted into SQL."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from ase.data import chemical_symbols
from ase.db.core import parse_selection
from sqlalchemy import ColumnElement, Double, column, literal, select, table

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import Label, Origin
from db import campaigns
from db.frames import get_frames
from db.labels import LABEL_COLUMNS
from db.rows import chunked
from db.schema import FormulaElementRow, LabelRow, LevelRow
from db.store import Store


@dataclass(frozen=True)
class StructureRow:
    """A labeled structure or a candidate: the columns of `labeled_structures` and every uncertainty.

    Without a campaign where a label was imported alone; without energy where there is no label.
    """

    campaign: str | None
    generation: int | None
    frame_id: str
    formula: str
    n_atoms: int
    charge: int
    multiplicity: int
    level_of_theory: str
    energy_ev: float | None
    max_force_ev_per_ang: float | None
    energy_sd_ev: float | None
    energy_sd_aleatoric_ev: float | None
    energy_sd_epistemic_ev: float | None
    force_sd_max_ev_per_ang: float | None
    force_sd_max_aleatoric_ev_per_ang: float | None
    force_sd_max_epistemic_ev_per_ang: float | None
    force_sd_mean_ev_per_ang: float | None
    information_nats: float | None
    reason: str
    split: str
    status: str
    created_at: str | None


@dataclass(frozen=True)
class Structure:
    """A row with its frame, and its label where it has one."""

    row: StructureRow
    frame: Frame
    label: Label | None


_VIEW = table("structures", *(column(item.name) for item in fields(StructureRow)))
_NUMBERS: Final = {
    re.sub(r"_(ev|nats).*", "", item.name).replace("_sd_max", "_sd").replace("n_atoms", "natoms"): item.name
    for item in fields(StructureRow)
    if not str(item.type).startswith("str")
}
"""Columns by the keys of an expression: their names without unit, `force_sd` for the largest."""
_WORDS: Final = {
    "status": (*(state.value for state in CandidateState), "withdrawn"),
    "reason": tuple(origin.value for origin in Origin),
    "split": ("train", "audit"),
}
_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
ALLOWED: Final = (
    "comparisons joined by commas, such as 'C>1,natoms<20,force_sd>0.2': elements, formula=..., "
    + ", ".join([*_NUMBERS, *_WORDS])
)
_LONGEST = 1000


def query(
    store: Store, expression: str, campaign: str | None = None, limit: int | None = None
) -> list[StructureRow]:
    """Return the structures that an expression selects, by campaign, generation and frame id.

    Without a condition on `status`, only labeled ones; an empty expression selects all of them.

    Raises:
        InputError: An expression that cannot be read, or no such campaign.
    """
    conditions = [_condition(expression, *comparison) for comparison in _parse(expression)]
    order = (_VIEW.c.campaign.nulls_first(), _VIEW.c.generation, _VIEW.c.frame_id)
    statement = select(_VIEW).where(*conditions).order_by(*order).limit(limit)
    with store.database.read() as connection:
        if campaign is not None:
            campaigns.key(connection, campaign)
            statement = statement.where(_VIEW.c.campaign == campaign)
        return [StructureRow(*row) for row in connection.execute(statement)]


def load(store: Store, rows: Sequence[StructureRow]) -> Iterator[Structure]:
    """Yield the rows with their arrays, some hundred at a time."""
    for some in chunked(rows):
        ids = [row.frame_id for row in some]
        with store.database.read() as connection:
            frames = get_frames(connection, ids)
            labels = {
                (found[0], found[1]): Label(*found)
                for found in connection.execute(
                    select(LabelRow.frame_id, *LABEL_COLUMNS)
                    .join(LevelRow, LevelRow.id == LabelRow.level_id)
                    .where(LabelRow.frame_id.in_(ids))
                )
            }
        for row, frame in zip(some, frames, strict=True):
            yield Structure(row, frame, labels.get((row.frame_id, row.level_of_theory)))


def _refused(expression: str, why: str) -> InputError:
    shown = expression if len(expression) <= 80 else expression[:77] + "..."
    return InputError(f"query = {shown!r}: {why}; allowed: {ALLOWED}")


def _parse(expression: str) -> list[tuple[str | int, str, Any]]:
    """Return (key, operator, value); a key is an atomic number or a word."""
    if len(expression) > _LONGEST:
        raise _refused(expression, f"longer than {_LONGEST} characters")
    try:
        words, comparisons = parse_selection(expression.strip())
    except Exception as error:  # the parser raises many kinds
        raise _refused(expression, " ".join(str(error).split()) or type(error).__name__) from None
    if words:
        raise _refused(expression, f"unknown word {words[0]!r}")
    if not any(key == "status" for key, _, _ in comparisons):
        comparisons.append(("status", "=", CandidateState.LABELED.value))
    return list(comparisons)


def _condition(expression: str, key: str | int, sign: str, value: Any) -> ColumnElement[bool]:
    compare = _OPERATORS[sign]
    if key in _WORDS:
        words = _WORDS[str(key)]
        if value not in words or sign not in ("=", "!="):
            raise _refused(expression, f"{key} is = or != one of {', '.join(words)}")
        return compare(_VIEW.c[str(key)], str(value))  # type: ignore[no-any-return]
    if not isinstance(key, int) and key not in _NUMBERS:
        raise _refused(expression, f"unknown key {key!r}")
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        name = chemical_symbols[key] if isinstance(key, int) else key
        raise _refused(expression, f"{name} must be compared with a number, not {value!r}")
    bound: ColumnElement[float] = literal(number, Double())
    if isinstance(key, int):
        return _element(key, compare, number, bound)
    return compare(_VIEW.c[_NUMBERS[key]], bound)  # type: ignore[no-any-return]


def _element(
    z: int, compare: Callable[[Any, Any], Any], number: float, bound: ColumnElement[float]
) -> ColumnElement[bool]:
    """Compare the count of an element, which is 0 in a formula without it."""
    counted = select(FormulaElementRow.formula).where(FormulaElementRow.z == z)
    if compare(0, number):
        return _VIEW.c.formula.not_in(counted.where(~compare(FormulaElementRow.count, bound)))
    return _VIEW.c.formula.in_(counted.where(compare(FormulaElementRow.count, bound)))
