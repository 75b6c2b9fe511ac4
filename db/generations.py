"""Generations: their life cycle as compare-and-set, what it cost, and the decision at its end."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, column, delete, insert, select, table, update

from al_engine.errors import StateError
from al_engine.lifecycle import GENERATION_MOVES, GenerationState, check_generation_move
from al_engine.records import Cost, Criterion, Generation, StopDecision
from db import campaigns
from db.columns import utc_now
from db.rows import get_records, insert_new, put_records
from db.schema import GenerationRow, LedgerRow, StopCriterionRow, StopDecisionRow, TrainingStateRow

_ENDED = (GenerationState.CLOSED, GenerationState.ABORTED)
_NAMES = {"number": "generation", "state": "status"}
"""Columns of the view that the record names otherwise."""
_SUMMARY = table(
    "generation_summary", *(column(_NAMES.get(item.name, item.name)) for item in fields(Generation))
)


def key(connection: Connection, campaign: str, number: int) -> int:
    """Return a generation's key; StateError where there is none."""
    campaign_id = campaigns.key(connection, campaign)
    found = connection.execute(
        select(GenerationRow.id).where(
            GenerationRow.campaign_id == campaign_id, GenerationRow.number == number
        )
    ).scalar()
    if found is None:
        raise StateError(f"campaign {campaign!r} has no generation {number}")
    return found


def lock(
    connection: Connection, campaign: str, number: int, *, shared: bool = False
) -> tuple[int, GenerationState]:
    """Return a generation's key and state; its row is locked until the transaction ends.

    Whoever writes candidates and labels holds it, shared if only one of each: so no two can wait for
    each other. (SQLite has one writer at a time, and no such lock.)
    """
    this = GenerationRow.id == key(connection, campaign, number)
    query = select(GenerationRow.id, GenerationRow.state).where(this)
    row = connection.execute(query.with_for_update(read=shared, key_share=not shared)).one()
    return row[0], row[1]


def lock_all(connection: Connection, campaign: str) -> list[int]:
    """Return the keys of a campaign's generations, in order; the rows are locked as by `lock`."""
    campaign_id = campaigns.key(connection, campaign)
    rows = select(GenerationRow.id).where(GenerationRow.campaign_id == campaign_id)
    locked = rows.order_by(GenerationRow.number).with_for_update(key_share=True)
    return list(connection.execute(locked).scalars())


def open_(connection: Connection, campaign: str, number: int) -> bool:
    """Open a generation; False where it is there already.

    Raises:
        StateError: The generation before has not ended.
    """
    campaign_id = campaigns.key(connection, campaign)
    before = (GenerationRow.campaign_id == campaign_id, GenerationRow.number == number - 1)
    state = connection.execute(select(GenerationRow.state).where(*before)).scalar()
    if number < 0 or (number > 0 and state not in _ENDED):
        raise StateError(
            f"generation {number} of {campaign!r} cannot open: the one before is "
            f"{'missing' if state is None else state.value!r}"
        )
    row = {
        "campaign_id": campaign_id,
        "number": number,
        "state": GenerationState.OPEN,
        "started_at": utc_now(),
    }
    return bool(insert_new(connection, GenerationRow, [row], (GenerationRow.id,)))


def summaries(connection: Connection, campaign: str, number: int | None = None) -> list[Generation]:
    """Return the generations of a campaign, or one of them, in order of number."""
    query = select(_SUMMARY).where(_SUMMARY.c.campaign == campaign).order_by(_SUMMARY.c.generation)
    if number is not None:
        query = query.where(_SUMMARY.c.generation == number)
    return [
        Generation(row[0], row[1], GenerationState(row[2]), *row[3:]) for row in connection.execute(query)
    ]


def advance(
    connection: Connection,
    campaign: str,
    number: int,
    move: tuple[GenerationState, GenerationState],
    cost: Cost,
) -> int | None:
    """Move a generation to the next state and note the cost; its row is locked until the transaction ends.

    Returns:
        Its key; None where it is there or past it already.

    Raises:
        StateError: It is in a state before `move[0]`, or aborted.
    """
    old, new = move
    generation_id, state = lock(connection, campaign, number)
    if new in _before(state):
        return None
    if state is not old:
        raise StateError(
            f"generation {number} of {campaign!r} is {state.value!r}; it must be {old.value!r} "
            f"to become {new.value!r}"
        )
    check_generation_move(old, new)
    ended = _ended(connection, campaign, number) if new in _ENDED else {}
    connection.execute(
        update(GenerationRow).where(GenerationRow.id == generation_id).values({"state": new, **ended})
    )
    put_records(connection, LedgerRow, [cost], generation_id=generation_id, state=new, created_at=utc_now())
    return generation_id


def _before(state: GenerationState) -> set[GenerationState]:
    """Return the state and those that a generation in it may have gone through."""
    if state is GenerationState.ABORTED:
        return {state}
    return {state}.union(*(_before(old) for old, moves in GENERATION_MOVES.items() if state in moves))


def _ended(connection: Connection, campaign: str, number: int) -> dict[str, Any]:
    """Return the counts that the view keeps showing once a generation has ended, and the time of the end."""
    (found,) = summaries(connection, campaign, number)
    names = ("n_walkers", "n_candidates", "n_selected", "n_labeled", "n_failed")
    return {**{name: getattr(found, name) for name in names}, "closed_at": utc_now()}


def abort(connection: Connection, campaign: str, number: int, reason: str) -> bool:
    """Abort a generation, with the reason; False where it is aborted already."""
    generation_id, state = lock(connection, campaign, number)
    if state is GenerationState.ABORTED:
        return False
    check_generation_move(state, GenerationState.ABORTED)
    ended = {"state": GenerationState.ABORTED, "abort_reason": reason, **_ended(connection, campaign, number)}
    connection.execute(update(GenerationRow).where(GenerationRow.id == generation_id).values(ended))
    connection.execute(delete(TrainingStateRow).where(TrainingStateRow.generation_id == generation_id))
    return True


def put_stop(connection: Connection, generation_id: int, stop: StopDecision) -> None:
    """Write the decision on stopping."""
    row = {"generation_id": generation_id, "converged": stop.converged, "sentence": stop.sentence}
    connection.execute(insert(StopDecisionRow), row)
    for number, criterion in enumerate(stop.criteria):
        put_records(connection, StopCriterionRow, [criterion], generation_id=generation_id, number=number)


def get_stop(connection: Connection, generation_id: int) -> StopDecision | None:
    """Return the decision on stopping."""
    query = select(StopDecisionRow.converged, StopDecisionRow.sentence)
    row = connection.execute(query.where(StopDecisionRow.generation_id == generation_id)).first()
    if row is None:
        return None
    criteria = get_records(connection, StopCriterionRow, Criterion, generation_id)
    return StopDecision(row[0], tuple(criteria), row[1])
