"""Which scenes show the same or neighbouring ground, and on which side of a split they go."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from nirgeo.gdal_settings import GDAL_ERRORS, forget_errors
from nirgeo.grid import Grid

KM_PER_DEGREE = 111.32

SAME_PLACE_KM = 20.0
"""Scenes that are no further apart show one place: its soils, crops and weather."""


@dataclass(frozen=True)
class Footprint:
    """A box around a scene in degrees; ``east`` is above 180 where it crosses that meridian."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def of(cls, west: float, south: float, east: float, north: float) -> Footprint:
        """A box as GDAL and GeoJSON give it: ``east`` below ``west`` where it crosses 180°."""
        return cls(west, south, east + 360 if east < west else east, north)

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude from -180 up to 180, and latitude."""
        longitude = (self.west + self.east) / 2
        if not -180 <= longitude <= 180:
            longitude = (longitude + 180) % 360 - 180
        return longitude, (self.south + self.north) / 2


def footprint(grid: Grid) -> Footprint | None:
    """Where a scene lies, from its transform or its ground control points; None if nothing says."""
    if grid.placed:
        corners = grid.corners
        crs = grid.crs
    elif grid.gcps and grid.gcp_crs is not None:
        corners = [(x, y) for _, _, x, y, _ in grid.gcps]
        crs = grid.gcp_crs
    else:
        return None
    xs, ys = zip(*corners, strict=True)
    try:
        known = CRS.from_user_input(crs)
        if known.is_geographic:
            xs = _unrolled(xs)
        box = transform_bounds(known, CRS.from_epsg(4326), min(xs), min(ys), max(xs), max(ys))
    except GDAL_ERRORS:
        forget_errors()
        return None
    return Footprint.of(*box) if all(math.isfinite(v) for v in box) else None


def _unrolled(longitudes: Sequence[float]) -> tuple[float, ...]:
    """Control points on both sides of 180° as neighbours: those in the west a turn further east."""
    ordered = np.sort(longitudes)
    gaps = np.diff(ordered)
    if gaps.max(initial=0) <= 180:
        return tuple(longitudes)
    last = ordered[int(gaps.argmax())]
    return tuple(x + 360 if x <= last else x for x in longitudes)


def group_scenes(
    names: Sequence[str],
    footprints: Sequence[Footprint | None],
    groups: Sequence[str | None],
    distance_km: float,
) -> list[str]:
    """The place of every scene.

    Two scenes share a place when somebody says so (``groups``), or when the boxes around them lie
    within ``distance_km``; and whatever is connected that way is one place. It is called as
    ``groups`` say, else after the first scene in it. A scene without georeference of which nothing
    is said is a place of its own.
    """
    parent = list(range(len(names)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    def join(a: int, b: int) -> None:
        a, b = sorted((root(a), root(b)))
        parent[b] = a

    first: dict[str, int] = {}
    for k, group in enumerate(groups):
        if group is not None:
            join(first.setdefault(group, k), k)
    placed = [k for k, box in enumerate(footprints) if box is not None]
    boxes = np.array(
        [(b.west, b.south, b.east, b.north) for b in footprints if b is not None]
    ).reshape(-1, 4)
    for position, k in enumerate(placed):
        for other in np.flatnonzero(_near(boxes[position], boxes[:position], distance_km)):
            join(k, placed[int(other)])
    called: dict[int, str] = {}
    for k in range(len(names)):
        group, top = groups[k], root(k)
        if group is not None:
            called[top] = min(called.get(top, group), group)
    return [called.get(root(k), names[root(k)]) for k in range(len(names))]


def _near(
    box: np.ndarray[tuple[int], np.dtype[np.float64]],
    others: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    distance_km: float,
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which boxes lie within a distance of one, counted between their nearest edges."""
    west, south, east, north = others.T
    # Longitudes come back after a whole turn; two where one says -180 to 180 and one 0 to 360.
    gap_x = np.min(
        [
            np.maximum(0, np.maximum(west + turn - box[2], box[0] - (east + turn)))
            for turn in (-720, -360, 0, 360, 720)
        ],
        axis=0,
    )
    gap_y = np.maximum(0, np.maximum(south - box[3], box[1] - north))
    latitude = np.maximum(np.abs(others[:, [1, 3]]).max(axis=1), np.abs(box[[1, 3]]).max())
    across = KM_PER_DEGREE * np.cos(np.radians(np.minimum(latitude, 89.0)))
    return np.asarray(np.hypot(gap_x * across, gap_y * KM_PER_DEGREE) <= distance_km)


def neighbours(
    positions: Mapping[str, tuple[float, float]],
    others: Mapping[str, tuple[float, float]],
    distance_km: float = SAME_PLACE_KM,
) -> dict[str, str]:
    """For every name whose position (longitude, latitude in degrees) is within a distance of one of
    the others', the first of these."""
    if not others:
        return {}
    names = list(others)
    boxes = np.array([(*others[name], *others[name]) for name in names], dtype=np.float64)
    found = {}
    for name, position in positions.items():
        near = _near(np.array((*position, *position), dtype=np.float64), boxes, distance_km)
        if near.any():
            found[name] = names[int(near.argmax())]
    return found


def split_places(sizes: Mapping[str, int], share: float, seed: int = 0) -> set[str]:
    """The places for validation: about ``share`` of all, whole places only, the same every time.

    Places are taken in an order that depends on their names and ``seed`` alone, each if it still
    fits. When none fits, the smallest is taken; a single place is never taken.
    """
    budget = share * sum(sizes.values())

    def order(place: str) -> str:
        return hashlib.sha256(f"{seed}:{place}".encode()).hexdigest()

    chosen: set[str] = set()
    taken = 0
    for place in sorted(sizes, key=order):
        if taken + sizes[place] <= budget and len(chosen) + 1 < len(sizes):
            chosen.add(place)
            taken += sizes[place]
    if not chosen and len(sizes) > 1 and share > 0:
        chosen.add(min(sizes, key=lambda place: (sizes[place], order(place))))
    return chosen
