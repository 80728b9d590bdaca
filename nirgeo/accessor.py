"""``.nirgeo`` on DataArrays and Datasets; importing this module registers it.

::

    import nirgeo.accessor

    rgb = cube.nirgeo.colorize()  # lazy, (time, band, y, x)
    rgb.isel(time=0).nirgeo.preview()
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from rasterio import Affine

from nirgeo import expected_error
from nirgeo.array_blocks import known_pixels
from nirgeo.array_scene import array_nodata
from nirgeo.bands import COLOURS
from nirgeo.cube import as_array, further_dimensions, with_axes
from nirgeo.engine import colorize
from nirgeo.errors import BandError, GridError, OptionError
from nirgeo.georeference import (
    COL,
    CORNERS_ATTR,
    ROW,
    grid_of,
    moved,
    recorded_transform,
    with_crs_coordinate,
    with_georeference,
)
from nirgeo.grid import Grid
from nirgeo.metrics import angular_summary, rmse
from nirgeo.scene_attributes import VALID
from nirgeo.tiling import Window

PREVIEW_SIDE = 512


@xr.register_dataarray_accessor("nirgeo")  # type: ignore[no-untyped-call]
class ArrayAccessor:
    """A scene, or a picture made of one."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def colorize(self, model: Any = "auto", **options: Any) -> xr.DataArray:
        """Natural colour: :func:`nirgeo.colorize` of this array, with its options.

        Lazy for dask-backed values, computed at once for values in memory. Dimensions besides
        ``band``, ``y`` and ``x`` are mapped over.
        """
        return colorize(self._array, model, **options)

    def preview(
        self, side: int = PREVIEW_SIDE, model: Any = "auto", **options: Any
    ) -> xr.DataArray:
        """A small picture in memory, at most ``side`` pixels wide and high.

        Every n-th pixel is taken; a scene is then colorized. Colours may differ from those of the
        full resolution, which shows the network texture that a preview does not.

        Raises
        ------
        GridError : there are more dimensions than a raster has; select one first
        OptionError : ``side`` is not positive
        """
        if side < 1:
            raise OptionError(f"side={side}: a preview is at least one pixel wide and high")
        array, names = with_axes(with_crs_coordinate(self._array))
        if further_dimensions(array):
            raise GridError(
                f"a preview shows one raster; select one along {further_dimensions(array)[0]} first"
            )
        factor = max(1, math.ceil(max(array.sizes["y"], array.sizes["x"]) / side))
        array = _without_error(array)
        painted = "band" in array.coords and tuple(np.atleast_1d(array["band"].values)) == COLOURS
        every = {
            axis: slice(min(factor, array.sizes[axis]) // 2, None, factor) for axis in ("y", "x")
        }
        small = _placed(array.isel(every).compute(), array, factor)
        if not painted:
            small = colorize(small, model, **options)
        return small.rename(names)

    def evaluate(self, truth: xr.DataArray) -> dict[str, float]:
        """How far this picture is from the true one, over pixels that both have.

        A pixel is missing where ``valid`` says so, and where a colour is not finite or is the
        array's own nodata (``.rio.nodata``).

        Bands that are called red, green and blue in both are told apart by that, otherwise by their
        order.

        ``angular`` (mean, degrees), ``angular_median``, ``angular_p95``, ``rmse`` (of reflectance,
        or of counts / 255) and ``pixels``.

        Raises
        ------
        GridError : the two differ in shape or in place, or one is uint8 and the other is not
        BandError : there are not three colours, or they are whole numbers but no display counts
        """
        if not isinstance(truth, xr.DataArray):
            raise GridError(f"a {type(truth).__name__} is no picture; give a DataArray")
        picture, true = _by_name(_without_error(self._array), _without_error(truth))
        picture, names = with_axes(picture)
        true, _ = with_axes(true)
        if picture.shape != true.shape or picture.dims != true.dims:
            raise GridError(
                f"a picture of {dict(picture.sizes)} can't be compared with one of "
                f"{dict(true.sizes)}; bring both onto one grid"
            )
        if (picture.dtype == np.uint8) != (true.dtype == np.uint8):
            raise GridError(
                f"a picture of {picture.dtype} can't be compared with one of {true.dtype}; make "
                "both display counts (uint8) or both reflectance"
            )
        _refuse_other_place(picture, true)
        for axis in ("y", "x"):
            places = [
                array.coords[axis].values for array in (picture, true) if axis in array.coords
            ]
            if len(places) == 2 and not _same_places(*places):
                called = names.get(axis, axis)
                raise GridError(
                    f"the two differ in their {called} ({places[0][0]:g} … {places[0][-1]:g}, and "
                    f"{places[1][0]:g} … {places[1][-1]:g}); bring both onto one grid"
                )
        picture, true = picture.compute(), true.compute()
        colours = [_colours_first(array) for array in (picture, true)]
        valid = _has_data(picture) & _has_data(true)
        for array in (picture, true):
            if VALID in array.coords:
                colour = array.isel(band=0, drop=True)  # a cube may have one mask for all its dates
                mask = array.coords[VALID].broadcast_like(colour).transpose(*colour.dims)
                valid &= np.asarray(mask.values, dtype=np.bool_)
        ours, theirs = (array.reshape(3, 1, -1) for array in colours)
        counted = valid.reshape(1, -1)
        summary = angular_summary(ours, theirs, counted)
        return {
            "angular": summary.mean,
            "angular_median": summary.median,
            "angular_p95": summary.p95,
            "rmse": rmse(ours, theirs, counted),
            "pixels": float(np.count_nonzero(valid)),
        }


@xr.register_dataset_accessor("nirgeo")  # type: ignore[no-untyped-call]
class DatasetAccessor:
    """A scene with one variable per band, as odc-stac makes them."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def colorize(self, model: Any = "auto", **options: Any) -> xr.DataArray:
        """Natural colour of the variables whose names tell a band; see the array's."""
        return colorize(as_array(self._dataset), model, **options)

    def preview(
        self, side: int = PREVIEW_SIDE, model: Any = "auto", **options: Any
    ) -> xr.DataArray:
        """See :meth:`ArrayAccessor.preview`."""
        return ArrayAccessor(as_array(self._dataset)).preview(side, model, **options)


def _refuse_other_place(picture: xr.DataArray, true: xr.DataArray) -> None:
    """
    Raises
    ------
    GridError : their coordinate systems differ, or another coordinate along an axis does
    """
    systems = [array.rio.crs for array in (picture, true)]
    if None not in systems and systems[0] != systems[1]:
        raise GridError("the two have different coordinate systems; bring both onto one grid")
    along = [name for name in (ROW, COL, *picture.dims) if name not in ("band", "y", "x")]
    for name in along:
        if name in picture.coords and name in true.coords:
            ours, theirs = picture[name].values, true[name].values
            if not np.array_equal(ours, theirs):
                raise GridError(f"the two differ in their {name}; bring both into one order")


def _by_name(picture: xr.DataArray, truth: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Both with three colours, in one order."""
    arrays = []
    named = all(_names(array) >= set(COLOURS) for array in (picture, truth))
    for array in (picture, truth):
        if array.dtype.kind not in "uf" or (array.dtype.kind == "u" and array.dtype != np.uint8):
            raise BandError(
                f"colours of type {array.dtype} are neither display counts (uint8) nor "
                "reflectance (floats); scale them first"
            )
        chosen = array.sel(band=list(COLOURS)) if named else array
        if chosen.sizes.get("band") != len(COLOURS):
            raise BandError(f"need red, green and blue, got bands {sorted(_names(array))}")
        arrays.append(chosen)
    return arrays[0], arrays[1]


def _names(array: xr.DataArray) -> set[str]:
    if "band" not in array.dims:
        return set()
    values = array["band"].values if "band" in array.coords else range(array.sizes["band"])
    return {str(value) for value in values}


def _same_places(a: Any, b: Any) -> bool:
    """Whether coordinates agree to a thousandth of their step."""
    if a.shape != b.shape or a.dtype.kind not in "uif" or b.dtype.kind not in "uif":
        return bool(np.array_equal(a, b))
    step = abs(a[-1] - a[0]) / max(1, len(a) - 1)
    return bool(np.abs(np.subtract(a, b, dtype=np.float64)).max(initial=0) <= 1e-3 * step)


def _without_error(array: xr.DataArray) -> xr.DataArray:
    """A picture without the band of its expected errors."""
    names = tuple(np.atleast_1d(array["band"].values)) if "band" in array.coords else ()
    return array.isel(band=slice(3)) if names == (*COLOURS, expected_error.BAND) else array


def _placed(small: xr.DataArray, array: xr.DataArray, factor: int) -> xr.DataArray:
    """Every ``factor``-th pixel of an array, as wide as the pixels that it stands for.

    So a preview begins where its scene begins, whether the scene's coordinates are the middles of
    pixels or, as stackstac's are, their corners.
    """
    if {ROW, COL} <= set(array.coords):
        # Ground control points move with these coordinates, so they are written anew together. They
        # tell whole pixels only: a preview's pixel lies around the middle of the one that it shows.
        told = ("x", "y", ROW, COL, small.rio.grid_mapping)
        bare = small.drop_vars([name for name in told if name in small.coords])
        region = Window(0, 0, small.sizes["y"], small.sizes["x"])
        return with_georeference(bare, grid_of(small), region)
    narrow = min(array.sizes["y"], array.sizes["x"]) < 2
    across, down = (min(factor, array.sizes[axis]) for axis in ("x", "y"))
    located = {"y", "x"} <= set(array.coords)
    if located and narrow and recorded_transform(array) is None:
        return small
    grid = grid_of(array)
    whole = grid.affine
    if not located or whole.b or whole.d:
        return _scaled(small, grid, Affine.scale(across, down))
    affine = whole @ Affine.scale(across, down)
    cols, rows = (np.arange(small.sizes[axis]) + 0.5 for axis in ("x", "y"))
    small = small.assign_coords(
        x=("x", affine.c + cols * affine.a, small["x"].attrs),
        y=("y", affine.f + rows * affine.e, small["y"].attrs),
    )
    small.attrs.pop(CORNERS_ATTR, None)  # of the whole array
    placed: xr.DataArray = small.rio.write_transform(affine)
    return placed


def _scaled(small: xr.DataArray, grid: Grid, place: Affine) -> xr.DataArray:
    """A preview of an array whose place no coordinates tell."""
    if grid.placeless and not grid.gcps and not grid.rpcs:
        return small
    height, width = small.sizes["y"], small.sizes["x"]
    told = ("x", "y", "xc", "yc", small.rio.grid_mapping)
    bare = small.drop_vars([name for name in told if name in small.coords])
    return with_georeference(bare, moved(grid, place, height, width), Window(0, 0, height, width))


def _has_data(array: xr.DataArray) -> Any:
    """Where every colour is a finite number and not the array's nodata: its shape without band."""
    return known_pixels(array.transpose("band", ...).values, array_nodata(array, None))


def _colours_first(array: xr.DataArray) -> Any:
    moved = array.transpose("band", ...)
    values = moved.values.astype(np.float64)
    return values / 255 if array.dtype == np.uint8 else values
