"""Open a scene as a lazy DataArray: ``open_scene``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.crs import CRS

from nirgeo import gdal_settings
from nirgeo.bands import NAMED, ROLES, BandLabel, find_roles
from nirgeo.chunk_limits import check_chunk, refuse_too_many
from nirgeo.digest import digest
from nirgeo.errors import BandError, GridError, OptionError
from nirgeo.georeference import grid_of, with_georeference
from nirgeo.given import file_name, number, number_or_none
from nirgeo.grid import Grid
from nirgeo.handles import open_dataset
from nirgeo.hrefs import absolute_scene, is_url, item_in_document, public
from nirgeo.layers import array_from_tasks, facts_of
from nirgeo.nodata import as_stored
from nirgeo.opening import open_source
from nirgeo.provenance import NAMESPACE
from nirgeo.radiometry import Quantity
from nirgeo.scaling import Scale, Scaling, find_scaling, level_1_mark
from nirgeo.scene_attributes import (
    PRODUCT_ATTR,
    SCALING_ATTR,
    SCALING_ORIGIN_ATTR,
    VALID,
    stated_nodata,
)
from nirgeo.source import RasterSource, stamps_of
from nirgeo.tiling import ChunkGrid, Window

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class SceneView:
    """A region of a scene: what is colorized, while the halo comes from the whole scene."""

    source: RasterSource
    region: Window
    chunk_tiles: int
    scaling: Scaling
    nodata: float | None = None
    """What the DataArray says of missing pixels, if that is one value for all bands."""

    @property
    def chunk_grid(self) -> ChunkGrid:
        return ChunkGrid(self.region.height, self.region.width, self.chunk_tiles)

    def identity(self) -> dict[str, Any]:
        """What tells this scene from another, and from itself after a change on disk."""
        source = self.source
        bands = [  # a file whose URL was signed anew is the same file, and so by another spelling
            (_address(b.path), b.index, repr(b.nodata), b.masked, b.warp and asdict(b.warp))
            for b in source.bands
        ]
        return {
            "scene": json.loads(
                json.dumps(
                    [
                        bands,
                        sorted({(_address(f), at) for f, at in stamps_of(source)}, key=str),
                        source.roles,
                    ]
                )
            ),
            "region": [self.region.row, self.region.col, self.region.height, self.region.width],
            "chunk": self.chunk_tiles,
            "scaling": self.scaling.tag(),
        }


def _address(path: str) -> str:
    return public(os.path.normpath(absolute_scene(path)) if os.path.exists(path) else path)


def open_scene(
    path: PathLike | Sequence[PathLike] | None = None,
    *,
    nir: int | str | None = None,
    red: int | str | None = None,
    green: int | str | None = None,
    stack: Mapping[str, PathLike] | None = None,
    nodata: float | None = None,
    scale: Scale | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    chunk: int | None = None,
) -> xr.DataArray:
    """Open a raster as a lazy DataArray (``band``, ``y``, ``x``) in its own data type.

    Nothing but a few sample tiles is read. Bands whose role is known are named ``red``, ``green``,
    ``blue`` or ``nir``. The coordinate ``valid`` (``y``, ``x``) is False where the NIR band, or one
    named red or green, is masked. CRS, transform, ground control points and nodata are where
    rioxarray expects them (a scene with points, polynomials or a rotated transform has pixel
    positions ``row`` and ``col`` too, so that slices keep their place). The scaling to reflectance
    or display counts stands in
    ``attrs["nirgeo_scaling"]``.

    Parameters
    ----------
    path : a raster GDAL opens, a STAC item (a file, or a URL), a netCDF file or Zarr store (opened
        with xarray), or several single-band files of one scene
    nir, red, green : band number (from 1) or name, instead of what the scene says; of a STAC item,
        an asset
    stack : single-band files by role, e.g. ``{"nir": "B08.jp2", "red": "B04.jp2"}``
    nodata : value of missing pixels, instead of what the file says; may be NaN
    scale : a gain to reflectance, or ``"GAIN[,OFFSET]"``; a file made by nirgeo; or a ``Scaling``
    bounds : (west, south, east, north) in the scene's CRS; snapped to whole pixels. Not of netCDF
        and Zarr, whose picture is cut instead
    chunk : side of a dask chunk in tiles of 64 px; 12 by default

    Raises
    ------
    SourceError, BandError, GridError, RadiometryError, OptionError
    """
    chunk_tiles = check_chunk(chunk)
    nodata = number_or_none("--nodata", nodata)
    unknown = sorted(set(stack or ()) - set(ROLES))
    if unknown:
        raise OptionError(f"--stack {unknown[0]}: the roles are {', '.join(ROLES)}")
    stack = {role: file_name(f"--stack {role}", file) for role, file in (stack or {}).items()}
    single: str | None = None
    if path is None or _are_files(path):
        files = [] if path is None else list(path)
        stack = {**_roles_of_files(files), **(stack or {})}
    else:
        single = file_name("scene", path)
    roles = {
        role: str(band)
        for role, band in (("nir", nir), ("red", red), ("green", green))
        if band is not None
    }
    engine = xarray_engine(single)
    if single is not None and engine is not None:
        if stack or bounds is not None:
            raise OptionError(
                f"{single}: stack needs rasters that GDAL opens, and bounds are cut out of the "
                "picture: nirgeo.colorize(scene).rio.clip_box(west, south, east, north)"
            )
        from nirgeo.multidim import open_multidim

        return open_multidim(
            single,
            engine=engine,
            roles=roles,
            nodata=nodata,
            scale=resolve_scale(scale),
            chunk_tiles=chunk_tiles,
        )
    known = resolve_scale(scale)
    source = _open_item(single, stack, roles, nodata, known)
    if source is None:
        source = open_source(single, stack=stack, roles=roles, nodata=nodata)
        if known is None:
            source = source.of_one_scaling({*roles, *(stack or {})})
    _refuse_twice(source, roles)
    scaling = find_scaling(source.clues, known)
    region = region_of(source.grid, bounds)
    return to_dataarray(SceneView(source, region, chunk_tiles, scaling))


def _are_files(path: Any) -> TypeGuard[Iterable[PathLike]]:
    """Whether it is several names; an open file is none, though it has lines.

    Raises
    ------
    OptionError : files by role, which are given otherwise
    """
    if isinstance(path, Mapping):
        raise OptionError("scene: files by role are given as stack=, and not as the scene")
    named = isinstance(path, (str, bytes, os.PathLike)) or hasattr(path, "read")
    return isinstance(path, Iterable) and not named


def _refuse_twice(source: RasterSource, asked: Mapping[str, str]) -> None:
    """
    Raises
    ------
    BandError : a band is to be two things
    """
    named: dict[int, str] = {}
    for role, band in sorted(source.roles):
        other = named.setdefault(band, role) if role in asked else role
        if other != role:
            raise BandError(
                f"--{other} and --{role} name the same band, {band}; a band is one of them"
            )


def _open_item(
    path: str | None,
    stack: Mapping[str, PathLike] | None,
    roles: Mapping[str, str],
    nodata: float | None,
    scale: str | Scaling | None,
) -> RasterSource | None:
    """The scene that a STAC item describes; None if ``path`` names no item."""
    if path is None:
        return None
    document, _ = item_in_document(path)
    if not (is_url(path) or document.lower().endswith((".json", ".geojson"))):
        return None  # before the reader of items is imported
    from nirgeo.stac.scene import find_item, open_item

    item = find_item(path)
    if item is None:
        return None
    return open_item(item, roles=roles, stack=stack, nodata=nodata, scale=scale)


def xarray_engine(path: str | None) -> str | None:
    """What xarray opens a scene with that GDAL does not; None for all that GDAL opens."""
    if path is None:
        return None
    lower = path.lower().rstrip("/")
    if lower.endswith(".zarr"):
        return "zarr"
    if lower.endswith((".nc", ".nc4")):
        return "netcdf4"
    return None


def _roles_of_files(paths: Sequence[PathLike]) -> dict[str, PathLike]:
    """Which of several single-band files is which; their names must tell."""
    if not paths:
        return {}
    names = [file_name("scene", path) for path in paths]
    labels = [
        BandLabel(number, description=Path(name).stem.rsplit("_", 1)[-1], file_stem=Path(name).stem)
        for number, name in enumerate(names, start=1)
    ]
    found = find_roles(labels, product=" ".join(names))
    return {role: names[number - 1] for role, number in found.items()}


def resolve_scale(scale: Scale | None) -> str | Scaling | None:
    """``--scale FILE`` becomes the scaling that an earlier output recorded, a number a gain."""
    if isinstance(scale, (int, float, np.number)):
        return Scaling(Quantity.REFLECTANCE, float(scale), 0.0, "--scale")
    if isinstance(scale, os.PathLike):
        scale = os.fspath(scale)
    if isinstance(scale, str) and not _looks_like_numbers(scale):
        if not os.path.exists(scale):
            return scale  # find_scaling says what is wrong with it
        with open_dataset(scale) as recorded:
            text = recorded.tags(ns=NAMESPACE).get("SCALING")
        if text is None:
            raise OptionError(f"--scale {scale}: records no scaling; was it made by nirgeo?")
        return Scaling.from_tag(text, f"as in {Path(scale).name}")
    return scale


def _looks_like_numbers(text: str) -> bool:
    try:
        [float(part) for part in text.split(",")]
    except ValueError:
        return False
    return True


def region_of(grid: Grid, bounds: tuple[float, float, float, float] | None) -> Window:
    """The whole pixels that ``bounds`` touch, clipped to the scene.

    Raises
    ------
    OptionError : the bounds are empty or not finite, or the scene has no transform
    GridError : the bounds lie outside the scene
    """
    if bounds is None:
        return Window(0, 0, grid.height, grid.width)
    if isinstance(bounds, (str, bytes)) or len(bounds) != 4:
        raise OptionError(f"--bounds {bounds!r}: need west, south, east, north")
    west, south, east, north = (number("--bounds", side) for side in bounds)
    if not all(map(math.isfinite, (west, south, east, north))) or west >= east or south >= north:
        raise OptionError(
            f"--bounds {west:g} {south:g} {east:g} {north:g}: need west < east and south < north"
        )
    if grid.affine.is_identity and grid.crs is None:
        raise OptionError(
            "--bounds needs a scene with a transform to map coordinates; this one has "
            + ("control points or polynomials only" if grid.georeferenced else "pixels only")
        )
    inverse = ~grid.affine
    corners = [inverse @ (x, y) for x in (west, east) for y in (south, north)]
    # A thousandth of a pixel of slack: bounds that name a pixel's edge must not take in the next.
    slack = 1e-3
    first_col = max(0, math.floor(min(c for c, _ in corners) + slack))
    first_row = max(0, math.floor(min(r for _, r in corners) + slack))
    last_col = min(grid.width, math.ceil(max(c for c, _ in corners) - slack))
    last_row = min(grid.height, math.ceil(max(r for _, r in corners) - slack))
    if first_col >= last_col or first_row >= last_row:
        spans = " ".join(f"{side:.9g}" for side in grid.bounds)
        raise GridError(
            f"--bounds {west:.9g} {south:.9g} {east:.9g} {north:.9g} lie outside the scene, which "
            f"spans {spans}"
        )
    return Window(first_row, first_col, last_row - first_row, last_col - first_col)


def _read_chunk(source: RasterSource, window: Window, numbers: Sequence[int]) -> NDArray[Any]:
    values, _ = source.read(window, numbers)
    return values


def _by_file(source: RasterSource) -> list[list[int]]:
    """Numbers of bands (from 1) that follow each other in one file.

    A chunk holds no others, so that who wants one band of a stack reads one file.
    """
    numbers = range(1, len(source.bands) + 1)
    return [list(group) for _, group in groupby(numbers, lambda n: source.bands[n - 1].path)]


def _read_valid(source: RasterSource, window: Window) -> NDArray[np.bool_]:
    """Where the bands are valid that a model may eat: what they miss, a slice misses too."""
    numbers = [number for role, number in source.roles if role in NAMED]
    _, valid = source.read(window, numbers)
    return valid


def to_dataarray(view: SceneView) -> xr.DataArray:
    """The lazy DataArray of a view; see :func:`open_scene`."""
    # Whoever computes it may stand in another folder by then.
    source, region = view.source.absolute(), view.region
    nodata = _shared_nodata(source)
    view = replace(view, source=source, nodata=nodata)
    grid = view.chunk_grid
    refuse_too_many(grid)
    identity = digest(view.identity())
    name, valid_name = f"nirgeo-scene-{identity}", f"nirgeo-valid-{identity}"
    mark = level_1_mark(source.clues.product or "")
    files = _by_file(source)
    tasks, valid_tasks = {}, {}
    for i, j, chunk in grid.windows():
        window = chunk.shifted(region.row, region.col)
        for k, numbers in enumerate(files):
            tasks[(name, k, i, j)] = (partial(_read_chunk, source, window, numbers),)
        valid_tasks[(valid_name, i, j)] = (partial(_read_valid, source, window),)
    chunks = (grid.row_sizes, grid.col_sizes)
    bands = tuple(map(len, files))
    data = array_from_tasks(name, tasks, (bands, *chunks), source.dtype, facts=view)
    valid = array_from_tasks(valid_name, valid_tasks, chunks, np.bool_, facts=VALID)
    scene = xr.DataArray(
        data,
        dims=("band", "y", "x"),
        coords={"band": list(source.names), VALID: (("y", "x"), valid)},
        name="scene",
        attrs={
            SCALING_ATTR: view.scaling.tag(),
            SCALING_ORIGIN_ATTR: view.scaling.origin,
            "AREA_OR_POINT": source.grid.area_or_point,
        }
        | ({PRODUCT_ATTR: mark} if mark else {}),
    )
    return with_georeference(scene, source.grid, region, nodata=nodata)


def with_chunk(scene: xr.DataArray, chunk: int) -> xr.DataArray:
    """An untouched DataArray of :func:`open_scene` with chunks of another size; any other as it is.

    Nothing is read for that.
    """
    view = view_of(scene)
    if view is None or view.chunk_tiles == chunk:
        return scene
    return to_dataarray(replace(view, chunk_tiles=check_chunk(chunk)))


def _shared_nodata(source: RasterSource) -> float | None:
    """The nodata value if every band has the same one."""
    values: set[float | None] = set()
    said: dict[str, Sequence[float | None]] = {}  # by file: rasterio makes the whole list anew
    for band in source.bands:
        if band.nodata is not None:
            values.add(band.nodata)
            continue
        if band.path not in said:
            with gdal_settings.gdal_env(band.path):
                said[band.path] = band.open().nodatavals
        values.add(said[band.path][band.index - 1])
    distinct = {repr(v): v for v in values}
    return next(iter(distinct.values())) if len(distinct) == 1 else None


def view_of(scene: xr.DataArray) -> SceneView | None:
    """The view behind an untouched DataArray of :func:`open_scene`, else None.

    Another mask in the place of ``valid``, one of clouds for example, is a touch, and so are other
    names of the bands, another nodata value, another scaling, or another place on earth.
    """
    facts = facts_of(scene.data)
    if not isinstance(facts, SceneView):
        return None
    if VALID in scene.coords and facts_of(scene.coords[VALID].data) != VALID:
        return None
    if "band" in scene.coords and tuple(map(str, scene["band"].values)) != facts.source.names:
        return None
    if scene.attrs.get(SCALING_ATTR, facts.scaling.tag()) != facts.scaling.tag():
        return None
    stated = None if facts.nodata is None else as_stored(scene.dtype, facts.nodata)
    nodata = stated_nodata(scene)
    changed = nodata is not None and (stated is None or repr(float(nodata)) != repr(float(stated)))
    return None if changed or not _lies_where(scene, facts) else facts


def _lies_where(scene: xr.DataArray, view: SceneView) -> bool:
    """Whether an array has the CRS and the transform that its source has."""
    source, region = view.source.grid, view.region
    stated = source.crs or source.gcp_crs
    crs, expected = scene.rio.crs, None if stated is None else CRS.from_user_input(stated)
    if crs != expected and (crs is None or expected is None or crs.to_wkt() != expected.to_wkt()):
        return False
    try:
        found = rasterio.Affine(*grid_of(scene).transform)
    except GridError:
        return False
    moved = ~(source.affine @ rasterio.Affine.translation(region.col, region.row)) @ found
    corners = [(0, 0), (region.width, 0), (0, region.height)]
    off = [abs(a - b) for corner in corners for a, b in zip(moved @ corner, corner, strict=True)]
    return max(off) < _SAME_PLACE


_SAME_PLACE = 0.01
"""Pixels between two places that are one, coordinates being rounded."""
