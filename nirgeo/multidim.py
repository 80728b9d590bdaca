"""netCDF files and Zarr stores as scenes, opened with xarray."""

from __future__ import annotations

import xarray as xr

from nirgeo.bands import BandLabel, find_roles
from nirgeo.errors import BandError, SourceError
from nirgeo.radiometry import Scaling
from nirgeo.tiling import TILE

_X_NAMES = ("x", "lon", "longitude", "easting", "projection_x_coordinate")
_Y_NAMES = ("y", "lat", "latitude", "northing", "projection_y_coordinate")


def open_multidim(
    path: str,
    *,
    engine: str,
    nir: int | str | None,
    nodata: float | None,
    scale: str | Scaling | None,
    chunk_tiles: int,
) -> xr.DataArray:
    """Open one (band, y, x) variable, or one (y, x) variable per band, as a lazy scene.

    Raises
    ------
    SourceError : not readable, or no variable has two spatial dimensions
    BandError : no variable can be near infrared
    """
    step = chunk_tiles * TILE
    try:
        dataset = xr.open_dataset(
            path, engine=engine, chunks={}, mask_and_scale=False, decode_coords="all"
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise SourceError(f"{path}: xarray can't open it ({error})") from error
    dataset = _spatial_names(dataset)
    flat = [n for n, v in dataset.data_vars.items() if set(v.dims) == {"y", "x"}]
    cubes = [n for n, v in dataset.data_vars.items() if {"y", "x"} < set(v.dims) and v.ndim == 3]
    if not flat and not cubes:
        shapes = ", ".join(f"{n}{v.dims}" for n, v in dataset.data_vars.items())
        raise SourceError(f"{path}: no variable has two spatial dimensions ({shapes})")
    if flat:
        wanted = {"nir": str(nir)} if nir is not None else None
        labels = [BandLabel(k, description=str(n)) for k, n in enumerate(flat, start=1)]
        roles = find_roles(labels, product=path, explicit=wanted)
        by_number = {number: role for role, number in roles.items()}
        chosen = [(flat[k - 1], by_number[k]) for k in sorted(by_number)]
        first = dataset[flat[roles["nir"] - 1]]
        scene = xr.concat(
            [dataset[name].reset_coords(drop=True) for name, _ in chosen], dim="band"
        ).assign_coords(band=[role for _, role in chosen])
        scene.attrs = dict(first.attrs)
    else:
        if len(cubes) > 1:
            raise BandError(f"{path}: several cubes ({', '.join(map(str, cubes))}); select one")
        cube = dataset[cubes[0]]
        (dim,) = (d for d in cube.dims if d not in ("y", "x"))
        scene = cube.rename({dim: "band"}) if dim != "band" else cube
        scene = scene.transpose("band", "y", "x")
        if nir is not None:
            scene = _select_nir(scene, nir)
    crs = dataset.rio.crs
    if crs is not None and scene.rio.crs is None:
        scene = scene.rio.write_crs(crs)
    fill = nodata if nodata is not None else scene.attrs.pop("_FillValue", None)
    if fill is not None:
        scene = scene.rio.write_nodata(float(fill))
    if scale is not None:
        from nirgeo.radiometry import ScalingClues, find_scaling
        from nirgeo.scene import SCALING_ATTR

        found = find_scaling(ScalingClues(str(scene.dtype)), scale)
        scene.attrs[SCALING_ATTR] = found.tag()
    return scene.chunk({"band": -1, "y": step, "x": step})


def _spatial_names(dataset: xr.Dataset) -> xr.Dataset:
    rename = {}
    for target, names in (("x", _X_NAMES), ("y", _Y_NAMES)):
        found = next((n for n in names if n in dataset.dims), None)
        if found is not None and found != target:
            rename[found] = target
    return dataset.rename(rename)


def _select_nir(scene: xr.DataArray, nir: int | str) -> xr.DataArray:
    """Only the band asked for, by position (from 1) or by its label."""
    text = str(nir)
    if text.isdigit():
        if not 1 <= int(text) <= scene.sizes["band"]:
            raise BandError(f"--nir {text}: the scene has bands 1 to {scene.sizes['band']}")
        picked = scene.isel(band=[int(text) - 1])
    else:
        labels = [str(v) for v in scene["band"].values] if "band" in scene.coords else []
        if text not in labels:
            raise BandError(f"--nir {text!r}: no band has this name. Bands: {'; '.join(labels)}")
        picked = scene.isel(band=[labels.index(text)])
    return picked.assign_coords(band=["nir"])
