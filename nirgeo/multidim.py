"""netCDF files and Zarr stores as scenes, opened with xarray."""

from __future__ import annotations

import inspect
import math
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import xarray as xr

from nirgeo.attributes import of_the_scene
from nirgeo.bands import BandLabel, find_roles
from nirgeo.chunk_limits import refuse_too_many
from nirgeo.cube import band_labels
from nirgeo.errors import BandError, NirgeoError, SourceError
from nirgeo.hrefs import has_scheme
from nirgeo.nodata import as_stored
from nirgeo.scaling import Scaling, ScalingClues, find_scaling
from nirgeo.scene_attributes import SCALING_ATTR, SCALING_ORIGIN_ATTR, VALID
from nirgeo.tiling import TILE, ChunkGrid
from nirgeo.unheard import unheard

_X_NAMES = ("x", "lon", "longitude", "easting", "projection_x_coordinate")
_Y_NAMES = ("y", "lat", "latitude", "northing", "projection_y_coordinate")

# CF conventions, section 4: these units mean longitude and latitude and nothing else.
_DEGREES = ("degrees_east", "degree_east", "degrees_e", "degree_e")

_AS_STORED: dict[str, Any] = {"mask_and_scale": False, "decode_coords": "all"}

_MAX_STORED_CHUNKS = 2**20

# Indexes are coordinates read as a whole. xarray before 2025.7 makes them in any case.
_WITHOUT_INDEXES: dict[str, Any] = (
    {"create_default_indexes": False}
    if "create_default_indexes" in inspect.signature(xr.open_dataset).parameters
    else {}
)

_NUMCODECS = ">=0.16.6,!=0.17.0"
"""As in pyproject.toml, for those who have not installed the extra."""

# Attributes that say how numbers become values: bands of one array must agree on them.
_CODING = ("scale_factor", "add_offset", "_FillValue", "missing_value")


class _Hdf5Lock:
    """HDF5 bears no two threads. xarray has a lock for reading, but none for all that it looks at
    when it opens a file; and that one can't be taken twice.
    """

    def __init__(self) -> None:
        lock = threading.RLock()
        self.acquire, self.release = lock.acquire, lock.release

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def locked(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "_hdf5"  # in another process that process's own


_hdf5 = _Hdf5Lock()


def open_multidim(
    path: str,
    *,
    engine: str,
    roles: Mapping[str, str],
    nodata: float | None,
    scale: str | Scaling | None,
    chunk_tiles: int,
) -> xr.DataArray:
    """Open one (band, y, x) variable, or one (y, x) variable per band, as a lazy scene.

    ``roles`` are explicit bands: names of variables, or labels of a cube's bands, or their numbers
    from 1 (a Zarr store has no order: there variables count by name).

    Raises
    ------
    SourceError : not readable, or no variable has two spatial dimensions
    BandError : no variable can be near infrared, or bands asked for do not go together
    """
    if engine == "zarr":
        _refuse_codecs_that_run_code()
    options = _AS_STORED if engine == "zarr" else _AS_STORED | {"lock": _hdf5}
    try:
        with _hdf5:
            _refuse_too_many_chunks(path, engine, options)
            dataset = xr.open_dataset(path, engine=engine, chunks={}, **options)
    except NirgeoError:
        raise
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        if not has_scheme(path) and not os.path.exists(path):
            raise SourceError(f"{path}: no such file") from error
        # xarray says both in many words: that an engine is missing, or does not know the file.
        missing = isinstance(error, ImportError | ValueError)
        remedy = "; reading such files needs pip install 'nirgeo[netcdf]'" if missing else ""
        if has_scheme(path):
            remedy = "; netCDF files are read from disks: download it"
            if engine == "zarr":
                remedy = "; install what is missing for stores on servers, or download it"
        raise SourceError(f"{path}: xarray can't open it ({error}){remedy}") from error
    dataset = _unsigned(_spatial_names(dataset))
    dataset = dataset.squeeze(
        [d for d, size in dataset.sizes.items() if size == 1 and d not in ("y", "x")], drop=True
    )
    flat = [n for n, v in dataset.data_vars.items() if set(v.dims) == {"y", "x"}]
    cubes = [n for n, v in dataset.data_vars.items() if {"y", "x"} < set(v.dims) and v.ndim == 3]
    if engine == "zarr":  # a store has no order of its own; band numbers must have one
        flat.sort(key=str)
    if not flat and not cubes:
        shapes = ", ".join(f"{n}{v.dims}" for n, v in dataset.data_vars.items())
        raise SourceError(f"{path}: no variable has two spatial dimensions ({shapes})")
    if flat:
        scene = _from_variables(dataset, flat, path, roles)
    else:
        if len(cubes) > 1:
            raise BandError(_several_rasters(path, dataset[cubes[0]], cubes))
        cube = dataset[cubes[0]]
        (dim,) = (d for d in cube.dims if d not in ("y", "x"))
        scene = cube.rename({dim: "band"}) if dim != "band" else cube
        scene = scene.transpose("band", "y", "x")
        if roles:
            scene = _select(scene, path, roles)
    crs = dataset.rio.crs or _geographic(dataset)
    if crs is not None and scene.rio.crs is None:
        scene = scene.rio.write_crs(crs)
    if scene.dtype.kind not in "buif":
        raise SourceError(f"{path}: its pixels are {scene.dtype}, no numbers")
    fill = nodata if nodata is not None else scene.attrs.pop("_FillValue", None)
    if fill is not None:
        scene.attrs.pop("_FillValue", None)
        stored = as_stored(scene.dtype, float(fill))
        scene = scene if stored is None else scene.rio.write_nodata(stored)
    refuse_too_many(ChunkGrid(scene.sizes["y"], scene.sizes["x"], chunk_tiles))
    if scale is not None:
        found = find_scaling(ScalingClues(str(scene.dtype)), scale)
        scene.attrs |= {SCALING_ATTR: found.tag(), SCALING_ORIGIN_ATTR: found.origin}
    step = chunk_tiles * TILE
    return scene.chunk({"band": -1, "y": step, "x": step})


def _several_rasters(path: str, first: xr.DataArray, names: Sequence[Any]) -> str:
    (dim,) = (str(d) for d in first.dims if d not in ("y", "x"))
    return (
        f"{path}: {', '.join(map(str, names))} have a dimension more, {dim} of {first.sizes[dim]}, "
        f"and a scene is one raster; save one with xarray ({dim}=0: dataset.isel({dim}=0)), or "
        "colorize all of them with import nirgeo.accessor and dataset.nirgeo.colorize()"
    )


def _refuse_codecs_that_run_code() -> None:
    """A store may say that its chunks are pickles, which say what is to be called.

    numcodecs unpickles nothing any more, unless its user's environment asks for it, since these
    versions (GHSA-jqc8-qjfv-5m6r).
    """
    from packaging.specifiers import SpecifierSet

    try:
        found = version("numcodecs")
    except PackageNotFoundError:
        return
    if not SpecifierSet(_NUMCODECS).contains(found, prereleases=True):
        raise SourceError(
            f"numcodecs {found}, which reads Zarr stores, runs code that it finds in one; pip "
            f"install 'numcodecs{_NUMCODECS}'"
        )


def _refuse_too_many_chunks(path: str, engine: str, options: Mapping[str, Any]) -> None:
    """A store of a few bytes can declare any number of chunks, and each costs memory at once."""
    # Of what Zarr tells when it is opened to be read, too.
    with unheard() if engine == "zarr" else nullcontext():
        looked_at = xr.open_dataset(path, engine=engine, chunks=None, **_WITHOUT_INDEXES, **options)
    with looked_at as dataset:
        for name, variable in dataset.variables.items():
            own = variable.encoding.get("preferred_chunks") or {}
            count = math.prod(-(-n // (own.get(d) or n or 1)) for d, n in variable.sizes.items())
            if variable.dims == (name,) and variable.size > _MAX_STORED_CHUNKS:
                raise SourceError(
                    f"{path}: coordinate {name} has {variable.size} values, more than "
                    f"{_MAX_STORED_CHUNKS}; they are read as a whole"
                )
            if count > _MAX_STORED_CHUNKS:
                shape = "×".join(map(str, variable.shape))
                raise SourceError(
                    f"{path}: variable {name} of {shape} consists of {count} chunks, more than "
                    f"{_MAX_STORED_CHUNKS}; store it in larger ones"
                )


def _from_variables(
    dataset: xr.Dataset, names: list[Any], path: str, roles: Mapping[str, str]
) -> xr.DataArray:
    """One band per variable that has a role and is coded as near infrared is."""
    labels = [BandLabel(k, description=str(n)) for k, n in enumerate(names, start=1)]
    found = find_roles(labels, product=path, explicit=roles)
    first = dataset[names[found["nir"] - 1]]
    chosen = []
    for role, number in sorted(found.items(), key=lambda item: item[1]):
        band = dataset[names[number - 1]]
        if _coding(band) == _coding(first):
            chosen.append((role, band.reset_coords(drop=True)))  # such as time, one for each
        elif role in roles:
            raise BandError(
                f"{path}: {band.name} and {first.name} differ in scale, offset or fill value, "
                f"so they can't be read together; leave --{role} away"
            )
    scene = xr.concat([band for _, band in chosen], dim="band", combine_attrs="override")
    scene = scene.assign_coords(band=[role for role, _ in chosen])
    kept = {VALID, dataset.rio.grid_mapping} & set(first.coords)
    scene = scene.assign_coords({name: first.coords[name] for name in kept})
    scene.attrs = of_the_scene(dataset.attrs) | dict(first.attrs)
    return scene


def _coding(band: xr.DataArray) -> list[str]:
    return [str(band.dtype), *(repr(np.asarray(band.attrs.get(a))) for a in _CODING)]


def _geographic(dataset: xr.Dataset) -> str | None:
    """WGS 84 where the coordinates are degrees and nobody says of which ellipsoid."""
    units = str(dataset["x"].attrs.get("units", "")).lower() if "x" in dataset.coords else ""
    return "EPSG:4326" if units in _DEGREES else None


def _unsigned(dataset: xr.Dataset) -> xr.Dataset:
    """Bytes of netCDF's classic kind, which knows only signed ones, as what they are."""
    changed = {}
    for name, values in dataset.data_vars.items():
        if str(values.attrs.get("_Unsigned", "")).lower() != "true" or values.dtype.kind != "i":
            continue
        kind = np.dtype(f"u{values.dtype.itemsize}")
        attrs = {k: v for k, v in values.attrs.items() if k != "_Unsigned"}
        for key in ("_FillValue", "missing_value"):
            if key in attrs:
                attrs[key] = np.asarray(attrs[key]).astype(values.dtype).astype(kind)[()]
        changed[name] = values.astype(kind).drop_attrs(deep=False).assign_attrs(attrs)
    return dataset.assign(changed)


def _spatial_names(dataset: xr.Dataset) -> xr.Dataset:
    rename = {}
    for target, names in (("x", _X_NAMES), ("y", _Y_NAMES)):
        found = next((n for n in names if n in dataset.dims), None)
        if found is not None and found != target:
            rename[found] = target
    return dataset.rename(rename)


def _select(scene: xr.DataArray, path: str, roles: Mapping[str, str]) -> xr.DataArray:
    """Only the bands asked for and those whose labels tell what they are, named by role."""
    found = find_roles(band_labels(scene), product=path, explicit=roles)
    picked = scene.isel(band=[number - 1 for number in found.values()])
    return picked.assign_coords(band=list(found))
