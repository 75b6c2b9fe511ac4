"""Numbers of a campaign in words and tables."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from al_engine.evaluation import SizeBin
from al_engine.records import Cost, Generation, LabelFailure, Metric, StopDecision

if TYPE_CHECKING:
    from al_engine.stages.backtest import JudgedAudit

_QUANTITIES = {
    "energy": "energy",
    "forces": "force component",
    "atoms": "force on an atom",
    "joint_low_rank": "label, exact covariance",
    "joint_blocks": "label, as if independent",
}
_MEASURES = {
    "mean z²": ("mean_z2",),
    "NLL": ("nll", "nll_per_label"),
    "CRPS": ("crps_ev", "crps_ev_per_ang"),
    "ENCE": ("ence",),
    "coverage 90 %": ("coverage_90",),
    "Spearman": ("spearman",),
    "AUROC": ("auroc_worst_10_percent",),
    "KS": ("ks_distance",),
}
CALIBRATION_NOTE = (
    "The total should have mean z² 1 and coverage 0.9. NLL in nats a number (label: energy and all forces); "
    "CRPS in eV or eV/Å; AUROC: the worst tenth told from the rest; KS: distance from chi²."
)

_LONGEST = 300
"""Characters of a failure's message."""

Row = dict[str, str]


def closing_line(metrics: Sequence[Metric], stop: StopDecision) -> str:
    """Say on one line what a generation showed."""
    found = {m.name: m.value for m in metrics if (m.split, m.quantity) == ("audit", "forces")}
    verdict = "converged" if stop.converged else "not converged"
    if not found:
        return verdict
    rmse, z2 = (number(found.get(name)) for name in ("rmse_ev_per_ang", "mean_z2"))
    return f"{verdict}; force RMSE on the audit {rmse} eV/Å, mean z² {z2}"


def number(value: float | None, scale: float = 1.0) -> str:
    """Write a number for people; a missing one is a dash."""
    return "–" if value is None else f"{scale * value:.4g}"


def error_rows(metrics: Sequence[Metric]) -> list[Row]:
    """One row an error, one column a split; what `calibration_rows` shows is left out."""
    elsewhere = {name for names in _MEASURES.values() for name in names}
    shown = [m for m in metrics if not m.quantity.startswith("parts.")]
    shown = [m for m in shown if m.name not in elsewhere or m.quantity == "stress"]
    values = {(m.quantity, m.name, m.split): m.value for m in shown}
    splits = sorted({m.split for m in shown})
    return [
        {"error": f"{quantity} {name}", **{s: number(values.get((quantity, name, s))) for s in splits}}
        for quantity, name in dict.fromkeys((m.quantity, m.name) for m in shown)
    ]


def calibration_rows(metrics: Sequence[Metric]) -> list[Row]:
    """One row for each quantity and part of the uncertainty of a split, one column a measure."""
    values = {(m.quantity, m.name): m.value for m in metrics}
    rows = []
    for key, quantity in _QUANTITIES.items():
        for part in ("total", "aleatoric", "epistemic"):
            named = {name: value for (q, name), value in values.items() if q == f"parts.{part}.{key}"}
            if named:
                cells = {
                    head: number(next((named[n] for n in names if n in named), None))
                    for head, names in _MEASURES.items()
                }
                rows.append({"quantity": quantity, "part": part, **cells})
    return rows


def size_rows(bins: Iterable[SizeBin]) -> list[Row]:
    """One row a range of sizes."""
    return [
        {
            "atoms": f"{b.smallest_n_atoms} to {b.largest_n_atoms}",
            "frames": str(b.n_frames),
            "energy RMSE eV/atom": number(b.energy.rmse_ev_per_atom),
            "force RMSE eV/Å": number(b.forces.rmse_ev_per_ang),
            "force mean z²": number(b.forces.mean_z2),
            "coverage 90 %": number(b.forces.coverage_90),
        }
        for b in bins
    ]


def generation_rows(generations: Iterable[Generation]) -> list[Row]:
    """One row a generation."""
    return [
        {
            "generation": str(g.number),
            "labels": str(g.n_labeled),
            "failed": str(g.n_failed),
            "force RMSE (eV/Å)": number(g.force_rmse_ev_per_ang),
            "energy RMSE (meV/atom)": number(g.energy_rmse_ev_per_atom, 1000),
            "force mean z²": number(g.force_mean_z2),
            "training (s)": f"{g.seconds_training:.1f}",
            "exploring (s)": f"{g.seconds_exploring:.1f}",
            "labeling (s)": f"{g.seconds_labeling:.1f}",
        }
        for g in generations
    ]


def criterion_rows(stop: StopDecision) -> list[Row]:
    """One row a condition of the stop rule."""
    return [
        {"criterion": c.name, "value": number(c.value), "wanted": c.wanted, "met": "yes" if c.met else "no"}
        for c in stop.criteria
    ]


def failure_rows(failures: Sequence[tuple[int, LabelFailure]]) -> list[Row]:
    """One row a reason, the most frequent first; failures come with the number of their generation."""
    counts = Counter(failure.reason for _, failure in failures)
    rows = []
    for reason, count in counts.most_common():
        own = [(generation, failure) for generation, failure in failures if failure.reason is reason]
        message = own[-1][1].message
        rows.append(
            {
                "reason": reason.value,
                "frames": str(count),
                "generations": ", ".join(str(g) for g in sorted({generation for generation, _ in own})),
                "attempts": str(sum(failure.attempts for _, failure in own)),
                "newest message": message if len(message) <= _LONGEST else message[:_LONGEST] + " …",
            }
        )
    return rows


def cost_rows(costs: Mapping[int, Sequence[Cost]]) -> list[Row]:
    """One row a generation and one for all, a column of seconds for each stage."""
    stages = list(dict.fromkeys(cost.stage for some in costs.values() for cost in some))
    rows = []
    every = [cost for some in costs.values() for cost in some]
    for name, some in (*((str(n), some) for n, some in costs.items()), ("all", every)) if every else ():
        seconds = {stage: sum(c.seconds for c in some if c.stage == stage) for stage in stages}
        cells = {f"{stage} (s)": f"{value:.1f}" for stage, value in seconds.items()}
        devices = ", ".join(sorted({cost.device for cost in some}))
        total = f"{sum(seconds.values()):.1f}"
        rows.append({"generation": name, **cells, "total (s)": total, "devices": devices})
    return rows


def audit_rows(audits: Sequence[JudgedAudit], tolerance: float) -> list[Row]:
    """One row an audit; a frame fails where its largest force error is above the tolerance, eV/Å."""
    return [
        {
            "audit of generation": str(audit.generation),
            "frames": str(len(audit.max_force_errors)),
            "trained on": str(audit.n_learned),
            "fail": str(sum(error > tolerance for error in audit.max_force_errors)),
            "median (eV/Å)": number(statistics.median(audit.max_force_errors)),
            "worst (eV/Å)": number(max(audit.max_force_errors)),
        }
        for audit in audits
    ]


def table(rows: Sequence[Row]) -> str:
    """Write rows with the same columns as Markdown."""
    head = f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}"
    lines = (" | ".join(_one_line(cell) for cell in row.values()) for row in rows)
    return "\n".join([head, *(f"| {line} |" for line in lines)])


def _one_line(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
