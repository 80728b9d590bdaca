"""Georeference of a DataArray, as rioxarray keeps it, from a scene's grid and back to one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import from_gcps
from rasterio.warp import transform as reproject

from nirgeo.errors import GridError
from nirgeo.gdal_settings import GDAL_ERRORS, NOT_SUPPORTED, forget_errors
from nirgeo.grid import Grid
from nirgeo.nodata import as_stored
from nirgeo.tiling import Window

RPC_ATTR = "nirgeo_rpcs"

ROW, COL = "row", "col"
"""Coordinates with pixel positions, for scenes where ``x`` and ``y`` can't tell what was sliced."""

CORNERS_ATTR = "transform"
"""Where stackstac keeps its transform. Its ``x`` and ``y`` are corners of pixels, unless it was
asked for centres."""

_SLACK = 1e-3
"""Coordinates within this share of a pixel of a recorded position are at that position."""


def with_georeference(
    array: xr.DataArray, grid: Grid, region: Window, *, nodata: float | None = None
) -> xr.DataArray:
    """Attach coordinates, CRS, transform, ground control points and nodata as rioxarray does."""
    affine = grid.affine @ Affine.translation(region.col, region.row)
    straight = affine.b == 0 and affine.d == 0
    rows = np.arange(array.sizes["y"]) + 0.5
    cols = np.arange(array.sizes["x"]) + 0.5
    if grid.crs is not None:
        array = array.rio.write_crs(CRS.from_user_input(grid.crs))
    if not grid.placeless:  # pixels that count from 0, 0 have no place, with a CRS neither
        if straight:
            array = array.assign_coords(x=affine.c + cols * affine.a, y=affine.f + rows * affine.e)
        array = array.rio.write_transform(affine)
    if grid.gcps or grid.rpcs or not straight:
        array = array.assign_coords({ROW: ("y", rows), COL: ("x", cols)})
    if grid.gcps and grid.gcp_crs is not None:
        moved = _moved_points(grid.gcps, Affine.translation(region.col, region.row))
        points = [GroundControlPoint(*point) for point in moved]
        array = array.rio.write_gcps(points, CRS.from_user_input(grid.gcp_crs))
    if grid.rpcs:
        shift = Affine.translation(region.col, region.row)
        array.attrs[RPC_ATTR] = json.dumps(_moved_rpcs(dict(grid.rpcs), shift))
    value = None if nodata is None else as_stored(array.dtype, nodata)
    return array if value is None else array.rio.write_nodata(value)


def _moved_points(
    points: tuple[tuple[float, float, float, float, float], ...], place: Affine
) -> tuple[tuple[float, float, float, float, float], ...]:
    """Ground control points of a part of a scene; ``place`` maps its pixels to the scene's."""
    return tuple(
        ((row - place.f) / place.e, (col - place.c) / place.a, x, y, z)
        for row, col, x, y, z in points
    )


def _moved_rpcs(rpcs: dict[str, str], place: Affine) -> dict[str, str]:
    """Rational polynomials of a part of a scene. They count pixels from centre to centre."""
    for axis, first, step in (("LINE", place.f, place.e), ("SAMP", place.c, place.a)):
        if (first, step) == (0, 1) or f"{axis}_OFF" not in rpcs:
            continue
        offset = float(rpcs[f"{axis}_OFF"].split()[0])
        rpcs[f"{axis}_OFF"] = repr((offset + 0.5 - first) / step - 0.5)
        if step != 1:
            rpcs[f"{axis}_SCALE"] = repr(float(rpcs[f"{axis}_SCALE"].split()[0]) / step)
    return rpcs


def moved(grid: Grid, place: Affine, height: int, width: int) -> Grid:
    """The grid of other pixels; ``place`` maps them to those of ``grid``."""
    return replace(
        grid,
        height=height,
        width=width,
        transform=tuple(grid.affine @ place)[:6],
        gcps=_moved_points(grid.gcps, place),
        rpcs=tuple(sorted(_moved_rpcs(dict(grid.rpcs), place).items())),
    )


def _pixel_frame(array: xr.DataArray, recorded: Affine | None) -> Affine | None:
    """From the array's pixels to those of the scene it was cut from; None where that is unknown.

    Told by the coordinates ``row`` and ``col``, or by ``x`` and ``y`` together with the recorded
    transform. Whole steps are taken as whole, so that no digit of the transform is lost.
    """
    if all(n in array.coords and array[n].dims == (d,) for n, d in ((ROW, "y"), (COL, "x"))):
        (row, row_step), (col, col_step) = (
            _first_and_step(array[name].values) or _regular(array[name]) for name in (ROW, COL)
        )
    elif recorded is not None and recorded.b == recorded.d == 0 and _has_xy(array):
        cols = (array["x"].values - recorded.c) / recorded.a
        rows = (array["y"].values - recorded.f) / recorded.e
        found = _first_and_step(rows), _first_and_step(cols)
        if None in found:
            return None
        (row, row_step), (col, col_step) = found  # type: ignore[misc]
    else:
        return None
    corner = Affine.translation(col - col_step / 2, row - row_step / 2)
    return corner @ Affine.scale(col_step, row_step)


def _first_and_step(centres: Any) -> tuple[float, float] | None:
    """First pixel centre and the distance between centres, in whole pixels; None if it is none."""
    if not np.isfinite(centres).all():  # as xarray's pad leaves them
        return None
    first = round(float(centres[0]) - 0.5) + 0.5
    if abs(first - centres[0]) > _SLACK:
        return None
    if len(centres) == 1:
        return first, 1.0
    step = float(round((float(centres[-1]) - float(centres[0])) / (len(centres) - 1)))
    expected = first + step * np.arange(len(centres))
    return (first, step) if step and np.abs(expected - centres).max() < _SLACK else None


def _regular(positions: xr.DataArray) -> tuple[float, float]:
    """The same of positions between pixels, such as the middles of blocks.

    Raises
    ------
    GridError : they do not lie at equal distances, or a single one does not tell any
    """
    centres = positions.values.astype(np.float64)
    if np.isfinite(centres).all() and len(centres) > 1:
        first, step = centres[0], (centres[-1] - centres[0]) / (len(centres) - 1)
        if step and np.abs(first + step * np.arange(len(centres)) - centres).max() < _SLACK:
            return float(first), float(step)
    raise GridError(
        f"coordinate {positions.name} does not lie at equal distances, so what is known of the "
        "scene's place can't be moved with it; select rows and columns at equal distances, or "
        f"drop the coordinates {ROW} and {COL} with the georeference"
    )


def _has_xy(array: xr.DataArray) -> bool:
    return "x" in array.coords and "y" in array.coords


def recorded_transform(array: xr.DataArray) -> Affine | None:
    name = array.rio.grid_mapping
    text = array.coords[name].attrs.get("GeoTransform") if name in array.coords else None
    return None if text is None else Affine.from_gdal(*(float(v) for v in str(text).split()))


def with_crs_coordinate(array: xr.DataArray) -> xr.DataArray:
    """The CRS that stackstac and older arrays have as an attribute, where rioxarray keeps it.

    Raises
    ------
    GridError : the attribute is none
    """
    if "crs" not in array.attrs or array.rio.grid_mapping in array.coords:
        return array
    try:
        return array.rio.write_crs(array.rio.crs)
    except (CRSError, ValueError, RuntimeError) as error:  # pyproj's is none of rasterio's
        raise GridError(
            f"attribute crs={str(array.attrs['crs'])[:80]!r} is no coordinate system; set one with "
            ".rio.write_crs, or remove it"
        ) from error


def _stated_transform(array: xr.DataArray) -> Affine | None:
    """What an attribute says, as six numbers or more; it holds for the array before any slicing."""
    numbers = array.attrs.get(CORNERS_ATTR)
    if not isinstance(numbers, Affine | tuple | list):
        return None
    try:
        return Affine(*(float(number) for number in tuple(numbers)[:6]))
    except (TypeError, ValueError):
        return None


def corners_attribute(array: xr.DataArray) -> dict[str, list[float]]:
    """``CORNERS_ATTR`` as a file can hold it, if the array has it."""
    stated = _stated_transform(array)
    return {} if stated is None else {CORNERS_ATTR: list(tuple(stated)[:6])}


def _transform_of_corners(array: xr.DataArray) -> Affine | None:
    """The array's transform, if its coordinates are upper left corners; see ``CORNERS_ATTR``."""
    whole = _stated_transform(array)
    if whole is None or not _has_xy(array) or whole.b or whole.d or not (whole.a and whole.e):
        return None
    cols = (array["x"].values - whole.c) / whole.a
    rows = (array["y"].values - whole.f) / whole.e
    steps = []
    for places in (rows, cols):
        found = _first_and_step(places + 0.5)
        # Of every second corner, and of the middles of pairs of them, some look like middles.
        if found is None or not found[1] % 2:
            return None
        steps.append(found)
    (row, down), (col, across) = steps
    corner = Affine.translation(col - across / 2, row - down / 2)
    return whole @ corner @ Affine.scale(across, down)


def grid_of(array: xr.DataArray) -> Grid:
    """Size and georeference of a DataArray as rioxarray keeps them.

    The transform is the recorded one, bit for bit, as long as the coordinates agree with it. After
    slicing it is moved by whole pixels; ground control points and RPCs move with it.

    Raises
    ------
    GridError : the array has a CRS, records no transform, and its coordinates tell none; or they
        are not regular
    """
    recorded = recorded_transform(array)
    frame = _pixel_frame(array, recorded)
    corners = _transform_of_corners(array) if frame is None else None
    if corners is not None:
        transform = corners
    elif recorded is None:
        transform = _told_by_coordinates(array) if _has_xy(array) else Affine.identity()
    elif frame is not None:
        transform = recorded @ frame
    elif _has_xy(array):
        transform = _regular_transform(array)
    else:
        transform = recorded
    place = frame if frame is not None else Affine.identity()
    crs = array.rio.crs
    points = array.rio.get_gcps() or []
    gcps = _moved_points(tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in points), place)
    rpcs = json.loads(array.attrs.get(RPC_ATTR, "{}"))
    return Grid(
        height=array.sizes["y"],
        width=array.sizes["x"],
        transform=tuple(transform)[:6],
        crs=crs.to_wkt() if crs is not None and not points else None,
        gcps=gcps,
        gcp_crs=crs.to_wkt() if crs is not None and points else None,
        rpcs=tuple(sorted(_moved_rpcs(rpcs, place).items())),
        area_or_point=str(array.attrs.get("AREA_OR_POINT", "Area")),
    )


def _told_by_coordinates(array: xr.DataArray) -> Affine:
    """The transform that ``x`` and ``y``, the middles of pixels, tell."""
    steps = [np.diff(array[axis].values.astype(np.float64)) for axis in ("y", "x")]
    if all(step.size and np.isfinite(step).all() and (step != 0).all() for step in steps):
        return _regular_transform(array)
    if array.rio.crs is None:
        return Affine.identity()
    raise GridError(
        f"coordinates x and y of {array.sizes['y']}×{array.sizes['x']} pixels do not tell how "
        "large a pixel is (a single row or column, the same value twice, or no number); record a "
        "transform with .rio.write_transform"
    )


_IRREGULAR = 0.25
"""Pixels that coordinates may lie beside a regular grid: single precision takes some of them."""


def _regular_transform(array: xr.DataArray) -> Affine:
    """The transform of regular coordinates; of others none, which matters with a CRS only.

    Raises
    ------
    GridError : ``x`` or ``y`` do not lie at equal distances, and the array has a CRS
    """
    for axis in ("x", "y"):
        places = array[axis].values.astype(np.float64)
        regular = np.linspace(places[0], places[-1], len(places))
        step = (places[-1] - places[0]) / max(1, len(places) - 1)
        if np.abs(places - regular).max() <= _IRREGULAR * abs(step):
            continue
        if array.rio.crs is None:
            return Affine.identity()
        raise GridError(
            f"coordinate {axis} does not lie at equal distances, so no transform describes it; "
            "reindex or interpolate the array to a regular grid"
        )
    transform: Affine = array.rio.transform(recalc=True)
    return transform


def turned(values: Any, middle: float, turn: float = 360.0) -> Any:
    """Longitudes, or columns of which ``turn`` go around the globe, as those nearest to another."""
    return values - turn * np.round((values - middle) / turn)


def map_positions(
    grid: Grid,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    target: CRS,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Coordinates x, y of pixel positions in ``target``, infinite where there are none.

    None for a scene without a place.
    """
    if grid.placed:
        affine, crs = grid.affine, CRS.from_user_input(grid.crs)
    elif grid.gcps and grid.gcp_crs is not None:
        crs = CRS.from_user_input(grid.gcp_crs)
        middle = grid.gcps[0][2] if crs.is_geographic else None
        points = [
            GroundControlPoint(row, col, x if middle is None else turned(x, middle), y)
            for row, col, x, y, _ in grid.gcps
        ]
        affine = from_gcps(points)
    else:
        return None
    x, y = affine @ (cols.ravel(), rows.ravel())
    there_x, there_y = _transformed(crs, target, np.asarray(x), np.asarray(y))
    return there_x.reshape(rows.shape), there_y.reshape(rows.shape)


def _transformed(
    crs: CRS, target: CRS, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (n,) in another CRS, infinite where they have no place in it.

    GDAL may complain of such points or give infinity for them, depending on what it has complained
    of before. So where it complains, the points are asked for in ever smaller groups.
    """
    try:
        there = reproject(crs, target, x, y)
        return np.asarray(there[0], dtype=np.float64), np.asarray(there[1], dtype=np.float64)
    except GDAL_ERRORS as error:
        forget_errors()
        # Between some systems there is no way at all, as from a local one.
        nowhere = isinstance(error, NOT_SUPPORTED) or len(x) == 1
    if nowhere:
        return np.full(len(x), np.inf), np.full(len(x), np.inf)
    half = len(x) // 2
    parts = [
        _transformed(crs, target, x[part], y[part]) for part in (slice(half), slice(half, None))
    ]
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])
