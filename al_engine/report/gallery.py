"""Structures side by side in one PNG, for pages that run no script."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from al_engine.report.figures import png
from al_engine.report.picture import Line, Picture

_COLUMNS = 4
_HALF = 100.0
"""Half of a picture's width in its own units."""
_POINTS_PER_UNIT, _SMALLEST = 0.8, 5.0
"""Size of a symbol by the radius of its atom; the size from which on it can be read, in points."""


def gallery(pictures: Sequence[tuple[str, Picture]], largest_sd: float | None) -> bytes:
    """Draw pictures with their captions.

    Args:
        pictures: At least one caption and picture.
        largest_sd: What the end of the color scale stands for, eV/Å; None: colors say nothing.
    """
    n_rows = -(-len(pictures) // _COLUMNS)
    figure = Figure(figsize=(10, 2.5 * n_rows + 0.2), dpi=110, layout="constrained")
    places: list[Axes] = list(np.ravel(figure.subplots(n_rows, _COLUMNS)))
    for axes in places:
        axes.set(xlim=(-_HALF, _HALF), ylim=(_HALF, -_HALF), aspect="equal")
        axes.axis("off")
    for axes, (caption, drawn) in zip(places, pictures, strict=False):
        axes.set_title(caption, fontsize=8)
        _draw(axes, drawn)
    if largest_sd is not None:
        scale = ScalarMappable(Normalize(0, largest_sd), "viridis")
        figure.colorbar(scale, ax=places, label="force sd of an atom (eV/Å)", shrink=0.8, aspect=30)
    return png(figure)


def _draw(axes: Axes, drawn: Picture) -> None:
    """Draw lines, then atoms, the nearest last; each with its symbol where that can be read."""
    for lines, color, width in ((drawn.edges, "#6b6b6b", 0.6), (drawn.bonds, "#9a9a9a", 2.5)):
        axes.add_collection(LineCollection([_ends(p) for p in lines], colors=color, linewidths=width))
    for k, atom in enumerate(drawn.atoms):
        here = (atom.x, atom.y)
        axes.add_patch(Circle(here, atom.radius, fc=atom.color, ec="white", lw=0.5, zorder=2))
        size = min(8.0, _POINTS_PER_UNIT * atom.radius)
        nearer = drawn.atoms[k + 1 :]
        if size >= _SMALLEST and all(math.dist(here, (a.x, a.y)) > a.radius + size for a in nearer):
            axes.text(*here, atom.symbol, size=size, color=atom.ink, ha="center", va="center_baseline")


def _ends(line: Line) -> list[tuple[float, float]]:
    return [(line[0], line[1]), (line[3], line[4])]
