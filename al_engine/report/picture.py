"""A frame as a picture that a script can turn: points in space, drawn as seen from the front."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import matplotlib as mpl
import numpy as np
from ase.data import chemical_symbols, covalent_radii
from matplotlib.colors import to_hex

from al_engine.frames import Frame
from al_engine.prediction import Array

MAX_ATOMS = 300
"""Of a larger frame, so many next to the worst atom are drawn."""
_HALF = 100.0
"""Half of the picture's width; nothing leaves it, however it is turned."""
_BOND = 1.25
"""Atoms closer than this times the sum of their covalent radii are joined by a line."""
_WHITE_INK_BELOW = 0.179
"""Luminance at which black and white text have the same contrast, 4.6."""

Line = tuple[float, ...]


@dataclass(frozen=True)
class DrawnAtom:
    """An atom: x to the right, y downwards, z towards the eye."""

    x: float
    y: float
    z: float
    radius: float
    symbol: str
    color: str
    ink: str
    title: str


@dataclass(frozen=True)
class Picture:
    """Atoms, the farthest first, and lines (two ends, six numbers) between them or along the cell."""

    atoms: tuple[DrawnAtom, ...]
    bonds: tuple[Line, ...]
    edges: tuple[Line, ...]
    is_part: bool


def picture(frame: Frame, force_sd: Array, force_error: Array, largest_sd: float) -> Picture:
    """Draw a frame, each atom in the color of its predicted force sd.

    Args:
        frame: The frame.
        force_sd: Shape (n_atoms,), eV/Å.
        force_error: Largest error of a component of each atom, shape (n_atoms,), eV/Å.
        largest_sd: What the end of the color scale stands for, eV/Å.
    """
    worst = frame.positions[int(np.argmax(np.nan_to_num(force_error)))]
    distance = np.linalg.norm(frame.positions - worst, axis=1)
    shown = np.sort(np.argsort(distance, kind="stable")[:MAX_ATOMS])
    middle = frame.positions[shown].mean(axis=0)
    axes = _front(frame.positions[shown] - middle)
    points = (frame.positions[shown] - middle) @ axes.T
    numbers = frame.numbers[shown]
    radii = 0.8 * covalent_radii[numbers]
    corners = np.array(list(product((0, 1), repeat=3)))
    cell = (corners @ frame.cell - middle) @ axes.T if frame.is_periodic else np.zeros((0, 3))
    reach = np.linalg.norm(points, axis=1) + radii
    scale = (_HALF - 2) / max([reach.max(), *np.linalg.norm(cell, axis=1)])
    points, cell = (scale * p * [1, -1, 1] for p in (points, cell))
    atoms = []
    for k in np.argsort(points[:, 2], kind="stable"):
        x, y, z, radius = _rounded(*points[k], scale * radii[k])
        n, symbol = shown[k], chemical_symbols[numbers[k]]
        color = color_of(force_sd[n] / largest_sd)
        title = f"{symbol} {n + 1}: force sd {force_sd[n]:.3g}, error {force_error[n]:.3g} eV/Å"
        atoms.append(DrawnAtom(x, y, z, radius, symbol, color, _ink(color), title))
    i, j = np.triu_indices(len(points), 1)
    near = np.linalg.norm(points[i] - points[j], axis=1) < _BOND * scale * (radii[i] + radii[j]) / 0.8
    bonds = tuple(_rounded(*points[a], *points[b]) for a, b in zip(i[near], j[near], strict=True))
    edges = tuple(
        _rounded(*cell[a], *cell[b])
        for a, b in combinations(range(len(cell)), 2)
        if np.abs(corners[a] - corners[b]).sum() == 1
    )
    return Picture(tuple(atoms), bonds, edges, len(shown) < frame.n_atoms)


def color_of(share: float) -> str:
    """Return the color of a place on the scale, 0 to 1, as #rrggbb."""
    return str(to_hex(mpl.colormaps["viridis"](float(np.clip(share, 0, 1)))))


def _ink(color: str) -> str:
    """Return black or white, whichever is read better on a color."""
    rgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "#fff" if linear @ [0.2126, 0.7152, 0.0722] < _WHITE_INK_BELOW else "#000"


def _front(points: Array) -> Array:
    """Return axes, as rows, that show the points at their widest; a rotation, never a mirror."""
    axes: Array = np.linalg.svd(points)[2]
    axes[2] *= np.linalg.det(axes)
    return axes


def _rounded(*values: float) -> Line:
    return tuple(round(float(value), 1) for value in values)
