"""A generation in words and tables (Markdown)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from al_engine.records import Cost, Walker
from al_engine.report.record import CampaignRecord
from al_engine.report.text import (
    CALIBRATION_NOTE,
    Row,
    calibration_rows,
    criterion_rows,
    error_rows,
    failure_rows,
    generation_rows,
    table,
)


def generation_markdown(record: CampaignRecord, walkers: Sequence[Walker]) -> str:
    """Describe the newest generation, with its walkers, beside the ones before it."""
    newest = record.generations[-1]
    metrics, stop = record.metrics[newest.number], record.decisions.get(newest.number)
    parts = [f"# {newest.campaign}, generation {newest.number}"]
    if stop is not None:
        parts.append(stop.sentence)
    summary = generation_rows(record.generations)
    parts.append(table([{k: v for k, v in row.items() if not k.endswith("(s)")} for row in summary]))
    parts.append(
        "Errors are those of the ensemble that explored, on audit frames it was not trained on. "
        "The target of mean z² is 1."
    )
    if metrics:
        parts.append("## Errors\n\n" + table(error_rows(metrics)))
    for split in sorted({m.split for m in metrics if m.quantity.startswith("parts.")}):
        rows = calibration_rows([m for m in metrics if m.split == split])
        parts.append(f"## Calibration, {split} frames\n\n{table(rows)}\n\n{CALIBRATION_NOTE}")
    exits = Counter(walker.exit_reason.value for walker in walkers).most_common()
    for title, rows in (
        ("Exits of walkers", [{"reason": reason, "walkers": str(count)} for reason, count in exits]),
        ("Stop criteria", criterion_rows(stop) if stop else []),
        ("Labels that failed", failure_rows(record.failures)),
        ("Costs", _costs(record.costs, newest.number)),
    ):
        if rows:
            parts.append(f"## {title}\n\n{table(rows)}")
    return "\n\n".join(parts) + "\n"


def _costs(costs: Mapping[int, Sequence[Cost]], number: int) -> list[Row]:
    """One row a stage: few columns, as a page of the UI is narrow."""
    every = [cost for some in costs.values() for cost in some]
    own = costs.get(number, ())
    return [
        {
            "stage": stage,
            "this generation (s)": f"{sum(c.seconds for c in own if c.stage == stage):.1f}",
            "all (s)": f"{sum(c.seconds for c in every if c.stage == stage):.1f}",
            "labels": str(sum(c.n_labels for c in own if c.stage == stage)),
        }
        for stage in dict.fromkeys(cost.stage for cost in every)
    ]
