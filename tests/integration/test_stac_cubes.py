"""Cubes as odc-stac and stackstac themselves load them, from items with COGs on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from helpers import NORTH_UP_10M, UTM, write_raster
from pictures import command, punch_holes, read, scene_values
from pystac.utils import str_to_datetime
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate

import nirgeo
import nirgeo.accessor
from nirgeo.errors import RadiometryError
from nirgeo.georeference import grid_of
from nirgeo.modelfile import Model

DATES = ("2024-03-01T10:20:30Z", "2024-06-01T10:20:30Z")
SHAPE = (150, 201)
BANDS = {"red": "B04", "green": "B03", "nir": "B08"}


def values_of(date: int, number: int) -> Any:
    values = scene_values(*SHAPE, seed=10 * number + date)
    values[~punch_holes(*SHAPE, seed=date)] = 0
    return values


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    """Two dates of one place: an asset per band, with what the projection extension says."""
    folder = tmp_path_factory.mktemp("items")
    box = transform_bounds(UTM, "EPSG:4326", *array_bounds(*SHAPE, NORTH_UP_10M))
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    made = []
    for date, moment in enumerate(DATES):
        item = pystac.Item(
            f"scene-{date}",
            {"type": "Polygon", "coordinates": [ring]},
            list(box),
            str_to_datetime(moment),
            {"proj:code": UTM, "proj:epsg": int(UTM.split(":")[1])},
            stac_extensions=[
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            ],
            collection="scenes",
        )
        for number, (name, label) in enumerate(BANDS.items()):
            path = write_raster(
                folder / f"{date}-{label}.tif",
                values_of(date, number),
                nodata=0,
                tiled=True,
                blockxsize=64,
                blockysize=64,
            )
            fields = {
                "eo:bands": [{"name": label, "common_name": name}],
                "raster:bands": [
                    {"nodata": 0, "data_type": "uint16", "scale": 1e-4, "offset": 0.0}
                ],
                "proj:shape": list(SHAPE),
                "proj:transform": list(NORTH_UP_10M)[:6],
            }
            item.add_asset(
                name, pystac.Asset(str(path), media_type=pystac.MediaType.COG, extra_fields=fields)
            )
        made.append(item)
    return made


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, items: list[pystac.Item], full_size: Model
) -> list[tuple[Any, Any]]:
    """Picture and mask of each date, from files that ``nirgeo colorize`` wrote."""
    folder = tmp_path_factory.mktemp("written")
    made = []
    for item in items:
        out = folder / f"{item.id}.tif"
        stack = [f"--stack={name}={item.assets[name].href}" for name in BANDS]
        command("colorize", *stack, "-o", out, "--model", full_size.path, "-q")
        made.append(read(out))
    return made


def odc_cube(items: list[pystac.Item], **options: Any) -> xr.Dataset:
    stac = pytest.importorskip("odc.stac", reason="odc-stac is not installed")
    options = {"chunks": {"x": 70, "y": 50}} | options
    cube: xr.Dataset = stac.load(items, bands=list(BANDS), crs=UTM, resolution=10, **options)
    return cube


@pytest.fixture
def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``with nothing_is_computed:`` fails when dask is asked to run anything."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was computed")

    return dask.config.set(scheduler=refuse)


def same_as_written(rgb: xr.DataArray, written: list[tuple[Any, Any]]) -> None:
    computed = rgb.compute()
    for date, (picture, mask) in enumerate(written):
        one = computed.isel(time=date)
        np.testing.assert_array_equal(one["valid"].values, mask)
        np.testing.assert_array_equal(one.values, picture)


@pytest.mark.parametrize("chunks", [(70, 50), (37, 61), (64, 64), (500, 500)])
def test_a_cube_of_odc_stac_is_what_the_command_line_writes(
    items: list[pystac.Item],
    written: list[tuple[Any, Any]],
    full_size: Model,
    nothing_is_computed: Any,
    chunks: tuple[int, int],
) -> None:
    cube = odc_cube(items, chunks={"x": chunks[0], "y": chunks[1]})
    with nothing_is_computed:
        rgb = cube.nirgeo.colorize(full_size)
    assert rgb.dims == ("time", "band", "y", "x")
    assert rgb.chunks is not None
    np.testing.assert_array_equal(rgb["time"].values, cube["time"].values)
    same_as_written(rgb, written)


def test_a_loaded_cube_is_colorized_at_once(
    items: list[pystac.Item], written: list[tuple[Any, Any]], full_size: Model
) -> None:
    rgb = odc_cube(items, chunks=None).nirgeo.colorize(full_size)
    assert rgb.chunks is None
    same_as_written(rgb, written)


def test_bands_of_odc_stac_are_found_by_their_common_names(
    items: list[pystac.Item], full_size: Model
) -> None:
    stac = pytest.importorskip("odc.stac", reason="odc-stac is not installed")
    one_band = stac.load(items, bands=["nir"], crs=UTM, resolution=10, chunks={})
    expected = odc_cube(items)[["nir"]].nirgeo.colorize(full_size)
    np.testing.assert_array_equal(one_band.nirgeo.colorize(full_size).values, expected.values)


def test_a_cube_in_degrees_keeps_its_axes(items: list[pystac.Item], tiny: Model) -> None:
    stac = pytest.importorskip("odc.stac", reason="odc-stac is not installed")
    cube = stac.load(items, bands=["nir"], crs="EPSG:4326", resolution=1e-4, chunks={"x": 90})
    rgb = cube.nirgeo.colorize(tiny)
    assert rgb.dims == ("time", "band", "latitude", "longitude")
    assert tuple(rgb.odc.geobox.affine) == pytest.approx(tuple(cube.odc.geobox.affine))
    assert rgb.odc.geobox.crs.to_epsg() == 4326
    again = cube.load().nirgeo.colorize(tiny)
    np.testing.assert_array_equal(rgb.values, again.values)


def test_a_picture_of_a_cube_makes_round_trips(
    tmp_path: Path, items: list[pystac.Item], tiny: Model
) -> None:
    cube = odc_cube(items)
    rgb = cube.nirgeo.colorize(tiny)
    assert rgb.odc.geobox == cube.odc.geobox
    first = rgb.isel(time=0)

    first.rio.to_raster(tmp_path / "rio.tif")
    from odc.geo.xr import write_cog

    write_cog(first.compute(), tmp_path / "odc.tif")
    for name in ("rio.tif", "odc.tif"):
        with rasterio.open(tmp_path / name) as file:
            np.testing.assert_array_equal(file.read(), first.values)
            assert file.crs == rasterio.CRS.from_user_input(UTM)
            assert file.transform == NORTH_UP_10M
    valid, errors, _ = cog_validate(tmp_path / "odc.tif")
    assert valid, errors

    pytest.importorskip("zarr", reason="zarr is an extra")
    rgb.to_dataset(name="rgb").to_zarr(tmp_path / "cube.zarr")
    again = xr.open_zarr(tmp_path / "cube.zarr", decode_coords="all")["rgb"]
    np.testing.assert_array_equal(again.values, rgb.values)
    assert again.odc.geobox == cube.odc.geobox
    assert again.attrs["nirgeo_model"] == tiny.spec.full_name


def test_a_month_is_a_cube_too(items: list[pystac.Item], tiny: Model) -> None:
    cube = odc_cube(items)
    by_month = cube.groupby("time.month").median()
    for name in by_month.data_vars:
        by_month[name].attrs["nodata"] = 0
    with pytest.raises(RadiometryError, match="scale='1'"):
        by_month.nirgeo.colorize(tiny)
    rgb = by_month.nirgeo.colorize(tiny, scale="0.0001")
    assert rgb.dims == ("month", "band", "y", "x")
    np.testing.assert_array_equal(rgb.values, cube.nirgeo.colorize(tiny).values)


def stacked(items: list[pystac.Item], **options: Any) -> xr.DataArray:
    stackstac = pytest.importorskip("stackstac", reason="stackstac is not installed")
    array: xr.DataArray = stackstac.stack(
        items, assets=list(BANDS), epsg=int(UTM.split(":")[1]), resolution=10, **options
    )
    return array


@pytest.mark.parametrize("chunksize", [64, 77])
def test_a_stack_of_stackstac_is_what_the_command_line_writes(
    items: list[pystac.Item],
    written: list[tuple[Any, Any]],
    full_size: Model,
    nothing_is_computed: Any,
    chunksize: int,
) -> None:
    array = stacked(
        items, dtype="uint16", fill_value=np.uint16(0), rescale=False, chunksize=chunksize
    )
    with nothing_is_computed:
        rgb = array.nirgeo.colorize(full_size, nodata=0)
    assert rgb.dims == ("time", "band", "y", "x")
    same_as_written(rgb, written)
    assert rgb.rio.crs == rasterio.CRS.from_user_input(UTM)
    xr.testing.assert_equal(rgb["x"].variable, array["x"].variable)


@pytest.mark.parametrize("corners", ["topleft", "center"])
def test_a_stack_is_written_where_its_scenes_lie(
    tmp_path: Path, items: list[pystac.Item], tiny: Model, corners: str
) -> None:
    """stackstac's coordinates are corners by default, which rioxarray would take for centres."""
    array = stacked(items, rescale=False, chunksize=77, xy_coords=corners)
    rgb = array.nirgeo.colorize(tiny, scale="0.0001")
    nirgeo.write_geotiff(rgb.isel(time=0), tmp_path / "whole.tif")
    nirgeo.write_geotiff(rgb.isel(time=0)[:, 20:, 31:], tmp_path / "part.tif")
    with (
        rasterio.open(tmp_path / "whole.tif") as whole,
        rasterio.open(tmp_path / "part.tif") as part,
    ):
        assert whole.transform == NORTH_UP_10M
        assert part.transform == NORTH_UP_10M @ rasterio.Affine.translation(31, 20)
        np.testing.assert_array_equal(part.read(), whole.read()[:, 20:, 31:])


@pytest.mark.parametrize("corners", ["topleft", "center"])
@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_a_preview_of_a_stack_lies_where_its_scenes_lie(
    items: list[pystac.Item], tiny: Model, corners: str, factor: int
) -> None:
    array = stacked(items, rescale=False, xy_coords=corners)[0]
    side = -(-SHAPE[1] // factor)
    small = array.nirgeo.preview(side, tiny, scale="0.0001")
    of_picture = array.nirgeo.colorize(tiny, scale="0.0001").nirgeo.preview(side)
    for preview in (small, of_picture):
        assert preview.rio.transform() == NORTH_UP_10M @ rasterio.Affine.scale(factor)
        assert preview.rio.transform(recalc=True) == preview.rio.transform()
        assert preview.rio.crs == rasterio.CRS.from_user_input(UTM)
        grid = grid_of(preview)
        assert grid.transform == tuple(preview.rio.transform())[:6]


def test_a_stack_tells_its_bands_by_common_names(items: list[pystac.Item], tiny: Model) -> None:
    array = stacked(items, rescale=False)
    assert list(array["common_name"].values) == list(BANDS)
    other = array.assign_coords(band=["one", "two", "three"])
    rgb = other.nirgeo.colorize(tiny, scale="0.0001")
    expected = array.nirgeo.colorize(tiny, scale="0.0001")
    np.testing.assert_array_equal(rgb.values, expected.values)


def test_a_stack_has_the_colours_of_its_place(
    items: list[pystac.Item], with_prior: Model, tmp_path: Path
) -> None:
    """The hint is looked up by the transform: half a pixel beside it, bits would differ."""
    array = stacked(items, dtype="uint16", fill_value=np.uint16(0), rescale=False)
    rgb = array.nirgeo.colorize(with_prior, nodata=0).compute()
    assert "trust" in rgb.attrs["nirgeo_colour_hint"]
    stack = [f"--stack={name}={items[0].assets[name].href}" for name in BANDS]
    command("colorize", *stack, "-o", tmp_path / "a.tif", "--model", with_prior.path, "-q")
    np.testing.assert_array_equal(rgb.values[0], read(tmp_path / "a.tif")[0])


def test_reflectance_of_stackstac_is_within_a_level(
    items: list[pystac.Item], written: list[tuple[Any, Any]], full_size: Model
) -> None:
    array = stacked(items)  # float64, scaled, NaN where there is nothing
    with pytest.raises(RadiometryError, match="scale='1'"):
        array.nirgeo.colorize(full_size)
    rgb = array.nirgeo.colorize(full_size, scale="1").compute()
    for date, (picture, mask) in enumerate(written):
        one = rgb.isel(time=date)
        np.testing.assert_array_equal(one["valid"].values, mask)
        assert np.abs(one.values.astype(int) - picture).max() <= 1
