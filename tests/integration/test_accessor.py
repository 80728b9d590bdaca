"""``.nirgeo`` on arrays, datasets and cubes: lazy, exact, and whole again after a round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from helpers import NORTH_UP_10M, UTM, write_raster
from pictures import command, punch_holes, read, scene_values

import nirgeo
import nirgeo.accessor
from nirgeo.cube import _pooled_clues, band_labels, scaling_of_bands, with_axes
from nirgeo.errors import BandError, BandWarning, GridError, RadiometryError
from nirgeo.georeference import grid_of
from nirgeo.modelfile import Model

DATES = np.array(["2024-03-01", "2024-06-01", "2024-09-01"], dtype="datetime64[ns]")
SHAPE = (150, 201)


def never(block: Any) -> Any:
    raise AssertionError("a pixel was computed")


def axes(height: int, width: int) -> dict[str, Any]:
    t = NORTH_UP_10M
    return {"y": t.f + (np.arange(height) + 0.5) * t.e, "x": t.c + (np.arange(width) + 0.5) * t.a}


def cube(*, lazy: bool = True, chunk: int = 70) -> xr.Dataset:
    """Three dates as odc-stac loads them: a variable per band, nodata as an attribute."""
    variables = {}
    for k, name in enumerate(["red", "green", "nir", "scl"]):
        values = np.stack([scene_values(*SHAPE, seed=10 * k + date) for date in range(3)])
        values[:, ~punch_holes(*SHAPE)] = 0
        values = values.astype("uint8") if name == "scl" else values
        data = da.from_array(values, chunks=(1, chunk, chunk)) if lazy else values
        variables[name] = (("time", "y", "x"), data, {"nodata": 0})
    made = xr.Dataset(variables, coords={"time": DATES, **axes(*SHAPE)})
    return made.rio.write_crs(UTM)


def one_date(path: Path, date: int) -> Path:
    values = np.stack([scene_values(*SHAPE, seed=10 * k + date) for k in range(3)])
    values[:, ~punch_holes(*SHAPE)] = 0
    return write_raster(path, values, nodata=0, descriptions=("red", "green", "nir"))


@pytest.mark.parametrize("chunk", [64, 70, 37, 512])
def test_every_date_of_a_cube_is_what_the_command_line_writes(
    tmp_path: Path, full_size: Model, chunk: int
) -> None:
    rgb = cube(chunk=chunk).nirgeo.colorize(full_size)
    assert rgb.dims == ("time", "band", "y", "x")
    assert rgb.dtype == np.uint8
    assert rgb.chunks is not None
    assert list(rgb["band"].values) == ["red", "green", "blue"]
    np.testing.assert_array_equal(rgb["time"].values, DATES)
    computed = rgb.compute()
    for date in (0, 2):
        out = tmp_path / f"{date}_rgb.tif"
        scene = one_date(tmp_path / f"{date}.tif", date)
        command("colorize", scene, "-o", out, "--model", full_size.path, "-q")
        picture, mask = read(out)
        np.testing.assert_array_equal(computed.values[date], picture)
        valid = computed["valid"]
        valid = valid.isel(time=date) if "time" in valid.dims else valid
        np.testing.assert_array_equal(valid.values, mask)


def test_a_lazy_cube_is_not_looked_at(tiny: Model) -> None:
    lazy = cube().map_blocks(lambda block: block)  # dask's own graph, nothing in memory
    for name in lazy.data_vars:
        lazy[name].data = lazy[name].data.map_blocks(
            never, dtype=lazy[name].dtype, meta=np.array(())
        )
    rgb = lazy.nirgeo.colorize(tiny)
    assert rgb.sizes == {"time": 3, "band": 3, "y": SHAPE[0], "x": SHAPE[1]}
    with pytest.raises(AssertionError, match="a pixel was computed"):
        rgb.isel(time=0).compute()


def test_a_cube_in_memory_is_colorized_at_once(tiny: Model) -> None:
    lazy = cube().nirgeo.colorize(tiny).compute()
    eager = cube(lazy=False).nirgeo.colorize(tiny)
    assert eager.chunks is None
    np.testing.assert_array_equal(eager.values, lazy.values)


def test_a_band_dimension_and_more_dimensions_give_the_same(tiny: Model) -> None:
    dataset = cube()
    expected = dataset.nirgeo.colorize(tiny).compute()
    array = dataset[["red", "green", "nir"]].to_array("band").transpose("time", "band", "y", "x")
    array = array.assign_attrs(nodata=0).rio.write_crs(UTM)
    np.testing.assert_array_equal(array.nirgeo.colorize(tiny).values, expected.values)
    deep = array.expand_dims(sensor=["a", "b"])
    rgb = deep.nirgeo.colorize(tiny)
    assert rgb.dims == ("sensor", "time", "band", "y", "x")
    for sensor in range(2):
        np.testing.assert_array_equal(rgb.isel(sensor=sensor).values, expected.values)


def test_axes_in_degrees_keep_their_names(tiny: Model) -> None:
    turned = cube().rename(y="latitude", x="longitude").drop_vars("spatial_ref")
    turned = turned.assign_coords(
        latitude=45 - np.arange(SHAPE[0]) * 1e-4, longitude=9 + np.arange(SHAPE[1]) * 1e-4
    )
    rgb = turned.nirgeo.colorize(tiny)
    assert rgb.dims == ("time", "band", "latitude", "longitude")
    np.testing.assert_array_equal(rgb["latitude"].values, turned["latitude"].values)
    np.testing.assert_array_equal(rgb.values, cube().nirgeo.colorize(tiny).values)


def test_floats_of_a_lazy_cube_must_say_what_they_are(tiny: Model) -> None:
    floats = (cube() / 10_000).astype("float32")
    for name in floats.data_vars:
        floats[name].attrs.pop("nodata", None)
    with pytest.raises(RadiometryError, match="scale='1'"):
        floats.nirgeo.colorize(tiny)
    rgb = floats.nirgeo.colorize(tiny, scale="1", nodata=0).compute()
    expected = cube().nirgeo.colorize(tiny).compute()
    assert np.abs(rgb.values.astype(int) - expected.values).max() <= 1


SENTINEL_2 = {"red": "B04", "green": "B03", "nir": "B08"}


def test_sentinel_2s_own_names_tell_the_bands(tiny: Model) -> None:
    expected = cube().nirgeo.colorize(tiny)
    named = cube().rename(SENTINEL_2)
    np.testing.assert_array_equal(named.nirgeo.colorize(tiny).values, expected.values)
    array = named[list(SENTINEL_2.values())].to_array("band").assign_attrs(nodata=0)
    np.testing.assert_array_equal(array.nirgeo.colorize(tiny).values, expected.values)


@pytest.mark.parametrize("key", ["common_name", "eo:common_name"])
def test_common_names_along_band_tell_the_bands(tiny: Model, key: str) -> None:
    expected = cube().nirgeo.colorize(tiny)
    array = cube()[["red", "green", "nir"]].to_array("band").assign_attrs(nodata=0)
    names = np.array(["red", None, "nir"], dtype=object)
    array = array.assign_coords({"band": ["x1", "x2", "x3"], key: ("band", names)})
    rgb = array.nirgeo.colorize(tiny)
    np.testing.assert_array_equal(rgb.values, expected.values)
    assert key not in rgb.coords
    renamed = array.assign_coords({"band": ["nir", "x2", "x3"], key: ("band", names)})
    nir = cube()[["red"]].rename(red="nir").nirgeo.colorize(tiny)
    np.testing.assert_array_equal(renamed.nirgeo.colorize(tiny).values, nir.values)
    with pytest.raises(BandError, match="rename the band or variable to nir"):
        array.drop_vars(key).nirgeo.colorize(tiny)
    with pytest.raises(BandError, match="rename the band or variable to nir"):
        cube()[["scl", "red"]].nirgeo.colorize(tiny)


def test_a_coordinate_over_dates_and_bands_is_left_out(tiny: Model) -> None:
    array = cube()[["red", "green", "nir"]].to_array("band").assign_attrs(nodata=0)
    array = array.assign_coords(
        quality=(("time", "band"), np.arange(9).reshape(3, 3)), cloud=("time", [1.0, 2.0, 3.0])
    )
    rgb = array.nirgeo.colorize(tiny)
    np.testing.assert_array_equal(rgb.values, cube().nirgeo.colorize(tiny).values)
    np.testing.assert_array_equal(rgb["cloud"].values, [1, 2, 3])
    assert "quality" not in rgb.coords


@pytest.mark.parametrize(
    ("key", "value"), [("missing_value", 0), ("fill_value", 0), ("nodatavals", (0.0,))]
)
def test_missing_pixels_of_a_dataset_are_those_of_its_variables(
    tiny: Model, key: str, value: Any
) -> None:
    dataset = cube().isel(time=0)
    for name in dataset.data_vars:
        dataset[name].attrs = {key: value}
    rgb = dataset.nirgeo.colorize(tiny)
    np.testing.assert_array_equal(rgb["valid"].values, punch_holes(*SHAPE))
    assert key not in rgb.attrs
    alone = dataset["nir"].nirgeo.colorize(tiny)
    np.testing.assert_array_equal(alone.values, rgb.values)


def scaling_of(rgb: xr.DataArray) -> Any:
    return rgb.attrs.get("nirgeo_scaling")


def test_dates_of_a_cube_have_one_scaling(tiny: Model) -> None:
    """A dark date alone would be taken for display counts, and ``auto`` give it another model."""
    given = cube(lazy=False)
    given["nir"].values[1] //= 60
    with pytest.raises(RadiometryError, match="holds display counts"):
        given.isel(time=1).nirgeo.colorize(tiny)
    rgb = given.nirgeo.colorize(tiny)
    expected = given.chunk(y=70, x=70).nirgeo.colorize(tiny)
    np.testing.assert_array_equal(rgb.values, expected.values)
    assert scaling_of(rgb) == "reflectance:0.0001,0.0"
    assert rgb.attrs == expected.attrs
    # All of them dark are counts as one of them is.
    dark = given.isel(time=[1, 1])
    with pytest.raises(RadiometryError, match="holds display counts"):
        dark.nirgeo.colorize(tiny)
    floats = (given[["nir"]] / 10_000).assign(nir=lambda d: d["nir"].assign_attrs(nodata=0))
    assert scaling_of(floats.nirgeo.colorize(tiny)) == "reflectance:1.0,0.0"


def test_missing_pixels_do_not_tell_a_cubes_scaling(tiny: Model) -> None:
    given = cube(lazy=False)[["nir"]]
    given["nir"].attrs = {}
    given["nir"].values[:, :, 2:] = 7
    with pytest.raises(RadiometryError, match="holds display counts"):
        given.nirgeo.colorize(tiny)
    given["nir"].values[:, :, :2] = 3000
    rgb = given.nirgeo.colorize(tiny, nodata=7)
    assert scaling_of(rgb) == "reflectance:0.0001,0.0"
    given["nir"].attrs = {"missing_value": 7}
    assert scaling_of(given.nirgeo.colorize(tiny)) == "reflectance:0.0001,0.0"


def test_a_long_cube_is_sampled_with_every_date(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nirgeo.cube._POOLED_RASTERS", 1)
    given = cube(lazy=False)
    given["nir"].values[:2] //= 60
    assert scaling_of(given.nirgeo.colorize(tiny)) == "reflectance:0.0001,0.0"


@pytest.mark.parametrize("dates", [1, 2, 64])
def test_of_a_short_cube_every_pixel_of_a_sample_counts(dates: int) -> None:
    values = np.full((dates, 70, 70), 7, np.uint16)
    values[-1, 3, 5] = 3000
    given = xr.DataArray(values, dims=("time", "y", "x"))
    assert _pooled_clues(given, 7).high == 3000


def test_bands_with_different_nodata_are_refused(tiny: Model) -> None:
    dataset = cube()
    dataset["red"].attrs["nodata"] = 9
    with pytest.raises(BandError, match="nodata"):
        dataset.nirgeo.colorize(tiny)
    with pytest.raises(BandError, match=r"near infrared|--nir"):
        dataset[["scl", "red"]].nirgeo.colorize(tiny)


def test_a_dataset_of_red_alone_is_coloured_with_a_warning(tiny: Model) -> None:
    with pytest.warns(BandWarning, match=r"1: red"):
        cube()[["red"]].nirgeo.colorize(tiny)


def test_an_empty_cube_is_refused(tiny: Model) -> None:
    with pytest.raises(GridError, match="time is empty"):
        cube().isel(time=slice(0, 0)).nirgeo.colorize(tiny)


def test_a_picture_survives_a_geotiff_and_a_zarr_store(tmp_path: Path, tiny: Model) -> None:
    rgb = cube().nirgeo.colorize(tiny)
    first = rgb.isel(time=0)
    first.rio.to_raster(tmp_path / "first.tif")
    with rasterio.open(tmp_path / "first.tif") as file:
        np.testing.assert_array_equal(file.read(), first.values)
        assert file.crs == rasterio.CRS.from_user_input(UTM)
        assert file.transform == NORTH_UP_10M
    pytest.importorskip("zarr", reason="zarr is an extra")
    rgb.to_dataset(name="rgb").to_zarr(tmp_path / "cube.zarr")
    again = xr.open_zarr(tmp_path / "cube.zarr", decode_coords="all")["rgb"]
    np.testing.assert_array_equal(again.values, rgb.values)
    np.testing.assert_array_equal(again["valid"].values, rgb["valid"].values)
    assert list(again["band"].values) == ["red", "green", "blue"]
    assert again.rio.crs == rgb.rio.crs
    assert again.attrs["nirgeo_model"] == tiny.spec.full_name


def test_attributes_of_the_scene_are_kept_and_those_of_its_values_are_not(
    tmp_path: Path, tiny: Model
) -> None:
    about = {"title": "Po plain", "cloud_cover": 12.5, "platforms": ["a", "b"]}
    values = {"units": "1", "STATISTICS_MEAN": "812.5", "long_name": "near infrared"}
    scene = nirgeo.open_scene(one_date(tmp_path / "scene.tif", 0))
    for given in (scene, scene.load()):
        rgb = given.assign_attrs(about | values | {"reader": object()}).nirgeo.colorize(tiny)
        assert {k: v for k, v in rgb.attrs.items() if k in about} == about
        assert not {*values, "reader"} & set(rgb.attrs)
        assert rgb.attrs["nirgeo_scaling"] == scene.attrs["nirgeo_scaling"]
    rgb = cube().assign_attrs(about | {"scale_factor": 7.0}).nirgeo.colorize(tiny)
    assert rgb.attrs["title"] == about["title"]
    assert rgb.attrs["nirgeo_scaling"] == "reflectance:0.0001,0.0"  # not the dataset's
    rgb.isel(time=0).rio.to_raster(tmp_path / "first.tif")
    with rasterio.open(tmp_path / "first.tif") as file:
        assert file.tags()["title"] == about["title"]


def test_a_preview_is_small_and_in_its_place(tmp_path: Path, tiny: Model) -> None:
    scene = nirgeo.open_scene(one_date(tmp_path / "scene.tif", 0))
    for array in (scene, nirgeo.colorize(scene, tiny)):
        small = array.nirgeo.preview(50, tiny) if array is scene else array.nirgeo.preview(50)
        assert small.dtype == np.uint8
        assert max(small.sizes["y"], small.sizes["x"]) <= 50
        assert small.chunks is None
        for side, low, high in (("x", 0.0, 2010.0), ("y", -1500.0, 0.0)):
            origin = {"x": NORTH_UP_10M.c, "y": NORTH_UP_10M.f}[side]
            offsets = small[side].values - origin
            assert low < offsets.min() < offsets.max() < high
        a, b = small.rio.transform(), NORTH_UP_10M
        assert (a.a, a.e) == pytest.approx((5 * b.a, 5 * b.e))
    with pytest.raises(GridError, match="time"):
        cube().nirgeo.preview()


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 67])
def test_a_preview_begins_where_its_scene_begins(tmp_path: Path, tiny: Model, factor: int) -> None:
    scene = nirgeo.open_scene(one_date(tmp_path / "scene.tif", 0))
    for small in (
        scene.nirgeo.preview(-(-SHAPE[1] // factor), tiny),
        nirgeo.colorize(scene, tiny).nirgeo.preview(-(-SHAPE[1] // factor)),
    ):
        assert small.rio.transform() == NORTH_UP_10M @ rasterio.Affine.scale(factor)
        assert small.rio.transform(recalc=True) == small.rio.transform()


def test_a_preview_keeps_ground_control_points_in_their_place(tmp_path: Path, tiny: Model) -> None:
    points = [(0, 0, 8.0, 48.0, 0), (0, 200, 8.1, 48.0, 0), (150, 0, 8.0, 47.9, 0)]
    values = scene_values(*SHAPE)
    path = write_raster(tmp_path / "gcps.tif", values, crs=None, transform=None, gcps=points)
    small = nirgeo.open_scene(path).nirgeo.preview(41, tiny)
    moved = [(p.row, p.col, p.x, p.y) for p in small.rio.get_gcps()]
    assert moved == [(0, 0, 8.0, 48.0), (0, 40, 8.1, 48.0), (30, 0, 8.0, 47.9)]
    assert grid_of(small).gcps == tuple((*point, 0.0) for point in moved)


def test_evaluate_leaves_out_nodata(tmp_path: Path, tiny: Model) -> None:
    picture = nirgeo.colorize(nirgeo.open_scene(one_date(tmp_path / "scene.tif", 0)), tiny)
    bare = picture.compute().drop_vars("valid").clip(1, 255)
    truth = bare.copy(deep=True)
    truth.values[:, :40] = 0
    assert bare.nirgeo.evaluate(truth)["pixels"] == SHAPE[0] * SHAPE[1]
    marked = truth.rio.write_nodata(0)
    for score in (bare.nirgeo.evaluate(marked), marked.nirgeo.evaluate(bare)):
        assert score["pixels"] == (SHAPE[0] - 40) * SHAPE[1]
        assert score["rmse"] == 0
    floats = (truth / 255).astype("float32").rio.write_nodata(0)
    assert floats.nirgeo.evaluate(floats)["pixels"] == (SHAPE[0] - 40) * SHAPE[1]


def test_evaluate_goes_by_places_in_degrees_too(tiny: Model) -> None:
    turned = cube().isel(time=0).rename(y="latitude", x="longitude").drop_vars("spatial_ref")
    turned = turned.assign_coords(
        latitude=45 - np.arange(SHAPE[0]) * 1e-4, longitude=9 + np.arange(SHAPE[1]) * 1e-4
    )
    picture = turned.nirgeo.colorize(tiny).compute()
    assert picture.nirgeo.evaluate(picture)["rmse"] == 0
    with pytest.raises(GridError, match="differ in their latitude"):
        picture.nirgeo.evaluate(picture.assign_coords(latitude=picture["latitude"] + 1))
    # The same places under other names are the same places.
    plain = picture.rename(latitude="y", longitude="x")
    assert plain.nirgeo.evaluate(picture) == picture.nirgeo.evaluate(picture)


def test_evaluate_measures_what_both_have(tmp_path: Path, tiny: Model) -> None:
    truth = nirgeo.colorize(nirgeo.open_scene(one_date(tmp_path / "scene.tif", 0)), tiny)
    same = truth.nirgeo.evaluate(truth)
    assert same["angular"] == pytest.approx(0, abs=1e-3)
    assert same["rmse"] == 0
    assert same["pixels"] == punch_holes(*SHAPE).sum()
    picture = truth.compute().copy()
    picture.values[:, :75] = np.minimum(255, picture.values[:, :75].astype(int) + 51)
    rmse = picture.nirgeo.evaluate(truth)["rmse"]
    valid = punch_holes(*SHAPE)
    difference = (picture.values.astype(float) - truth.values)[:, valid] / 255
    assert rmse == pytest.approx(np.sqrt((difference**2).mean()))
    with pytest.raises(GridError, match="uint8"):
        picture.nirgeo.evaluate(truth.astype("float32"))
    with pytest.raises(GridError, match="onto one grid"):
        picture.nirgeo.evaluate(truth.isel(x=slice(1, None)))


def test_evaluate_goes_by_names_and_places(tmp_path: Path, tiny: Model) -> None:
    lazy = nirgeo.colorize(nirgeo.open_scene(one_date(tmp_path / "scene.tif", 0)), tiny)
    picture = lazy.compute()
    turned = picture.isel(band=[2, 1, 0])
    assert turned.nirgeo.evaluate(picture) == picture.nirgeo.evaluate(picture)
    # Without names the order is all there is.
    numbered = turned.assign_coords(band=[1, 2, 3])
    assert numbered.nirgeo.evaluate(picture)["angular"] > 1
    for other in (
        picture.isel(y=slice(None, None, -1)),
        picture.assign_coords(x=picture["x"] + 1_000_000),
    ):
        with pytest.raises(GridError, match="bring both onto one grid"):
            other.nirgeo.evaluate(picture)
    scaled = picture.astype("uint16")
    with pytest.raises(BandError, match="uint16 are neither"):
        scaled.nirgeo.evaluate(scaled)
    with pytest.raises(BandError, match="need red, green and blue"):
        picture.isel(band=slice(2)).nirgeo.evaluate(picture.isel(band=slice(2)))


def test_rioxarrays_own_arrays_are_scenes(tmp_path: Path, tiny: Model) -> None:
    path = one_date(tmp_path / "scene.tif", 0)
    opened = rioxarray.open_rasterio(path, chunks={"x": 77, "y": 64})
    opened = opened.assign_coords(band=["red", "green", "nir"])
    expected = nirgeo.colorize(nirgeo.open_scene(path), tiny)
    np.testing.assert_array_equal(opened.nirgeo.colorize(tiny).values, expected.values)


@pytest.mark.parametrize("shape", [(1, 97), (97, 1)])
def test_a_preview_of_one_line_lies_where_the_line_lies(
    tmp_path: Path, tiny: Model, shape: tuple[int, int]
) -> None:
    scene = nirgeo.open_scene(
        write_raster(tmp_path / "scene.tif", scene_values(*shape)), scale=1e-4
    )
    for small in (
        scene.nirgeo.preview(7, tiny),
        nirgeo.colorize(scene, tiny).nirgeo.preview(7),
    ):
        along = rasterio.Affine.scale(14, 1) if shape[0] == 1 else rasterio.Affine.scale(1, 14)
        assert small.rio.transform() == NORTH_UP_10M @ along


# --- numbers that somebody has scaled already -----------------------------------------------------


def scaled_already(path: Path) -> xr.DataArray:
    write_raster(path, scene_values(*SHAPE), scales=(1e-4,))
    return nirgeo.open_scene(path).astype("float32").load() * np.float32(1e-4)


@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "lazy"])
def test_what_is_reflectance_already_is_not_scaled_again(
    tmp_path: Path, tiny: Model, lazy: bool
) -> None:
    with xr.set_options(keep_attrs=True):
        array = scaled_already(tmp_path / "a.tif")
    assert "nirgeo_scaling" in array.attrs
    array = array.chunk({"y": 64, "x": 64}) if lazy else array
    with pytest.raises(RadiometryError, match="as if they were reflectance already"):
        nirgeo.colorize(array, tiny)
    right = nirgeo.colorize(nirgeo.open_scene(tmp_path / "a.tif"), tiny).compute()
    assert int(np.abs(nirgeo.colorize(array, tiny, scale=1).astype(int) - right).max()) <= 1
    # Floats that still are what integers were.
    floats = nirgeo.open_scene(tmp_path / "a.tif").astype("float32")
    floats = floats if lazy else floats.load()
    np.testing.assert_array_equal(nirgeo.colorize(floats, tiny), right)


def test_so_is_a_cube_unless_that_would_compute_it(tmp_path: Path, tiny: Model) -> None:
    with xr.set_options(keep_attrs=True):
        array = scaled_already(tmp_path / "a.tif")
    dates = xr.concat([array, array * np.float32(0.9)], dim="time", combine_attrs="override")
    with pytest.raises(RadiometryError, match="as if they were reflectance already"):
        nirgeo.colorize(dates, tiny)
    lazy = dates.copy(data=da.from_array(dates.values).map_blocks(never, meta=np.empty(0, "f4")))
    assert nirgeo.colorize(lazy, tiny).sizes["time"] == 2


@pytest.mark.parametrize("scales", [(2e-4, 1e-4, 1e-4), (1e-4, 1e-4, 2e-4)], ids=["red", "nir"])
def test_scales_that_rioxarray_keeps_band_by_band(
    tmp_path: Path, tiny: Model, scales: tuple[float, ...]
) -> None:
    values = np.stack([scene_values(*SHAPE, seed=k) for k in range(3)])
    path = write_raster(
        tmp_path / "a.tif", values, descriptions=("x", "y", "nir"), scales=scales, nodata=0
    )
    with rioxarray.open_rasterio(path) as array:
        assert "scales" in array.attrs
        found = nirgeo.colorize(array, tiny)
        right = nirgeo.colorize(nirgeo.open_scene(path), tiny)
        np.testing.assert_array_equal(found, right.compute())
        with pytest.raises(RadiometryError, match="3 scales"):
            nirgeo.colorize(array.isel(band=[2]), tiny)
        coloured = array.assign_coords(band=["red", "green", "nir"])
        with pytest.raises(RadiometryError, match="each in its own way"):
            nirgeo.colorize(coloured, tiny)
        assert nirgeo.colorize(coloured, tiny, scale="0.0001").shape[0] == 3


# --- datasets and arrays that others have made ----------------------------------------------------


@pytest.fixture
def landsat(tmp_path: Path) -> Path:
    values = np.stack([scene_values(*SHAPE, seed=k) for k in range(3)])
    values[:, ~punch_holes(*SHAPE)] = 0
    return write_raster(
        tmp_path / "ls.tif",
        values,
        nodata=0,
        descriptions=("red", "green", "nir"),
        scales=(2.75e-5,) * 3,
        offsets=(-0.2,) * 3,
    )


def test_a_dataset_of_an_arrays_bands_is_that_array(landsat: Path, full_size: Model) -> None:
    scene = nirgeo.open_scene(landsat)
    right = nirgeo.colorize(scene, full_size).compute()
    of_rioxarray = rioxarray.open_rasterio(landsat).assign_coords(band=["red", "green", "nir"])
    for array in (scene, of_rioxarray):
        found = array.to_dataset(dim="band").nirgeo.colorize(full_size).compute()
        np.testing.assert_array_equal(found, right)
        np.testing.assert_array_equal(found["valid"], right["valid"])
    whole = scene.to_dataset(name="stored").nirgeo.colorize(full_size)
    np.testing.assert_array_equal(whole, right)


def test_a_files_reflectance_scale_holds_for_cubes_and_datasets(
    tmp_path: Path, tiny: Model
) -> None:
    values = np.stack([scene_values(*SHAPE, seed=k) for k in range(3)])
    path = write_raster(tmp_path / "a.tif", values, tags={"REFLECTANCE_SCALE": "0.00002"})
    array = rioxarray.open_rasterio(path).assign_coords(band=["red", "green", "nir"])
    right = array.nirgeo.colorize(tiny)
    assert right.attrs["nirgeo_scaling"] == "reflectance:2e-05,0.0"
    for cube_of in (xr.concat([array, array], "time"), xr.concat([array, array], "time").chunk()):
        np.testing.assert_array_equal(cube_of.nirgeo.colorize(tiny).isel(time=0), right)
    apart = rioxarray.open_rasterio(path, band_as_variable=True)
    apart = apart.rename(band_1="red", band_2="green", band_3="nir")
    np.testing.assert_array_equal(apart.nirgeo.colorize(tiny), right)


def test_a_small_field_in_a_cube_is_looked_at_as_in_a_raster(tiny: Model) -> None:
    values = np.full((2, 1, 1500, 1500), np.nan, dtype=np.float32)
    values[:, :, 320:470, 820:970] = scene_values(150, 150) * 1e-4
    single = xr.DataArray(values[0], dims=("band", "y", "x"), coords={"band": ["nir"]})
    both = xr.DataArray(values, dims=("time", "band", "y", "x"), coords={"band": ["nir"]})
    expected = nirgeo.colorize(single, tiny)
    assert expected.attrs["nirgeo_scaling"] == "reflectance:1.0,0.0"
    np.testing.assert_array_equal(nirgeo.colorize(both, tiny).isel(time=0), expected)
    swapped = both.copy(data=values.astype(">f4"))
    np.testing.assert_array_equal(nirgeo.colorize(swapped, tiny).isel(time=1), expected)


@pytest.mark.parametrize("factor", [2, 3])
def test_blocks_of_a_rotated_scene_lie_where_it_lies(
    tmp_path: Path, tiny: Model, factor: int
) -> None:
    turned = NORTH_UP_10M @ rasterio.Affine.rotation(20)
    path = write_raster(tmp_path / "rot.tif", scene_values(60, 90), transform=turned)
    scene = nirgeo.open_scene(path, scale=1e-4).astype("float32")
    small = scene.coarsen(y=factor, x=factor).mean()
    found = grid_of(nirgeo.colorize(small, tiny, scale=1e-4)).affine
    assert found.almost_equals(turned @ rasterio.Affine.scale(factor), 1e-6)
    odd = scene.isel(y=[0, 1, 5, 9])
    with pytest.raises(GridError, match="row does not lie at equal distances"):
        grid_of(odd)


def test_corners_that_were_turned_around(tmp_path: Path, tiny: Model) -> None:
    t = NORTH_UP_10M
    corners = xr.DataArray(
        scene_values(60, 90)[None],
        dims=("band", "y", "x"),
        coords={"band": ["nir"], "y": t.f + np.arange(60) * t.e, "x": t.c + np.arange(90) * t.a},
        attrs={"transform": tuple(t)[:6]},
    ).rio.write_crs(UTM)
    assert grid_of(corners).affine == t
    turned = grid_of(corners.sortby("y")).affine
    assert turned == t @ rasterio.Affine.translation(0, 60) @ rasterio.Affine.scale(1, -1)
    thirds = grid_of(corners.coarsen(y=3, x=3).mean()).affine
    assert thirds.almost_equals(t @ rasterio.Affine.scale(3))


@pytest.mark.parametrize("how", ["straight", "rotated", "points"])
def test_a_preview_of_what_no_coordinates_place(tmp_path: Path, tiny: Model, how: str) -> None:
    place: dict[str, Any] = {}
    if how == "rotated":
        place["transform"] = NORTH_UP_10M @ rasterio.Affine.rotation(20)
    if how == "points":
        points = [
            (0, 0, 9, 45, 0),
            (0, 220, 9.1, 45, 0),
            (200, 0, 9, 44.9, 0),
            (200, 220, 9.1, 44.9, 0),
        ]
        place = {"crs": None, "transform": None, "gcps": points}
    path = write_raster(tmp_path / "a.tif", scene_values(200, 220), **place)
    array = rioxarray.open_rasterio(path, parse_coordinates=False)
    small = array.nirgeo.preview(side=50, model=tiny, scale=1e-4)
    assert small.shape == (3, 40, 44)
    found, whole = grid_of(small), grid_of(array)
    if how == "points":
        assert [p[:2] for p in found.gcps] == [(0, 0), (0, 44), (40, 0), (40, 44)]
    else:
        assert found.affine.almost_equals(whole.affine @ rasterio.Affine.scale(5), 1e-6)


def test_what_lies_elsewhere_is_not_compared(landsat: Path, tiny: Model) -> None:
    picture = nirgeo.colorize(nirgeo.open_scene(landsat), tiny).compute()
    other = picture.rio.write_crs("EPSG:32633")
    with pytest.raises(GridError, match="different coordinate systems"):
        picture.nirgeo.evaluate(other)
    dates = xr.concat([picture, picture], "time").assign_coords(time=[1, 2])
    assert dates.nirgeo.evaluate(dates)["angular"] == 0
    with pytest.raises(GridError, match="differ in their time"):
        dates.nirgeo.evaluate(dates.isel(time=[1, 0]))
    for wrong in (picture.to_dataset(name="picture"), picture.values):
        with pytest.raises(GridError, match="is no picture"):
            picture.nirgeo.evaluate(wrong)
        with pytest.raises(GridError, match="is no picture"):
            nirgeo.write_geotiff(wrong, landsat.with_name("x.tif"))


def test_a_scaling_of_ones_own_goes_before_those_of_bands(tmp_path: Path) -> None:
    values = np.stack([scene_values(60, 90, seed=k) for k in range(2)])
    path = write_raster(tmp_path / "a.tif", values, scales=(2e-4, 1e-4))
    array = rioxarray.open_rasterio(path)
    with pytest.raises(RadiometryError, match="each in its own way"):
        scaling_of_bands(array, {"red": 1, "nir": 2})
    assert scaling_of_bands(array, {"nir": 2}) == {"scale_factor": 1e-4, "add_offset": 0}
    own = array.assign_attrs(nirgeo_scaling="reflectance:0.0001,0.0")
    assert scaling_of_bands(own, {"red": 1, "nir": 2}) == {}


def test_a_common_name_that_is_none_says_nothing() -> None:
    array = xr.DataArray(np.zeros((3, 4, 5), np.uint16), dims=("band", "y", "x"))
    names = np.array(["red", np.nan, None], dtype=object)
    labels = band_labels(array.assign_coords(common_name=("band", names)))
    assert [label.common_name for label in labels] == ["red", "", ""]


def test_axes_are_not_given_a_name_that_is_taken() -> None:
    array = xr.DataArray(np.zeros((4, 5), np.uint16), dims=("lat", "lon"))
    assert with_axes(array)[0].dims == ("y", "x")
    for taken in (array.assign_coords(x=3.0), array.expand_dims("x")):
        with pytest.raises(GridError, match="something else called x"):
            with_axes(taken)


@pytest.mark.parametrize("whole", [True, False])
def test_whole_numbers_may_say_how_they_are_to_be_stored(full_size: Model, whole: bool) -> None:
    # rioxarray takes that for a sign that they were decoded to floats, and asks for a NaN of them.
    scene = cube(lazy=False).isel(time=0).drop_vars("time")
    stated = scene.nirgeo.colorize(full_size)
    for name in scene.data_vars:
        del scene[name].attrs["nodata"]
        scene[name].encoding["_FillValue"] = 0
    found = scene if whole else scene["nir"]
    rgb = found.nirgeo.colorize(full_size if whole else "satellite-nir")
    np.testing.assert_array_equal(rgb["valid"], stated["valid"])
    assert not rgb["valid"].all()
    if whole:
        np.testing.assert_array_equal(rgb, stated)
