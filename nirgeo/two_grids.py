"""Where pixels of one grid lie in another, and how far they reach there.

Positions are in pixels from the outer corner of the first one: (0, 0) is that corner, whatever the
CRS of the two and wherever a globe of longitudes begins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from nirgeo.georeference import map_positions, turned
from nirgeo.grid import Grid

Doubles = NDArray[np.float64]

MARKS: Doubles = np.linspace(0, 1, 65)
"""Parts of the sides of a grid at which it is asked whether another one lies there."""

_REACHES: Doubles = np.linspace(0, 1, 33)
"""Those at which it is measured how far its pixels reach."""


def positions_in(grid: Grid, rows: Doubles, cols: Doubles, other: Grid) -> tuple[Doubles, Doubles]:
    """Positions (n,) of a grid in another one's pixels, exactly; NaN where they have none."""
    place: tuple[Any, Any] | None
    if same_crs(grid, other):
        place = grid.affine @ (cols, rows)
    else:
        place = map_positions(grid, rows, cols, crs_of(other))
    if place is None:
        return np.full(rows.shape, np.nan), np.full(cols.shape, np.nan)
    x, y = (np.asarray(part) for part in place)
    sound = np.isfinite(x) & np.isfinite(y)
    across, down = ~other.affine @ (np.where(sound, x, np.nan), np.where(sound, y, np.nan))
    return down, nearest_turn(other, across)


def any_inside(grid: Grid, other: Grid) -> bool:
    """Whether any of some positions all over a grid lies in another one."""
    return in_both(grid, other, MARKS)[0].size > 0


def in_both(grid: Grid, other: Grid, marks: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Rows and columns in a grid, and in another one, of places of the grid that lie in both.

    ``marks`` are the parts of its height, and of its width, at which the places lie.
    """
    rows, cols = (a.ravel() for a in np.meshgrid(*(marks * side for side in grid.shape)))
    down, across = positions_in(grid, rows, cols, other)
    inside = (down >= 0) & (down <= other.height) & (across >= 0) & (across <= other.width)
    return rows[inside], cols[inside], down[inside], across[inside]


def steps_in(scene: Grid, other: Grid, rows: Doubles, cols: Doubles) -> Doubles:
    """How far one goes in another grid with a step down and one across, at (n,) positions.

    (n, 2, 2): of each step the rows and the columns; not finite where there is no place.
    """
    here, below, beside = (
        np.stack(positions_in(scene, rows + down, cols + across, other), axis=-1)
        for down, across in ((0, 0), (1, 0), (0, 1))
    )
    steps = np.stack((below - here, beside - here), axis=1)
    turn = turn_of(other)
    if turn is not None:  # the globe may end between two of them
        steps[..., 1] = turned(steps[..., 1], 0, turn)
    return steps


def reach_in(scene: Grid, other: Grid) -> float:
    """How far pixels of another grid reach along the scene's rows or columns, at most."""
    rows, cols = (a.ravel() for a in np.meshgrid(*(_REACHES * side for side in scene.shape)))
    reaches = reaches_of(steps_in(scene, other, rows, cols))
    found = reaches[np.isfinite(reaches)]
    return float(found.max()) if len(found) else math.inf


def reaches_of(steps: Doubles) -> Doubles:
    """The same where one goes so far with a step down and one across (…, 2, 2): (…)."""
    (a, b), (c, d) = steps[..., 0, :].T, steps[..., 1, :].T
    area = (a * d - b * c).T
    with np.errstate(divide="ignore", invalid="ignore"):
        # The inverse of a matrix of two: columns of it are a step in the other grid.
        far = np.maximum(np.abs(d.T) + np.abs(c.T), np.abs(b.T) + np.abs(a.T)) / np.abs(area)
    return np.where(np.isfinite(far), far, np.inf)


def nearest_turn(grid: Grid, cols: Doubles) -> Doubles:
    """Columns of a grid of longitudes, a turn of the globe back or on, if that is where it lies."""
    turn = turn_of(grid)
    nearest: Doubles = cols if turn is None else turned(cols, grid.width / 2, turn)
    return nearest


def turn_of(grid: Grid) -> float | None:
    """Columns around the globe; None where columns are no longitudes."""
    step = grid.affine.a
    if grid.crs is None or not step or grid.affine.b or not crs_of(grid).is_geographic:
        return None
    return 360 / abs(step)


def same_crs(a: Grid, b: Grid) -> bool:
    if a.crs is None or b.crs is None:
        return a.crs is None and b.crs is None
    return a.crs == b.crs or crs_of(a) == crs_of(b)


def crs_of(grid: Grid) -> CRS:
    return CRS.from_user_input(grid.crs)
