"""Figures of a page: inline SVG that takes the page's text color, with what they show in words."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from al_engine.records import Generation, Metric
from al_engine.report import figures
from al_engine.report.judged import Judged
from al_engine.report.record import CampaignRecord
from al_engine.report.text import number

_MANY = 1000
"""Points from which on a curve is a picture inside the SVG: as text it would be megabytes."""


@dataclass(frozen=True)
class Panel:
    """A figure.

    Attributes:
        title: Its heading.
        words: What is drawn.
        alt: What it shows, for those who do not see it.
        svg: The drawing, without a size of its own.
    """

    title: str
    words: str
    alt: str
    svg: Markup


def panels(record: CampaignRecord, judged: Judged | None) -> Iterator[Panel]:
    """Draw what there is: without an ensemble, only what the first one will learn from."""
    if judged is None:
        yield _panel(
            "Forces of the labels",
            "What the first ensemble will learn from.",
            f"Histogram of the largest force of {len(record.labeled)} labels.",
            lambda axes: figures.largest_forces(axes, record.labeled),
        )
        return
    errors = {g.number: g.force_rmse_ev_per_ang for g in record.generations if g.force_rmse_ev_per_ang}
    yield _panel(
        "Learning curve",
        "Force errors of each ensemble on its audit, by the labels it was trained on.",
        _listed("Force RMSE on the audit by generation", errors),
        lambda axes: figures.learning_curve(axes, record.generations),
    )
    arms = {split: _rmse(record.generations, record.metrics, split) for split in ("selected", "audit")}
    yield _panel(
        "Selected against uniform",
        "Errors on the frames that were selected, and on those drawn uniformly from the same walks, both "
        "before the ensemble learned them. The further apart, the more a selected frame has to teach.",
        " ".join(_listed(f"Force RMSE on {split} frames", values) for split, values in arms.items()),
        lambda axes: figures.selected_against_audit(axes, arms),
    )
    yield from _judged(judged)


def _judged(judged: Judged) -> Iterator[Panel]:
    """Draw the newest ensemble on the labels of its generation."""
    prediction, forces = judged.audit
    scores, where = judged.scores, f"{judged.scores.n_frames} audit frames of generation {judged.generation}"
    sd = np.repeat(prediction.total.force_sd, 3)
    yield _panel(
        "Parity",
        f"Forces of the {where}, with the predicted standard deviation.",
        f"Predicted against reference force components; RMSE {number(scores.forces.rmse_ev_per_ang)} eV/Å.",
        lambda axes: figures.parity(axes, forces.ravel(), prediction.forces.ravel(), sd),
    )
    yield _panel(
        "Calibration",
        f"Share of the errors within central intervals of each level; right is the diagonal ({where}).",
        f"The 90 % intervals hold {100 * scores.energy.coverage_90:.3g} % of the energies and "
        f"{100 * scores.forces.coverage_90:.3g} % of the force components.",
        lambda axes: figures.coverage(axes, scores),
    )
    yield _panel(
        "Errors by predicted deviation",
        f"Errors of bins of equal predicted deviation; right is the diagonal ({where}).",
        f"Mean z² is {number(scores.energy.mean_z2)} of the energies and {number(scores.forces.mean_z2)} of "
        "the force components; 1 is right.",
        lambda axes: figures.error_by_sd(axes, scores),
    )
    yield _panel(
        "Uncertainty against error",
        f"The largest force sd and the largest force error of each frame of generation {judged.generation}. "
        "A largest error is the worst of many components, so it mostly lies above the line.",
        f"{len(judged.items)} frames, errors up to {number(float(judged.max_force_errors.max()))} eV/Å; "
        f"AUROC of the worst tenth of the audit {number(scores.forces.auroc_worst_10_percent)}.",
        lambda axes: figures.error_against_sd(
            axes, judged.max_force_sds, judged.max_force_errors, judged.is_audit
        ),
    )


def _rmse(
    generations: Sequence[Generation], metrics: Mapping[int, Sequence[Metric]], split: str
) -> dict[int, float]:
    key = (split, "forces", "rmse_ev_per_ang")
    found = ((g.number, m) for g in generations for m in metrics.get(g.number, ()))
    return {n: m.value for n, m in found if (m.split, m.quantity, m.name) == key}


def _listed(what: str, values: Mapping[int, float]) -> str:
    shown = ", ".join(f"{n}: {number(value)}" for n, value in values.items())
    return f"{what}, eV/Å: {shown or 'none yet'}."


def _panel(title: str, words: str, alt: str, draw: Callable[[Axes], None]) -> Panel:
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure = Figure(figsize=(4.4, 3.7), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set_title("")
        for line in axes.lines:
            line.set_rasterized(len(np.asarray(line.get_xdata())) > _MANY)
        for collection in axes.collections:
            collection.set_rasterized(len(collection.get_paths()) > _MANY)
        buffer = io.StringIO()
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=150, transparent=True, metadata=empty)
    return Panel(title, words, alt, _inline(buffer.getvalue(), re.sub(r"\W", "-", title.lower())))


def _inline(text: str, name: str) -> Markup:
    """Make an SVG file a part of a page: ids of its own, the page's text color, no size."""
    text = text[text.index("<svg") :].replace("#000000", "currentColor")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    head = re.search(r'viewBox="[^"]*"', text)
    inner = text[text.index(">") + 1 :]
    return Markup(f'<svg {head.group() if head else ""} aria-hidden="true">{inner}')  # noqa: S704
