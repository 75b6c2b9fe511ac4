"""How far a campaign is from its tolerance, and how many labels its learning curve expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from al_engine.config import Stop
from al_engine.records import Generation, Metric

FRAME_ERROR = "frame_error_ev_per_ang"
"""Name of the metric: the quantile `stop.fraction` of the frames' largest force errors."""
_FLAT = 0.05
"""An exponent below this is no fall: ten times the labels would take a tenth off the error."""


@dataclass(frozen=True)
class Outlook:
    """What is to be expected.

    Attributes:
        frame_error_ev_per_ang: What `stop.fraction` of the newest audit's frames are within; None: no audit.
        exponent: b of error ~ labels^-b; None where it cannot be fitted.
        labels_expected: Labels of the whole campaign at which that error meets the tolerance; None as above.
        sentence: The same in words.
    """

    frame_error_ev_per_ang: float | None
    exponent: float | None
    labels_expected: float | None
    sentence: str


def outlook(
    generations: Sequence[Generation], metrics_of: Callable[[int], Sequence[Metric]], stop: Stop
) -> Outlook:
    """Fit error = a n^-b to the force RMSEs on the audits, and follow it from the newest frame error.

    n are the labels of the generations before, b is fitted by least squares of the logarithms, and
    n_expected = n_now (frame error / tolerance)^(1/b): the largest errors are taken to fall as the RMSE does.

    Args:
        generations: Of a campaign, in order; one that is not closed yet is left out.
        metrics_of: What was measured in a generation, by its number.
        stop: What the user wants.
    """
    closed = [g for g in generations if g.closed_at is not None]
    before = np.cumsum([0, *(g.n_labeled for g in closed)])
    points = [
        (n, g.force_rmse_ev_per_ang)
        for n, g in zip(before[:-1].tolist(), closed, strict=True)
        if n > 0 and g.force_rmse_ev_per_ang
    ]
    key = ("audit", "forces", FRAME_ERROR)
    metrics = metrics_of(closed[-1].number) if closed else ()
    error = next((m.value for m in metrics if (m.split, m.quantity, m.name) == key), None)
    if error is None or not np.isfinite(error) or not points:
        return Outlook(None, None, None, "No audit yet: how far it is from converged is not known.")
    distance = (
        f"{100 * stop.fraction:.4g} % of the newest audit's frames have forces within {error:.3g} eV/Å, "
        f"{stop.tolerance_ev_per_ang:.3g} eV/Å are wanted"
    )
    exponent = _exponent(np.log(points)) if len({n for n, _ in points}) > 1 else None
    if error <= stop.tolerance_ev_per_ang:
        return Outlook(error, exponent, None, f"{distance}: what lacks is a proof, not labels to train on.")
    if exponent is None:
        return Outlook(error, None, None, f"{distance}; a learning curve needs two generations.")
    if exponent < _FLAT:
        return Outlook(error, exponent, None, f"{distance}; the errors do not fall with the labels.")
    expected = points[-1][0] * (error / stop.tolerance_ev_per_ang) ** (1 / exponent)
    more = expected - float(before[-1])
    there = f"{_round(more)} more than there are" if more > 0 else "and there are as many by now"
    sentence = (
        f"{distance}; errors fall as labels^-{exponent:.2g}, so that about {_round(expected)} labels are "
        f"expected to be enough, {there}."
    )
    return Outlook(error, exponent, expected, sentence)


def _round(n: float) -> str:
    """Two digits of a number of labels, without a power of ten."""
    return f"{float(f'{n:.2g}'):.0f}"


def _exponent(logs: np.ndarray) -> float:
    """Return minus the least-squares slope of the second column by the first."""
    n, error = (logs - logs.mean(axis=0)).T
    return float(-(n @ error) / (n @ n))
