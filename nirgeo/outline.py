"""The outline of a scene on the globe, as GeoJSON: longitude and latitude on WGS 84.

RFC 7946 asks that what crosses 180° be cut there; and a scene over a pole has no outline in degrees
but everything up to the pole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from nirgeo.georeference import map_positions
from nirgeo.grid import Grid

Points = list[tuple[float, float]]

_STEPS = 16
"""Points along a side: sides that are straight on a map are bent in degrees."""

_NEAR = 1e-7
"""Degrees within which something lies on the meridian of 180°, and not beyond it."""

_DIGITS = 7
"""A ten-millionth of a degree is a centimetre."""

_SLIVER = 1e-7
"""Share of a scene's area below which a part beyond the meridian only touches it."""


@dataclass(frozen=True)
class Outline:
    """Geometry, and bounding box as (west, south, east, north); west > east across 180°."""

    geometry: dict[str, Any]
    bbox: tuple[float, float, float, float]


def outline(grid: Grid) -> Outline | None:
    """Where a scene lies, nodata included; None if nothing says, or it has no place in degrees."""
    ring = _ring(grid)
    if ring is None:
        return None
    longitude, latitude = ring
    turns = _turns(longitude)
    if abs(turns.sum()) > 180:
        return _polar_cap(latitude)
    unrolled = longitude[0] + np.concatenate(([0.0], np.cumsum(turns[:-1])))
    if unrolled.max() - unrolled.min() > 360 + 1e-6:
        return None
    unrolled -= 360 * math.floor((unrolled.min() + 180 + _NEAR) / 360)
    west, east = float(unrolled.min()), float(unrolled.max())
    south, north = float(latitude.min()), float(latitude.max())
    points = _without_straight(unrolled, latitude, max(grid.shape))
    if _area(points) < 0:  # RFC 7946: exterior rings run counterclockwise
        points.reverse()
    polygons = [points]
    if east > 180 + _NEAR:
        halves = [_clip(points, 180.0, keep_below=True)]
        halves.append([(x - 360, y) for x, y in _clip(points, 180.0, keep_below=False)])
        # What only touches the meridian has no part beyond it. A share, as scenes may be small.
        least = _SLIVER * abs(_area(points))
        polygons = [half for half in halves if abs(_area(half)) > least]
        west, east = (west, east - 360) if east - west < 360 - 1e-6 else (-180.0, 180.0)
    rings = [[_closed(polygon)] for polygon in polygons]
    geometry: dict[str, Any] = (
        {"type": "Polygon", "coordinates": rings[0]}
        if len(rings) == 1
        else {"type": "MultiPolygon", "coordinates": rings}
    )
    return Outline(geometry, (_round(west), _round(south), _round(east), _round(north)))


def _ring(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Longitudes and latitudes along the four sides, counted from the first corner, not closed."""
    along = np.arange(_STEPS) / _STEPS
    zeros, ones = np.zeros(_STEPS), np.ones(_STEPS)
    rows = np.concatenate((zeros, along, ones, 1 - along)) * grid.height
    cols = np.concatenate((along, ones, 1 - along, zeros)) * grid.width
    place = map_positions(grid, rows, cols, CRS.from_epsg(4326))
    if place is None:
        return None
    longitude, latitude = place
    sound = np.isfinite(longitude) & np.isfinite(latitude) & (np.abs(latitude) <= 90 + 1e-9)
    return (longitude, np.clip(latitude, -90, 90)) if sound.all() else None


def _turns(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps from point to point, the shorter way around the globe; the last leads to the first."""
    return (np.diff(longitude, append=longitude[:1]) + 180) % 360 - 180


def _without_straight(x: NDArray[np.float64], y: NDArray[np.float64], pixels: int) -> Points:
    """The corners, and the points of those sides that bend by more than half a pixel."""
    points = np.stack((x, y), axis=1)
    kept: Points = []
    share = np.arange(_STEPS)[:, None] / _STEPS
    for first in range(0, len(points), _STEPS):
        side, end = points[first : first + _STEPS], points[(first + _STEPS) % len(points)]
        bend = np.abs(side - (side[0] + share * (end - side[0]))).max()
        straight = bend <= 0.5 * np.abs(end - side[0]).max() / pixels
        kept += [(float(a), float(b)) for a, b in (side[:1] if straight else side)]
    return kept


def _area(points: Points) -> float:
    """Twice the area that a ring runs around, positive if counterclockwise."""
    if not points:
        return 0.0
    # Counted from a corner: products of whole coordinates would round a small scene's area away.
    x, y = points[0]
    shifted = [(a - x, b - y) for a, b in points]
    pairs = zip(shifted, shifted[1:] + shifted[:1], strict=True)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)


def _polar_cap(latitude: NDArray[np.float64]) -> Outline:
    """Everything between the pole and the ring around it."""
    if float(latitude.mean()) > 0:
        south, north = float(latitude.min()), 90.0
    else:
        south, north = -90.0, float(latitude.max())
    ring = _closed([(-180.0, south), (180.0, south), (180.0, north), (-180.0, north)])
    box = (-180.0, _round(south), 180.0, _round(north))
    return Outline({"type": "Polygon", "coordinates": [ring]}, box)


def _clip(points: Points, limit: float, *, keep_below: bool) -> Points:
    """The part of a polygon on one side of a meridian (Sutherland and Hodgman)."""
    kept: Points = []
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        inside = [x <= limit if keep_below else x >= limit for x in (x0, x1)]
        if inside[0]:
            kept.append((x0, y0))
        if inside[0] != inside[1]:
            share = (limit - x0) / (x1 - x0)
            kept.append((limit, y0 + share * (y1 - y0)))
    return kept


def _closed(points: Points) -> list[list[float]]:
    ring = [[_round(x), _round(y)] for x, y in points]
    return [*ring, ring[0]]


def _round(value: float) -> float:
    return round(value, _DIGITS) + 0.0  # no negative zero
