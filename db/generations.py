"""Generations: their life cycle as compare-and-set."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, column, func, select, table, update

from al_engine.errors import StateError
from al_engine.lifecycle import GENERATION_MOVES, CandidateState, GenerationState, check_generation_move
from al_engine.records import Generation
from db import campaigns
from db.columns import utc_now
from db.rows import insert_new
from db.schema import CandidateRow, GenerationRow, WalkerRow

_ENDED = (GenerationState.CLOSED, GenerationState.ABORTED)
_SUMMARY = table(
    "generation_summary",
    *(
        column(name)
        for name in (
            "campaign", "generation", "status", "n_walkers", "n_candidates", "n_selected", "n_labeled",
            "n_failed", "energy_rmse_ev_per_atom", "force_rmse_ev_per_ang", "force_mean_z2",
            "seconds_training", "seconds_exploring", "seconds_labeling", "started_at", "closed_at",
        )
    ),
)  # fmt: skip


def key(connection: Connection, campaign: str, number: int) -> int:
    """Return a generation's key.

    Raises:
        InputError: No such campaign.
        StateError: No such generation.
    """
    campaign_id = campaigns.key(connection, campaign)
    found = connection.execute(
        select(GenerationRow.id).where(
            GenerationRow.campaign_id == campaign_id, GenerationRow.number == number
        )
    ).scalar()
    if found is None:
        raise StateError(f"campaign {campaign!r} has no generation {number}")
    return found


def lock(connection: Connection, campaign: str, number: int, *, shared: bool = False) -> int:
    """Return a generation's key; its row is locked until the transaction ends.

    Whoever writes candidates and labels holds it, shared if only one of each: so no two can wait for
    each other. (SQLite has one writer at a time, and no such lock.)
    """
    generation_id = key(connection, campaign, number)
    row = select(GenerationRow.id).where(GenerationRow.id == generation_id)
    connection.execute(row.with_for_update(read=shared, key_share=not shared))
    return generation_id


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
    connection: Connection, campaign: str, number: int, move: tuple[GenerationState, GenerationState]
) -> int | None:
    """Move a generation from a state to the next; the row is locked until the transaction ends.

    Returns:
        Its key; None where it is there or past it already.

    Raises:
        StateError: It is in a state before `move[0]`, or aborted.
    """
    old, new = move
    generation_id = lock(connection, campaign, number)
    this = GenerationRow.id == generation_id
    state = connection.execute(select(GenerationRow.state).where(this)).scalar_one()
    if new in _before(state):
        return None
    if state is not old:
        raise StateError(
            f"generation {number} of {campaign!r} is {state.value!r}; it must be {old.value!r} "
            f"to become {new.value!r}"
        )
    check_generation_move(old, new)
    ended = _counts(connection, generation_id) if new in _ENDED else {}
    connection.execute(update(GenerationRow).where(this).values({"state": new, **ended}))
    return generation_id


def _before(state: GenerationState) -> set[GenerationState]:
    """Return the state and those that a generation in it may have gone through."""
    if state is GenerationState.ABORTED:
        return {state}
    return {state}.union(*(_before(old) for old, moves in GENERATION_MOVES.items() if state in moves))


def _counts(connection: Connection, generation_id: int) -> dict[str, Any]:
    """Return the counts that the view shows once a generation has ended, and the time of the end."""
    walkers = select(func.count()).where(WalkerRow.generation_id == generation_id)
    by_state = (
        select(CandidateRow.state, func.count())
        .where(CandidateRow.generation_id == generation_id)
        .group_by(CandidateRow.state)
    )
    counts = {row[0]: row[1] for row in connection.execute(by_state)}
    unchosen = (CandidateState.VISITED, CandidateState.REJECTED)
    return {
        "n_walkers": connection.execute(walkers).scalar_one(),
        "n_candidates": sum(counts.values()),
        "n_selected": sum(n for state, n in counts.items() if state not in unchosen),
        "n_labeled": counts.get(CandidateState.LABELED, 0),
        "n_failed": counts.get(CandidateState.FAILED, 0),
        "closed_at": utc_now(),
    }


def abort(connection: Connection, campaign: str, number: int, reason: str) -> bool:
    """Abort a generation, with the reason; False where it is aborted already."""
    generation_id = lock(connection, campaign, number)
    this = GenerationRow.id == generation_id
    state = connection.execute(select(GenerationRow.state).where(this)).scalar_one()
    if state is GenerationState.ABORTED:
        return False
    check_generation_move(state, GenerationState.ABORTED)
    ended = {"state": GenerationState.ABORTED, "abort_reason": reason, **_counts(connection, generation_id)}
    connection.execute(update(GenerationRow).where(this).values(ended))
    return True
