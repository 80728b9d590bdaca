"""What somebody changes in an opened scene counts, and what is not changed stays as it is."""

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
from numpy.typing import NDArray
from pictures import painting_model, scene_values

import nirgeo
import nirgeo.accessor
from nirgeo import array_blocks
from nirgeo.errors import BandError, BandWarning, GridError, SourceError
from nirgeo.georeference import grid_of
from nirgeo.modelfile import Model
from nirgeo.scene import view_of
from nirgeo.scene_attributes import SCALING_ATTR

BANDS = ("red", "green", "nir")
SHAPE = (90, 70)


@pytest.fixture(scope="module")
def eats_all(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A network for missing blue."""
    return painting_model(tmp_path_factory.mktemp("m"), bands=BANDS, shape={"out_bands": 1})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    values = np.stack([scene_values(*SHAPE, seed=k) for k in range(3)])
    return write_raster(tmp_path / "scene.tif", values, descriptions=BANDS)


def colours(scene: xr.DataArray, model: Any, **options: Any) -> NDArray[Any]:
    rgb = nirgeo.colorize(scene, model, **options).compute()
    return rgb.where(rgb["valid"], 0).transpose("band", ...).values


def test_an_untouched_scene_is_read_from_its_file(path: Path) -> None:
    scene = nirgeo.open_scene(path)
    assert view_of(scene) is not None
    assert view_of(scene.assign_attrs(note="mine")) is not None
    assert view_of(scene.rename("other")) is not None


def test_nodata_given_for_an_opened_scene(path: Path, tiny: Model) -> None:
    scene = nirgeo.open_scene(path)
    number = float(scene.sel(band="nir").values.ravel()[1234])
    expected = nirgeo.colorize(nirgeo.open_scene(path, nodata=number), tiny).compute()
    assert not expected["valid"].all()
    given = nirgeo.colorize(scene, tiny, nodata=number).compute()
    written = nirgeo.colorize(scene.rio.write_nodata(int(number)), tiny).compute()
    for rgb in (given, written):
        np.testing.assert_array_equal(rgb["valid"].values, expected["valid"].values)
        np.testing.assert_array_equal(rgb.values, expected.values)


def test_other_names_of_the_bands(path: Path, tiny: Model) -> None:
    scene = nirgeo.open_scene(path)
    renamed = scene.assign_coords(band=["nir", "green", "red"])
    expected = colours(scene.isel(band=[0]).assign_coords(band=["nir"]), tiny)
    np.testing.assert_array_equal(colours(renamed, tiny), expected)
    assert (expected != colours(scene, tiny)).any()


def test_another_scaling(path: Path, tiny: Model) -> None:
    scene = nirgeo.open_scene(path)
    brighter = nirgeo.open_scene(path, scale="0.00015")
    changed = scene.assign_attrs({SCALING_ATTR: brighter.attrs[SCALING_ATTR]})
    np.testing.assert_array_equal(colours(changed, tiny), colours(brighter, tiny))
    assert (colours(changed, tiny) != colours(scene, tiny)).any()


@pytest.mark.parametrize("names", [("lat", "lon"), ("Latitude", "Longitude")])
@pytest.mark.parametrize("cut", [False, True])
def test_names_of_axes_come_back_and_can_be_written(
    path: Path, tiny: Model, names: tuple[str, str], cut: bool
) -> None:
    scene = nirgeo.open_scene(path)
    scene = scene.isel(y=slice(1, None)) if cut else scene
    turned = scene.rename(y=names[0], x=names[1])
    rgb = nirgeo.colorize(turned, tiny)
    assert rgb.dims == ("band", *names)
    np.testing.assert_array_equal(rgb.values, nirgeo.colorize(scene, tiny).values)
    target = nirgeo.write_geotiff(rgb, path.with_name(f"{names[0]}{cut}.tif"))
    with rasterio.open(target) as file:
        np.testing.assert_array_equal(file.read(), rgb.values)
        assert file.transform.almost_equals(NORTH_UP_10M @ rasterio.Affine.translation(0, int(cut)))


def test_an_axis_whose_name_is_taken(path: Path, tiny: Model) -> None:
    scene = nirgeo.open_scene(path).rename(y="lat", x="lon").assign_coords(y=3.0)
    with pytest.raises(GridError, match="something else called y"):
        nirgeo.colorize(scene, tiny)


def test_slices_of_a_stack_keep_the_other_bands_masks(tmp_path: Path, eats_all: Model) -> None:
    red = scene_values(*SHAPE, seed=1)
    red[20:40, 10:30] = 7
    files = {
        "nir": write_raster(tmp_path / "B08.tif", scene_values(*SHAPE, seed=0)),
        "red": write_raster(tmp_path / "B04.tif", red, nodata=7),
        "green": write_raster(tmp_path / "B03.tif", scene_values(*SHAPE, seed=2)),
    }
    scene = nirgeo.open_scene(stack=files)
    whole = nirgeo.colorize(scene, eats_all).compute()
    assert (~whole["valid"].values).sum() == 400
    for part in (scene.isel(y=slice(0, SHAPE[0] - 1)), scene.persist()):
        rgb = nirgeo.colorize(part, eats_all).compute()
        valid = whole["valid"].values[: rgb.sizes["y"]]
        np.testing.assert_array_equal(rgb["valid"].values, valid)
        np.testing.assert_array_equal(rgb.values[:, :60], whole.values[:, :60])


def test_one_band_of_a_stack_is_read_from_its_own_file(tmp_path: Path, eats_all: Model) -> None:
    pair = np.stack([scene_values(*SHAPE, seed=k) for k in (0, 1)])
    both = write_raster(tmp_path / "both.tif", pair, descriptions=("nir", "swir"))
    red, green = (
        write_raster(tmp_path / f"{name}.tif", scene_values(*SHAPE, seed=seed))
        for name, seed in (("B04", 2), ("B03", 3))
    )
    scene = nirgeo.open_scene(both, stack={"red": red, "green": green}, chunk=1)
    assert scene.chunks == ((2, 1, 1), (64, 26), (64, 6))
    whole = scene.compute()
    rgb = nirgeo.colorize(scene, eats_all).compute()
    # What has chunks of its own is painted as what is read from the files, and looks the same.
    np.testing.assert_array_equal(nirgeo.colorize(scene + 0, eats_all).compute(), rgb)
    red.unlink()
    green.unlink()
    for band in ("nir", "swir"):
        np.testing.assert_array_equal(scene.sel(band=band).data, whole.sel(band=band).data)
    with pytest.raises(SourceError, match="B04"):
        np.asarray(scene.sel(band="red").data)


def test_a_relative_path_means_the_folder_where_it_was_opened(
    path: Path, tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = colours(nirgeo.open_scene(path), tiny)
    monkeypatch.chdir(path.parent)
    scene = nirgeo.open_scene(path.name)
    part, rgb = scene.isel(y=slice(5, 70)), nirgeo.colorize(scene, tiny)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_raster(elsewhere / path.name, np.ones((3, *SHAPE), np.uint16), descriptions=BANDS)
    monkeypatch.chdir(elsewhere)
    np.testing.assert_array_equal(part.values, nirgeo.open_scene(path).values[:, 5:70])
    np.testing.assert_array_equal(rgb.values, expected)
    np.testing.assert_array_equal(colours(scene, tiny), expected)


class TestOtherPeoplesArrays:
    def test_descriptions_that_rioxarray_keeps_name_the_bands(
        self, tmp_path: Path, tiny: Model
    ) -> None:
        values = np.stack([scene_values(*SHAPE, "uint8", seed=k) for k in range(4)])
        names = ("nir", "red", "green", "blue")
        path = write_raster(tmp_path / "scene.tif", values, descriptions=names)
        opened = rioxarray.open_rasterio(path)
        assert opened["band"].values.tolist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(
            colours(opened, tiny, scale="0.005"),
            colours(nirgeo.open_scene(path, scale="0.005"), tiny),
        )

    def test_one_band_by_its_name_is_that_band(self, path: Path, tiny: Model) -> None:
        scene = nirgeo.open_scene(path)
        with pytest.warns(BandWarning):
            nirgeo.colorize(scene.sel(band="red"), tiny)
        np.testing.assert_array_equal(
            colours(scene.sel(band="nir"), tiny), colours(scene.sel(band=["nir"]), tiny)
        )

    @pytest.mark.parametrize("place", ["straight", "rotated", "points"])
    def test_datasets_keep_their_place(self, tmp_path: Path, tiny: Model, place: str) -> None:
        values = np.stack([scene_values(*SHAPE, seed=k) for k in range(3)])
        where: dict[str, Any] = {
            "straight": {"transform": rasterio.Affine(10 / 3, 0, 500_000.1, 0, -10 / 3, 5e6)},
            "rotated": {"transform": NORTH_UP_10M @ rasterio.Affine.rotation(30)},
            "points": {"transform": None, "crs": None},
        }[place]
        path = write_raster(tmp_path / "scene.tif", values, descriptions=BANDS, **where)
        if place == "points":
            points = [
                rasterio.control.GroundControlPoint(row, col, 9 + col / 1e4, 45 - row / 1e4, 0)
                for row, col in ((0, 0), (0, 70), (90, 0), (90, 70))
            ]
            with rasterio.open(path, "r+") as file:
                file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
        opened = rioxarray.open_rasterio(path, band_as_variable=True)
        dataset = opened.rename(band_1="red", band_2="green", band_3="nir")
        rgb = dataset.nirgeo.colorize(tiny)
        expected = grid_of(nirgeo.colorize(nirgeo.open_scene(path), tiny))
        found = grid_of(rgb)
        assert found.transform == expected.transform
        assert found.gcps == expected.gcps

    def test_a_preview_of_a_strip(self, tiny: Model) -> None:
        strip = xr.DataArray(scene_values(2, 2000), dims=("y", "x"))
        small = strip.nirgeo.preview(100, tiny, scale="0.0001")
        assert small.sizes["y"] == 1
        assert small.sizes["x"] <= 100


def placed(values: NDArray[Any], **coords: Any) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "x"), coords=coords).rio.write_crs(UTM)


REFUSED: dict[str, tuple[Any, str]] = {
    "one row": (
        lambda: placed(scene_values(1, 70), y=[5e6], x=5e5 + 10 * np.arange(70.0)),
        "how large a pixel is",
    ),
    "the same place twice": (
        lambda: placed(scene_values(3, 3), y=[3.0, 2.0, 1.0], x=[1.0, 1.0, 2.0]),
        "how large a pixel is",
    ),
    "no number": (
        lambda: placed(scene_values(3, 3), y=[3.0, 2.0, 1.0], x=[1.0, np.nan, 2.0]),
        "how large a pixel is",
    ),
    "no coordinate system": (
        lambda: xr.DataArray(scene_values(3, 3), dims=("y", "x"), attrs={"crs": "unknown"}),
        "no coordinate system",
    ),
    "nothing": (lambda: xr.DataArray(scene_values(3, 3), dims=("y", "x"))[:0], "empty"),
    "chunks of unknown size": (
        lambda: xr.DataArray(
            (values := da.from_array(scene_values(90, 70), chunks=30))[values[:, 0] > 0],
            dims=("y", "x"),
        ),
        "compute_chunk_sizes",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arrays_that_are_refused(tmp_path: Path, tiny: Model, what: str) -> None:
    make, said = REFUSED[what]
    with pytest.raises(GridError, match=said):
        nirgeo.write_geotiff(nirgeo.colorize(make(), tiny, scale="0.0001"), tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def test_coordinates_that_are_called_like_pixel_positions_and_are_none(
    tmp_path: Path, tiny: Model
) -> None:
    array = placed(scene_values(9, 9), y=9.0 - np.arange(9), x=np.arange(9.0))
    rgb = nirgeo.colorize(array.assign_coords(row=3, col=4), tiny, scale="0.0001")
    target = nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    with rasterio.open(target) as file:
        assert file.transform == rasterio.Affine(1, 0, -0.5, 0, -1, 9.5)


# --- where it lies --------------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A scene without CRS."""
    values = scene_values(*SHAPE, seed=0)
    return write_raster(
        tmp_path / "nowhere.tif", values, crs=None, tags={"REFLECTANCE_SCALE": "1e-4"}
    )


def test_a_crs_given_to_an_opened_scene_tells_its_place(nowhere: Path) -> None:
    scene = nirgeo.open_scene(nowhere)
    placed = scene.rio.write_crs(UTM)
    found = nirgeo.colorize(placed, "satellite-nir")
    assert found.attrs["nirgeo_colour_hint"].startswith("location prior")
    # What the file would make that has it.
    with rasterio.open(nowhere) as file:
        values = file.read(1)
    known = write_raster(nowhere.with_name("known.tif"), values, tags={"REFLECTANCE_SCALE": "1e-4"})
    expected = nirgeo.colorize(nirgeo.open_scene(known), "satellite-nir")
    np.testing.assert_array_equal(found.values, expected.values)
    assert nirgeo.colorize(scene, "satellite-nir").attrs["nirgeo_colour_hint"] == "none"


def test_a_reference_is_looked_for_where_the_scene_was_moved_to(
    path: Path, nowhere: Path, tiny: Model, tmp_path: Path
) -> None:
    picture = np.full((3, *SHAPE), 90, dtype=np.uint8)
    reference = write_raster(
        tmp_path / "rgb.tif", picture, photometric="RGB", descriptions=("red", "green", "blue")
    )
    placed = nirgeo.open_scene(nowhere).rio.write_crs(UTM)
    assert nirgeo.colorize(placed, tiny, reference=reference).shape == (3, *SHAPE)
    scene = nirgeo.open_scene(path)
    away = scene.assign_coords(x=scene.x + 1e5).drop_vars("spatial_ref").rio.write_crs(UTM)
    with pytest.raises(GridError):
        nirgeo.colorize(away, tiny, reference=reference)


def test_a_part_of_a_scene_is_untouched_in_its_place(path: Path) -> None:
    west, north = NORTH_UP_10M.c, NORTH_UP_10M.f
    part = nirgeo.open_scene(path, bounds=(west + 100, north - 500, west + 400, north - 200))
    assert view_of(part) is not None
    assert view_of(part.rio.write_crs("EPSG:32633")) is None


@pytest.mark.parametrize(
    "place",
    [
        {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-4, 0, 10.1, 0, -1e-4, 50.3)},
        {"transform": rasterio.Affine.rotation(20) @ NORTH_UP_10M},
        {"crs": None, "transform": None},
        {"crs": None},
        {"crs": 'LOCAL_CS["site",UNIT["metre",1]]'},
        {"gcps": [(0, 0, 9.0, 50.0, 0), (0, 60, 9.1, 50.0, 0), (60, 0, 9.0, 49.9, 0)]},
    ],
)
def test_every_place_is_known_again(tmp_path: Path, place: dict[str, Any]) -> None:
    scene = nirgeo.open_scene(write_raster(tmp_path / "a.tif", scene_values(70, 80), **place))
    assert view_of(scene) is not None


@pytest.mark.parametrize("kind", ["array", "cube", "written"])
def test_a_crs_under_another_name_comes_along(tmp_path: Path, tiny: Model, kind: str) -> None:
    values = scene_values(*SHAPE, seed=0)
    cols, rows = np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5
    array = xr.DataArray(
        values,
        dims=("y", "x"),
        coords={
            "x": NORTH_UP_10M.c + cols * NORTH_UP_10M.a,
            "y": NORTH_UP_10M.f + rows * NORTH_UP_10M.e,
        },
        name="nir",
        attrs={"scale_factor": 1e-4},
    ).rio.write_crs(UTM, grid_mapping_name="transverse_mercator")
    if kind == "cube":
        array = xr.concat([array, array], dim="time")
    rgb = nirgeo.colorize(array, tiny)
    assert rgb.rio.crs == rasterio.crs.CRS.from_user_input(UTM)
    if kind == "written":
        with rasterio.open(nirgeo.write_geotiff(rgb, tmp_path / "out.tif")) as file:
            assert file.crs == rasterio.crs.CRS.from_user_input(UTM)
            assert file.transform.almost_equals(NORTH_UP_10M)


def test_coordinates_with_a_gap_are_refused() -> None:
    places = np.r_[0:40, 80:128] * 10.0
    array = xr.DataArray(
        scene_values(60, 88), dims=("y", "x"), coords={"x": places, "y": -10.0 * np.arange(60)}
    )
    assert grid_of(array).transform == tuple(rasterio.Affine.identity())[:6]  # nobody asks where
    array = array.rio.write_crs(UTM)
    with pytest.raises(GridError, match="coordinate x does not lie at equal distances"):
        grid_of(array)
    rounded = array.assign_coords(x=(np.arange(88) * 10.0 + 5e5).astype(np.float32))
    assert grid_of(rounded).transform[0] == pytest.approx(10)


# --- what it is a part of -------------------------------------------------------------------------


def test_a_slice_of_a_level_1_scene_takes_the_model_of_the_whole(tmp_path: Path) -> None:
    name = "S2A_MSIL1C_20200101T100000_N0500_R022_T33UUU_20200101T120000.tif"
    values = np.stack([scene_values(*SHAPE, seed=k) for k in range(3)])
    scene = nirgeo.open_scene(write_raster(tmp_path / name, values, descriptions=BANDS))
    assert scene.attrs["nirgeo_product"] == "MSIL1C"  # and not where it lies
    whole = nirgeo.colorize(scene)
    assert whole.attrs["nirgeo_model"].startswith("satellite-rgn-toa@")
    for part in (scene.isel(x=slice(0, 64)), scene + 0):
        part.attrs |= scene.attrs
        assert nirgeo.colorize(part).attrs["nirgeo_model"] == whole.attrs["nirgeo_model"]
    assert "nirgeo_product" not in whole.attrs


class TestUnevenScaling:
    """Red and green whose file scales them otherwise than near infrared."""

    SCALES = (2e-4, 1e-4, 1e-4)

    @pytest.fixture
    def uneven(self, tmp_path: Path) -> Path:
        values = np.stack([scene_values(*SHAPE, seed=k) for k in range(3)])
        return write_raster(
            tmp_path / "uneven.tif", values, descriptions=BANDS, scales=self.SCALES,
            offsets=(-0.1, 0.0, 0.0),
        )  # fmt: skip

    def test_it_is_left_out(self, uneven: Path) -> None:
        scene = nirgeo.open_scene(uneven)
        view = view_of(scene)
        assert view is not None
        assert {role for role, _ in view.source.roles} == {"nir", "green"}
        assert any("red" in n and "is left out" in n for n in view.source.notes)
        assert nirgeo.colorize(scene).attrs["nirgeo_model"].startswith("satellite-nir@")

    def test_it_is_refused_where_it_was_asked_for(self, uneven: Path, tmp_path: Path) -> None:
        with pytest.raises(BandError, match=r"red: .*scaled otherwise than nir"):
            nirgeo.open_scene(uneven, red=1)
        nir = write_raster(tmp_path / "n.tif", scene_values(*SHAPE), scales=(1e-4,))
        red = write_raster(tmp_path / "r.tif", scene_values(*SHAPE), scales=(2e-4,))
        with pytest.raises(BandError, match=r"red: .*scaled otherwise than nir"):
            nirgeo.open_scene(stack={"nir": nir, "red": red})

    def test_a_scale_of_ones_own_holds_for_all(self, uneven: Path) -> None:
        scene = nirgeo.open_scene(uneven, scale="1e-4")
        assert nirgeo.colorize(scene).attrs["nirgeo_model"].startswith("satellite-rgn@")


def test_arrays_in_memory_are_computed_in_chunks_like_those_of_files(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []
    colorize_block = array_blocks.colorize_block

    def noted(values: Any, *rest: Any) -> Any:
        sides.append(max(values.shape))
        return colorize_block(values, *rest)

    monkeypatch.setattr(array_blocks, "colorize_block", noted)
    values = np.broadcast_to(np.float32(0.2), (1600, 900))
    rgb = nirgeo.colorize(xr.DataArray(values, dims=("y", "x")), tiny, scale="1")
    assert rgb.compute().shape == (3, 1600, 900)
    assert len(sides) == 6
    assert max(sides) < 768 + 100


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">u2"])
def test_numbers_with_the_other_byte_first(tiny: Model, dtype: str) -> None:
    values = scene_values(70, 80).astype(np.float64)
    if "f" in dtype:
        values *= 1e-4
    native = xr.DataArray(values.astype(np.dtype(dtype).newbyteorder("=")), dims=("y", "x"))
    swapped = xr.DataArray(values.astype(dtype), dims=("y", "x"))
    expected = nirgeo.colorize(native, tiny)
    made = nirgeo.colorize(swapped, tiny)
    assert made.attrs[SCALING_ATTR] == expected.attrs[SCALING_ATTR]
    np.testing.assert_array_equal(made.values, expected.values)


@pytest.mark.parametrize("output", ["display", "reflectance"])
def test_what_rioxarray_fills_beyond_a_picture_is_masked(
    tmp_path: Path, tiny: Model, output: Any
) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(120, 90))
    opened = nirgeo.open_scene(scene, scale="1e-4")
    rgb = nirgeo.colorize(opened, tiny, output=output).compute()
    turned = rgb.rio.reproject("EPSG:32635")
    target = nirgeo.write_geotiff(turned, tmp_path / "rgb.tif")
    with rasterio.open(target) as file:
        mask = file.dataset_mask() > 0
    ones = xr.ones_like(rgb[:1]).astype("float32").rio.write_nodata(0)
    inside = ones.rio.reproject("EPSG:32635").values[0] > 0
    assert not inside.all()
    assert (mask == inside).mean() > 0.995
    assert not mask[~inside].any()


@pytest.mark.parametrize("kind", ["float", "object", "turned"])
def test_a_mask_of_other_numbers(tiny: Model, tmp_path: Path, kind: str) -> None:
    values = scene_values(70, 80).astype(np.float32) * 1e-4
    valid = np.ones(values.shape, dtype=bool)
    valid[:30] = False
    mask: Any = valid
    if kind != "turned":
        mask = np.where(valid, 1.0, np.nan).astype("float32" if kind == "float" else "object")
    coords = {"valid": (("x", "y"), mask.T) if kind == "turned" else (("y", "x"), mask)}
    scene = xr.DataArray(values, dims=("y", "x"), coords=coords)
    rgb = nirgeo.colorize(scene, tiny, scale="1").compute()
    np.testing.assert_array_equal(rgb.valid.values, valid)
    written = rgb.drop_vars("valid").assign_coords(coords)
    with rasterio.open(nirgeo.write_geotiff(written, tmp_path / "rgb.tif")) as file:
        np.testing.assert_array_equal(file.dataset_mask() > 0, valid)


@pytest.mark.parametrize("dims", [("band", "y", "x"), ("y",), ()])
def test_a_mask_that_is_not_one_value_per_pixel_is_refused(
    tiny: Model, tmp_path: Path, dims: tuple[str, ...]
) -> None:
    sizes = {"band": 1, "y": 70, "x": 80}
    mask = np.zeros([sizes[dim] for dim in dims], dtype=bool)
    scene = xr.DataArray(
        np.full((1, 70, 80), 0.2, np.float32), dims=("band", "y", "x"), coords={"band": ["nir"]}
    )
    rgb = nirgeo.colorize(scene, tiny, scale="1").compute().isel(band=[0, 0, 0])
    for refused in (
        lambda: nirgeo.colorize(scene.assign_coords(valid=(dims, mask)), tiny, scale="1"),
        lambda: nirgeo.write_geotiff(
            rgb.drop_vars("valid").assign_coords(
                valid=(dims, np.repeat(mask, 3, axis=0) if "band" in dims else mask)
            ),
            tmp_path / "rgb.tif",
        ),
    ):
        with pytest.raises(GridError, match="one value for every pixel"):
            refused()
    assert not (tmp_path / "rgb.tif").exists()


def test_coordinates_that_are_no_numbers_are_refused(with_prior: Model) -> None:
    array = xr.DataArray(
        np.full((70, 80), 0.2, np.float32),
        dims=("y", "x"),
        coords={"y": 5_000_000.0 - 10 * np.arange(70), "x": 500_000.0 + 10 * np.arange(80)},
    ).rio.write_crs(UTM)
    with pytest.raises(GridError):
        nirgeo.colorize(array.pad(x=5, constant_values=0.2), with_prior, scale="1")


def test_bands_of_other_numbers_are_not_scaled_alike(tmp_path: Path) -> None:
    nir = write_raster(tmp_path / "nir.tif", scene_values(70, 80))
    files = {"nir": nir}
    for role in ("red", "green"):
        values = np.full((70, 80), 0.1, dtype=np.float32)
        files[role] = write_raster(tmp_path / f"{role}.tif", values)
    with pytest.raises(BandError, match=r"scaled otherwise than nir"):
        nirgeo.open_scene(stack=files)
    dataset = xr.Dataset(
        {"nir": (("y", "x"), scene_values(70, 80))}
        | {role: (("y", "x"), np.full((70, 80), 0.1, np.float32)) for role in ("red", "green")}
    )
    with pytest.raises(BandError, match="different numbers"):
        dataset.nirgeo.colorize()


def test_the_reflectance_scale_of_a_file_holds_for_its_array(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "scene.tif", scene_values(70, 80) // 10, tags={"REFLECTANCE_SCALE": "0.001"}
    )
    opened = nirgeo.colorize(nirgeo.open_scene(path))
    array = nirgeo.colorize(rioxarray.open_rasterio(path, chunks=True))
    assert array.attrs[SCALING_ATTR] == opened.attrs[SCALING_ATTR]
    np.testing.assert_array_equal(array.values, opened.values)
