"""Figures as PNG bytes, by matplotlib's objects; no state between two of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binom

from al_engine.evaluation import Evaluation, evaluate
from al_engine.model.ensemble import Ensemble
from al_engine.records import Generation, LabeledFrame, Origin, TrainedModel, Walker

_BLUE, _ORANGE, _GRAY = "#1f6fb4", "#d9730d", "#6b6b6b"
_MOST_IN_LEGEND = 8


def generation_figure(
    number: int,
    model: TrainedModel | None,
    labeled: Sequence[LabeledFrame],
    generations: Sequence[Generation],
    device: str = "cpu",
) -> bytes:
    """Draw a closed generation: the learning curve; its audit's forces and what was promised of them.

    Args:
        number: The generation.
        model: The ensemble that explored; None in generation 0, which shows its labels instead.
        labeled: Labels of the campaign, at least those of this generation.
        generations: All generations of the campaign so far.
        device: Where the ensemble predicts.
    """
    own = [item for item in labeled if item.generation == number]
    audit = [item for item in own if item.origin is Origin.AUDIT]
    if model is not None and audit:
        figure = Figure(figsize=(10, 8.8), dpi=110, layout="constrained")
        (left, right), below = figure.subplots(2, 2)
        prediction = Ensemble.from_bytes(model.weights, device=device).predict([i.frame for i in audit])
        reference = np.concatenate([item.label.forces for item in audit])
        sd = np.repeat(prediction.total.force_sd, 3)
        parity(left, reference.ravel(), prediction.forces.ravel(), sd)
        left.set_title(f"Forces of {len(audit)} audit frames, generation {number}")
        scores = evaluate(prediction, [item.label.energy for item in audit], reference)
        coverage(below[0], scores)
        error_by_sd(below[1], scores)
    else:
        figure = Figure(figsize=(10, 4.4), dpi=110, layout="constrained")
        left, right = figure.subplots(1, 2)
        largest_forces(left, own)
        left.set_title(f"Labels of generation {number}")
    learning_curve(right, [g for g in generations if g.number <= number])
    return png(figure)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file's bytes, with few colors: Prefect keeps all of them in its database."""
    canvas, buffer = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.quantize(128).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def parity(
    axes: Axes, reference: NDArray[np.float64], predicted: NDArray[np.float64], sd: NDArray[np.float64]
) -> None:
    """Plot predicted against reference components, eV/Å, with the predicted standard deviation."""
    axes.errorbar(
        reference, predicted, yerr=sd, fmt=".", ms=4, color=_BLUE, ecolor=_BLUE, elinewidth=0.5, alpha=0.6,
        label="component ± predicted sd",
    )  # fmt: skip
    reach = 1.05 * float(np.abs(np.concatenate([reference, predicted])).max())
    axes.plot([-reach, reach], [-reach, reach], color=_GRAY, lw=1, label="equal")
    axes.set(xlabel="reference force (eV/Å)", ylabel="predicted force (eV/Å)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.legend(frameon=False, loc="upper left")


def coverage(axes: Axes, scores: Evaluation) -> None:
    """Plot the observed share of errors in central intervals against their level.

    The band holds 90 % of the shares that so many independent energies give if all is right.
    """
    curves = scores.reliability
    level = np.array(curves.energy_ev.nominal)
    low, high = (binom.ppf(q, scores.n_frames, level) / scores.n_frames for q in (0.05, 0.95))
    axes.fill_between(
        level, low, high, color=_GRAY, alpha=0.2, lw=0, label=f"chance, {scores.n_frames} frames"
    )
    axes.plot([0, 1], [0, 1], color=_GRAY, lw=1)
    for curve, name, color in (
        (curves.energy_ev, "energies", _ORANGE), (curves.forces_ev_per_ang, "force components", _BLUE)
    ):  # fmt: skip
        axes.plot(level, curve.observed, ".-", color=color, label=name)
    axes.set(xlabel="level of the predicted interval", ylabel="share of errors within", title="Coverage")
    axes.legend(frameon=False, loc="upper left")


def error_by_sd(axes: Axes, scores: Evaluation) -> None:
    """Plot the RMSE of bins against the deviation predicted for them."""
    curves = scores.reliability
    for curve, name, color in (
        (curves.energy_ev, "energies (eV)", _ORANGE),
        (curves.forces_ev_per_ang, "force components (eV/Å)", _BLUE),
    ):
        axes.plot(curve.rmv, curve.rmse, "o-", ms=4, color=color, label=name)
    values = [value for curve in vars(curves).values() for value in (*curve.rmv, *curve.rmse)]
    reach = [value for value in values if 0 < value < np.inf]
    if reach:
        axes.plot([min(reach), max(reach)], [min(reach), max(reach)], color=_GRAY, lw=1, label="equal")
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            plain_ticks(axis)
    axes.set(xlabel="predicted deviation (root mean variance of a bin)", ylabel="RMSE of the bin")
    axes.set_title("Errors by predicted deviation")
    axes.legend(frameon=False, loc="upper left")


def largest_forces(axes: Axes, items: Sequence[LabeledFrame]) -> None:
    """Plot the largest force of each label, eV/Å: what the first ensemble will learn from."""
    largest = [float(np.linalg.norm(item.label.forces, axis=1).max()) for item in items]
    axes.hist(largest, bins=12, color=_BLUE)
    axes.set(xlabel="largest force on an atom (eV/Å)", ylabel="labels")


def learning_curve(axes: Axes, generations: Sequence[Generation]) -> None:
    """Plot the error on each audit, not trained on, against the labels that the ensemble had."""
    points, n_labels = [], 0
    for generation in generations:
        if generation.force_rmse_ev_per_ang is not None:
            points.append((n_labels, generation.force_rmse_ev_per_ang))
        n_labels += generation.n_labeled
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, "o-", color=_ORANGE)
        axes.set(yscale="log")
        plain_ticks(axes.yaxis)
    else:
        axes.text(0.5, 0.5, "no ensemble yet", ha="center", va="center", transform=axes.transAxes)
    axes.set(xlabel="labels", ylabel="force RMSE on the audit (eV/Å)", title="Learning curve")


def selected_against_audit(axes: Axes, arms: Mapping[str, Mapping[int, float]]) -> None:
    """Plot the force RMSE (eV/Å) of each generation on its selected and on its audit frames."""
    for (split, values), color in zip(arms.items(), (_ORANGE, _BLUE), strict=True):
        axes.plot(list(values), list(values.values()), "o-", color=color, label=f"{split} frames")
    if any(arms.values()):
        axes.set(yscale="log")
        plain_ticks(axes.yaxis)
    axes.set(xlabel="generation", ylabel="force RMSE (eV/Å)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)


def error_against_sd(
    axes: Axes, sd: NDArray[np.float64], error: NDArray[np.float64], is_audit: NDArray[np.bool_]
) -> None:
    """Plot the largest force error of each frame against its largest force sd, both eV/Å."""
    for chosen, name, color in ((~is_audit, "selected", _ORANGE), (is_audit, "audit", _BLUE)):
        axes.plot(sd[chosen], error[chosen], ".", color=color, label=f"{name} frames", alpha=0.7)
    axes.margins(0.12)
    reach = [float(sd.min()), float(sd.max())]
    axes.plot(reach, reach, color=_GRAY, lw=1, label="equal")
    axes.set(
        xscale="log", yscale="log", xlabel="largest force sd (eV/Å)", ylabel="largest force error (eV/Å)"
    )
    for axis in (axes.xaxis, axes.yaxis):
        plain_ticks(axis)
    axes.legend(frameon=False)


def walker_traces(walkers: Sequence[Walker]) -> bytes:
    """Draw temperature and largest force sd of each walker along its steps; a cross: it stopped early.

    Args:
        walkers: At least one; the color is its set temperature.
    """
    figure = Figure(figsize=(10, 4.4), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2)
    temperatures = sorted({walker.temperature for walker in walkers})
    colors = mpl.colormaps["plasma"](np.linspace(0, 0.85, len(temperatures)))
    for axes, column in zip(panels, (2, 4), strict=True):
        for walker in walkers:
            color = colors[temperatures.index(walker.temperature)]
            rows = walker.trace[np.isfinite(walker.trace).all(axis=1)]
            axes.plot(rows[:, 0], rows[:, column], "-", lw=0.8, alpha=0.8, color=color)
            if walker.n_steps < walker.n_planned:
                axes.plot(rows[-1:, 0], rows[-1:, column], "x", ms=5, color=color)
        axes.set(xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].set(ylabel="temperature (K)", title="Temperature")
    panels[1].set(ylabel="largest force sd of an atom (eV/Å)", title="Uncertainty", yscale="log")
    plain_ticks(panels[1].yaxis)
    shown = [Line2D([], [], color=c, label=f"{t:g} K") for t, c in zip(temperatures, colors, strict=True)]
    figure.legend(handles=shown[:_MOST_IN_LEGEND], title="set to", frameon=False, loc="outside right upper")
    return png(figure)


def plain_ticks(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis in full, few enough to be read."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
