"""Georeference of a DataArray, as rioxarray keeps it, from a scene's grid and back to one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from nirgeo.source import Grid
from nirgeo.tiling import Window

RPC_ATTR = "nirgeo_rpcs"


def with_georeference(
    array: xr.DataArray, grid: Grid, region: Window, *, nodata: float | None = None
) -> xr.DataArray:
    """Attach coordinates, CRS, transform, ground control points and nodata as rioxarray does."""
    affine = grid.affine * grid.affine.translation(region.col, region.row)
    if grid.crs is not None:
        array = array.rio.write_crs(CRS.from_user_input(grid.crs))
    if not (affine.is_identity and grid.crs is None):
        array = array.rio.write_transform(affine)
        if affine.is_rectilinear and affine.b == 0 and affine.d == 0:
            cols = np.arange(array.sizes["x"]) + 0.5
            rows = np.arange(array.sizes["y"]) + 0.5
            array = array.assign_coords(x=affine.c + cols * affine.a, y=affine.f + rows * affine.e)
            array = array.rio.write_transform(affine)
    if grid.gcps and grid.gcp_crs is not None:
        points = [
            GroundControlPoint(row - region.row, col - region.col, x, y, z)
            for row, col, x, y, z in grid.gcps
        ]
        array = array.rio.write_gcps(points, CRS.from_user_input(grid.gcp_crs))
    if grid.rpcs:
        array.attrs[RPC_ATTR] = json.dumps(_shifted_rpcs(dict(grid.rpcs), region))
    if nodata is not None:
        array = array.rio.write_nodata(nodata)
    return array


def _shifted_rpcs(rpcs: dict[str, str], region: Window) -> dict[str, str]:
    """Rational polynomials of a part of a scene: only the pixel offsets move."""
    for key, shift in (("LINE_OFF", region.row), ("SAMP_OFF", region.col)):
        if shift and key in rpcs:
            rpcs[key] = repr(float(rpcs[key].split()[0]) - shift)
    return rpcs


def grid_of(array: xr.DataArray) -> Grid:
    """Size and georeference of a DataArray as rioxarray keeps them.

    The transform is the recorded one, bit for bit, as long as the coordinates still agree with it;
    after slicing it follows the coordinates.
    """
    height, width = array.sizes["y"], array.sizes["x"]
    crs = array.rio.crs
    gcps = array.rio.get_gcps() or []
    gcp_crs = crs if gcps else None
    transform = _matching_transform(array)
    rpcs = json.loads(array.attrs.get(RPC_ATTR, "{}"))
    return Grid(
        height=height,
        width=width,
        transform=tuple(transform)[:6],
        crs=crs.to_wkt() if crs is not None and not gcps else None,
        gcps=tuple((g.row, g.col, g.x, g.y, g.z or 0.0) for g in gcps),
        gcp_crs=gcp_crs.to_wkt() if gcp_crs is not None else None,
        rpcs=tuple(sorted(rpcs.items())),
        area_or_point=str(array.attrs.get("AREA_OR_POINT", "Area")),
    )


def _matching_transform(array: xr.DataArray) -> Any:
    text = None
    name = array.rio.grid_mapping
    if name in array.coords:
        text = array.coords[name].attrs.get("GeoTransform")
    recorded = None
    if text is not None:
        recorded = Affine.from_gdal(*(float(v) for v in str(text).split()))
    if "x" not in array.coords or "y" not in array.coords:
        return recorded if recorded is not None else Affine.identity()
    xs, ys = array["x"].values, array["y"].values
    if recorded is not None and recorded.b == recorded.d == 0:
        first = recorded * (0.5, 0.5)
        last = recorded * (len(xs) - 0.5, len(ys) - 0.5)
        slack = 1e-3 * max(abs(recorded.a), abs(recorded.e))
        if all(
            abs(a - b) <= slack
            for a, b in zip((*first, *last), (xs[0], ys[0], xs[-1], ys[-1]), strict=True)
        ):
            return recorded
    elif recorded is not None:
        return recorded
    return array.rio.transform(recalc=True)
