"""What a generation cost, what was measured, and whether the campaign may stop."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from al_engine.lifecycle import GenerationState
from al_engine.records import Cost, Criterion, Metric, StopDecision
from db.columns import utc_now
from db.rows import get_records, put_records
from db.schema import LedgerRow, MetricRow, StopCriterionRow, StopDecisionRow


def put_cost(connection: Connection, generation_id: int, reached: GenerationState, cost: Cost) -> None:
    """Write a row of the ledger; `reached` says for which arrow it was paid."""
    put_records(
        connection, LedgerRow, [cost], generation_id=generation_id, state=reached, created_at=utc_now()
    )


def put_metrics(connection: Connection, generation_id: int, metrics: Sequence[Metric]) -> None:
    """Write measured numbers."""
    put_records(connection, MetricRow, metrics, generation_id=generation_id)


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
