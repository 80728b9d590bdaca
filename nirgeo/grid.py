"""Where the pixels of a raster lie: its size and georeference, as its file states them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import from_gcps
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

from nirgeo import gdal_settings
from nirgeo.errors import GridError
from nirgeo.pixel_size import mean_side


@dataclass(frozen=True)
class Grid:
    """Size and georeference of a scene, as its file states them."""

    height: int
    width: int
    transform: tuple[float, float, float, float, float, float]
    crs: str | None = None
    gcps: tuple[tuple[float, float, float, float, float], ...] = ()
    """Ground control points as (row, col, x, y, z)."""
    gcp_crs: str | None = None
    rpcs: tuple[tuple[str, str], ...] = ()
    """Rational polynomial coefficients as GDAL writes them."""
    area_or_point: str = "Area"

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def affine(self) -> rasterio.Affine:
        return rasterio.Affine(*self.transform)

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Where the transform puts the four of them."""
        return [self.affine @ (x, y) for x in (0, self.width) for y in (0, self.height)]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(least x, least y, greatest x, greatest y) of the corners."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def georeferenced(self) -> bool:
        return self.crs is not None or bool(self.gcps) or bool(self.rpcs)

    @property
    def placeless(self) -> bool:
        """Whether nothing says where it lies: a CRS alone, and pixels that count from 0, 0."""
        return self.affine.is_identity

    @property
    def placed(self) -> bool:
        """Whether its CRS and transform say where it lies; control points may do so otherwise."""
        return self.crs is not None and not self.placeless

    def ground_sampling_distance(self) -> float | None:
        """Side of a pixel in metres (geometric mean of both sides), None if the CRS can't tell."""
        sides = self.pixel_sides()
        return None if sides is None else mean_side(sides)

    def pixel_sides(self) -> tuple[float, float] | None:
        """Both sides of a pixel in metres, along rows and columns; None if the CRS can't tell.

        Of degrees those in the middle of the raster, where they are oblong on the ground.
        """
        if self.crs is None or self.placeless:
            return None
        crs = CRS.from_user_input(self.crs)
        a, b, _, d, e, f = self.transform
        if crs.is_geographic:
            latitude = f + e * self.height / 2 + d * self.width / 2
            share = max(0.01, math.cos(math.radians(latitude)))
            degree = 111_320.0
            return degree * math.hypot(a * share, d), degree * math.hypot(b * share, e)
        try:
            _, metres = crs.linear_units_factor
        except CRSError:  # a local or geocentric system, whose axes may mean anything
            return None
        metres *= self._mercators_share(crs)
        return float(metres * math.hypot(a, d)), float(metres * math.hypot(b, e))

    def _mercators_share(self, crs: CRS) -> float:
        """Metres on the ground for one of the map's, where that is Mercator's, which web maps use;
        1 on all others, on which it is about that."""
        if crs.to_dict().get("proj") not in ("merc", "webmerc"):
            return 1.0
        middle = self.affine @ (self.width / 2, self.height / 2)
        try:
            _, latitudes = transform_points(crs, CRS.from_epsg(4326), *([v] for v in middle))
        except gdal_settings.GDAL_ERRORS:
            gdal_settings.forget_errors()
            return 1.0
        share = math.cos(math.radians(latitudes[0])) if math.isfinite(latitudes[0]) else 1.0
        true_at = float(crs.to_dict().get("lat_ts", 0.0))
        return max(0.01, share) / max(0.01, math.cos(math.radians(true_at)))


def read_grid(opened: Any) -> Grid:
    """Size and georeference of an open dataset."""
    identity = opened.transform.is_identity
    # What has a transform has its place: GDAL hands on points beside it too, ArcGIS's for example.
    gcps, gcp_crs = opened.gcps if identity else ([], None)
    rpcs = opened.rpcs
    crs = opened.crs
    return Grid(
        height=opened.height,
        width=opened.width,
        transform=tuple(opened.transform)[:6],
        crs=crs.to_wkt() if crs and not gcps else None,
        gcps=tuple((g.row, g.col, g.x, g.y, g.z or 0.0) for g in gcps),
        gcp_crs=gcp_crs.to_wkt() if gcps and gcp_crs else None,
        rpcs=tuple(sorted(rpcs.to_gdal().items())) if rpcs else (),
        area_or_point=opened.tags().get("AREA_OR_POINT", "Area"),
    )


def refuse_bad_transform(grid: Grid, name: str) -> None:
    """A transform that maps pixels onto each other can't be carried over, and places nothing."""
    a, b, c, d, e, f = grid.transform
    far = grid.affine @ (grid.width, grid.height)
    finite = all(math.isfinite(v) for v in (*grid.transform, *far))
    # A double has 52 binary digits: smaller steps vanish beside the origin.
    steps = abs(a) + abs(b) > abs(c) * 2**-50 and abs(d) + abs(e) > abs(f) * 2**-50
    if not finite or not steps or a * e == b * d:
        raise GridError(
            f"{name}: its transform ({a:g}, {b:g}, {c:g}, {d:g}, {e:g}, {f:g}) tells no "
            "pixel from its neighbour; correct it (gdal_edit.py -a_ullr ULX ULY LRX LRY FILE) or "
            "remove it (gdal_edit.py -unsetgt FILE)"
        )


def refuse_bad_points(grid: Grid, name: str) -> None:
    """The same of ground control points: too few, all in one place or on one line, or no numbers.

    rasterio does not look whether GDAL could fit a transform to them, and hands on what lay in
    memory.
    """
    if not grid.gcps:
        return
    points = np.array([point[:4] for point in grid.gcps])  # row, col, x, y
    with np.errstate(all="ignore"):
        spans = np.ptp(points, axis=0)
    tell = bool(np.isfinite(points).all() and np.isfinite(spans).all() and (spans > 0).all())
    if tell and len(points) > 2:
        unit = (points - points.mean(axis=0)) / spans
        tell = all(np.linalg.matrix_rank(unit[:, pair], tol=1e-6) == 2 for pair in ([0, 1], [2, 3]))
    if not tell:
        raise GridError(
            f"{name}: its {len(points)} ground control points tell no pixel from its "
            "neighbour; correct them (gdal_translate -gcp), or remove them (gdal_edit.py -unsetgcp)"
        )


def same_grid(a: Grid, b: Grid, tolerance: float = 1e-3) -> bool:
    """Whether the corners of two rasters of one size agree to a thousandth of a pixel of ``a``."""
    if a is b:
        return True
    if a.shape != b.shape or (a.crs is None) != (b.crs is None):
        return False
    if a.crs != b.crs and CRS.from_user_input(a.crs) != CRS.from_user_input(b.crs):
        return False
    first, second = a.affine, b.affine
    if a.gcps and b.gcps:  # which are a pixel's business: bands may have points of their own
        if CRS.from_user_input(a.gcp_crs) != CRS.from_user_input(b.gcp_crs):
            return False
        first, second, tolerance = _affine_of_points(a), _affine_of_points(b), 1.0
    between = ~first @ second
    corners = [(x, y) for x in (0, a.width) for y in (0, a.height)]
    moved = [between @ corner for corner in corners]
    return bool(np.abs(np.subtract(moved, corners)).max() <= tolerance)


def _affine_of_points(grid: Grid) -> Affine:
    return from_gcps([GroundControlPoint(row, col, x, y) for row, col, x, y, _ in grid.gcps])


def apart(other: Grid, grid: Grid) -> bool:
    """Whether two rasters with a transform surely share no place; across 180° both ways count."""
    if other.crs is None or grid.crs is None or other.gcps or grid.gcps:
        return False
    crs = CRS.from_user_input(grid.crs)
    try:
        west, south, east, north = transform_bounds(
            CRS.from_user_input(other.crs), crs, *other.bounds, densify_pts=21
        )
    except gdal_settings.GDAL_ERRORS:
        gdal_settings.forget_errors()
        return False
    if not all(map(math.isfinite, (west, south, east, north))) or west > east:
        return False
    left, low, right, high = grid.bounds
    turns = (-360, 0, 360) if crs.is_geographic else (0,)
    aside = all(east + turn < left or west + turn > right for turn in turns)
    return aside or north < low or south > high
