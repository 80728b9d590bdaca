"""Scenes in netCDF files and Zarr stores give the pixels of the GeoTIFF they were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rioxarray
import xarray as xr
from helpers import write_raster
from pictures import scene_values

import nirgeo
from nirgeo.errors import BandError, SourceError
from nirgeo.modelfile import Model


@pytest.fixture
def tif(tmp_path: Path) -> Path:
    return write_raster(
        tmp_path / "scene.tif",
        np.stack([scene_values(150, 170, seed=k) for k in range(2)]),
        descriptions=["red", "nir"],
    )


def dataset(tif: Path) -> xr.Dataset:
    """One variable per band, as odc-stac and many archives write them."""
    with rioxarray.open_rasterio(tif) as opened:
        array = opened.load()
    bands = {"red": array.isel(band=0, drop=True), "nir": array.isel(band=1, drop=True)}
    return xr.Dataset(bands)


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_one_variable_per_band(tif: Path, tmp_path: Path, tiny: Model, kind: str) -> None:
    path = tmp_path / ("scene.nc" if kind == "netcdf" else "scene.zarr")
    stored = dataset(tif)
    if kind == "netcdf":
        stored.to_netcdf(path)
    else:
        stored.to_zarr(path)
    wanted = nirgeo.colorize(nirgeo.open_scene(tif, scale="0.0001"), tiny)
    scene = nirgeo.open_scene(path, scale="0.0001", chunk=1)
    made = nirgeo.colorize(scene, tiny)
    assert scene.chunks is not None, "lazy"
    np.testing.assert_array_equal(made.values, wanted.values)
    assert made.rio.crs == wanted.rio.crs
    np.testing.assert_allclose(tuple(made.rio.transform()), tuple(wanted.rio.transform()))


def test_a_cube_with_a_band_dimension(tif: Path, tmp_path: Path, tiny: Model) -> None:
    cube = dataset(tif).to_dataarray("band", name="cube").rio.write_crs("EPSG:32632")
    path = tmp_path / "cube.nc"
    cube.to_netcdf(path)
    wanted = nirgeo.colorize(nirgeo.open_scene(tif, scale="0.0001"), tiny)
    made = nirgeo.colorize(nirgeo.open_scene(path, scale="0.0001"), tiny)
    np.testing.assert_array_equal(made.values, wanted.values)


def test_what_is_no_scene_is_refused(tif: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"not a netCDF file")
    with pytest.raises(SourceError, match="broken"):
        nirgeo.open_scene(broken)
    flat = tmp_path / "flat.nc"
    xr.Dataset({"series": ("time", np.arange(5.0))}).to_netcdf(flat)
    with pytest.raises(SourceError, match="two spatial dimensions"):
        nirgeo.open_scene(flat)
    unnamed = tmp_path / "unnamed.nc"
    dataset(tif).rename(red="a", nir="b").to_netcdf(unnamed)
    with pytest.raises(BandError, match="--nir"):
        nirgeo.open_scene(unnamed)
    assert nirgeo.open_scene(unnamed, nir="b").sizes["y"] == 150
