"""A generation in words and tables (Markdown)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from al_engine.records import Generation, Metric, StopDecision, Walker

_HEAD = (
    "| generation | labels | failed | force RMSE (eV/Å) | energy RMSE (meV/atom) | force mean z² "
    "| training (s) | exploring (s) | labeling (s) |\n|---|---|---|---|---|---|---|---|---|"
)


def generation_markdown(
    generations: Sequence[Generation],
    metrics: Sequence[Metric],
    walkers: Sequence[Walker],
    stop: StopDecision | None,
) -> str:
    """Describe the newest of these generations beside the ones before it."""
    newest = generations[-1]
    parts = [f"# {newest.campaign}, generation {newest.number}"]
    if stop is not None:
        parts.append(stop.sentence)
    parts.append("\n".join([_HEAD, *map(_row, generations)]))
    parts.append(
        "Errors are those of the ensemble that explored, on audit frames it was not trained on. "
        "The target of mean z² is 1."
    )
    if metrics:
        parts.append("## Errors and calibration\n\n" + _metrics_table(metrics))
    if walkers:
        exits = Counter(walker.exit_reason.value for walker in walkers)
        rows = [f"| {reason} | {count} |" for reason, count in exits.most_common()]
        parts.append("## Exits of walkers\n\n" + "\n".join(["| reason | walkers |\n|---|---|", *rows]))
    if stop is not None and stop.criteria:
        rows = [
            f"| {c.name} | {number(c.value)} | {c.wanted} | {'yes' if c.met else 'no'} |"
            for c in stop.criteria
        ]
        head = "| criterion | value | wanted | met |\n|---|---|---|---|"
        parts.append("## Stop criteria\n\n" + "\n".join([head, *rows]))
    return "\n\n".join(parts) + "\n"


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


def _row(g: Generation) -> str:
    cells = (
        str(g.number), str(g.n_labeled), str(g.n_failed), number(g.force_rmse_ev_per_ang),
        number(g.energy_rmse_ev_per_atom, 1000), number(g.force_mean_z2), f"{g.seconds_training:.1f}",
        f"{g.seconds_exploring:.1f}", f"{g.seconds_labeling:.1f}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _metrics_table(metrics: Sequence[Metric]) -> str:
    """One row a quantity, one column a split."""
    splits = sorted({m.split for m in metrics})
    values = {(m.quantity, m.name, m.split): m.value for m in metrics}
    names = sorted({(m.quantity, m.name) for m in metrics})
    head = f"| quantity | {' | '.join(splits)} |\n|---|{'---|' * len(splits)}"
    rows = [
        f"| {quantity} {name} | {' | '.join(number(values.get((quantity, name, s))) for s in splits)} |"
        for quantity, name in names
    ]
    return "\n".join([head, *rows])
