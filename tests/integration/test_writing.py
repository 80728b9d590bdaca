"""What is written: a valid COG with the picture, its mask and its place; and nothing before."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from helpers import NORTH_UP_10M, UTM, write_raster
from numpy.typing import NDArray
from pictures import (
    COLOURS,
    STORED,
    punch_holes,
    read,
    scene_values,
    tiff_tag,
    whole_picture,
)
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Compression, MaskFlags
from rasterio.rpc import RPC
from rasterio.vrt import WarpedVRT
from rio_cogeo.cogeo import cog_validate

import nirgeo
from nirgeo import engine
from nirgeo.blockstore import BlockStore
from nirgeo.creation_options import check_creation_options
from nirgeo.errors import (
    EmptySceneError,
    GridError,
    OptionError,
    ResumeError,
    TargetError,
    TargetExistsError,
)
from nirgeo.modelfile import Model
from nirgeo.radiometry import Quantity
from nirgeo.scaling import Scaling
from nirgeo.scene_attributes import VALID
from nirgeo.tiling import ChunkGrid

PHOTOMETRIC_RGB = 2  # TIFF 6.0

ROTATED = rasterio.Affine(9.3, 2.7, 500_000.0, 3.1, -8.8, 5_000_000.0)
GCPS = (
    (0.0, 0.0, 11.0, 48.0, 400.0),
    (0.0, 100.0, 11.1, 48.01, 410.0),
    (80.0, 0.0, 11.02, 47.9, 420.0),
    (80.0, 100.0, 11.12, 47.91, 433.5),
)
RPCS = RPC(
    height_off=300.0,
    height_scale=500.0,
    lat_off=48.1,
    lat_scale=0.1,
    line_den_coeff=[1.0] + [0.001 * k for k in range(19)],
    line_num_coeff=[0.01] + [0.002 * k for k in range(19)],
    line_off=40.25,
    line_scale=41.5,
    long_off=11.2,
    long_scale=0.12,
    samp_den_coeff=[1.0] + [0.0005 * k for k in range(19)],
    samp_num_coeff=[0.02] + [0.0003 * k for k in range(19)],
    samp_off=50.75,
    samp_scale=51.5,
    err_bias=0.5,
    err_rand=0.25,
)


def colorize(
    path: Path, target: Path, model: Model, *, scale: str = "0.0001", **options: Any
) -> Path:
    scene = nirgeo.open_scene(path, scale=scale, chunk=options.pop("chunk", None))
    as_ = options.pop("output", "display")
    return nirgeo.write_geotiff(engine.colorize(scene, model, output=as_), target, **options)


# --- the file itself ------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["display", "reflectance"])
def test_the_file_is_a_cog_that_says_what_it_holds(
    tmp_path: Path, tiny: Model, output: str
) -> None:
    height, width = 700, 1100
    values, valid = scene_values(height, width), punch_holes(height, width)
    values[~valid] = 0
    source = write_raster(tmp_path / "scene.tif", values, nodata=0)
    target = colorize(source, tmp_path / "out.tif", tiny, output=output)

    valid_cog, errors, warnings = cog_validate(target, strict=True, quiet=True)
    assert valid_cog, (errors, warnings)
    assert not warnings
    eight_bit = output == "display"
    with rasterio.open(target) as file:
        assert file.driver == "GTiff"
        assert file.count == 3
        assert set(file.dtypes) == {"uint8" if eight_bit else "float32"}
        assert file.shape == (height, width)
        assert set(file.block_shapes) == {(512, 512)}
        assert file.overviews(1) == [2, 4]
        assert file.compression is Compression.deflate
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == ("2" if eight_bit else "3")
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert file.descriptions == COLOURS
        assert all(MaskFlags.per_dataset in flags for flags in file.mask_flag_enums)
        assert not any(MaskFlags.alpha in flags for flags in file.mask_flag_enums)
        assert file.files == [str(target)]  # mask and overviews are inside
        tags = file.tags(ns="NIRGEO")
        assert tags["SYNTHETIC"] == "yes"
        assert tags["MODEL"] == tiny.spec.full_name
        assert tags["MODEL_SHA256"] == tiny.sha256
        assert tags["SCALING"] == "reflectance:0.0001,0.0"
        assert tags["COLOUR_HINT"] == "none"
        assert tags["OUTPUT"] == output
        assert tags["SOFTWARE"] == f"nirgeo {nirgeo.__version__}"
        assert "synthetic" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
        assert not {"TIFFTAG_DATETIME", "TIFFTAG_HOSTCOMPUTER"} & set(file.tags())
        assert "1024" not in str([file.tags(), tags])  # the size of the chunks
    assert tiff_tag(target, 262) == PHOTOMETRIC_RGB
    # What depends on the run and not on the work must not be there.
    raw = target.read_bytes()
    for word in (tmp_path.name, "scene.tif"):
        assert word.encode() not in raw, word
    pixels, mask = read(target)
    np.testing.assert_array_equal(pixels, whole_picture(values[None], valid, tiny, output=output))
    np.testing.assert_array_equal(mask, valid)


@pytest.mark.parametrize("resampling", [None, "AVERAGE"])
def test_the_making_of_the_file_is_told(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch, resampling: str | None
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(1408, 1152))
    clock = count()
    monkeypatch.setattr("nirgeo.write.time.monotonic", lambda: next(clock))  # every look a second
    told: list[tuple[int, int]] = []
    options = {} if resampling is None else {"OVERVIEW_RESAMPLING": resampling}
    colorize(
        source,
        tmp_path / "out.tif",
        tiny,
        creation_options=options,
        on_writing=lambda *share: told.append(share),
    )
    assert len(told) >= 3
    assert told == sorted(told)
    assert {total for _, total in told} == {100}
    assert told[0][0] < 50
    assert told[-1][0] == 100


def test_a_callback_that_fails_while_the_file_is_made_ends_the_run(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(700, 600))
    clock = count()
    monkeypatch.setattr("nirgeo.write.time.monotonic", lambda: next(clock))

    def fails(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        colorize(source, tmp_path / "out.tif", tiny, on_writing=fails)
    assert os.listdir(tmp_path) == ["scene.tif"]


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_overviews_are_those_that_gdal_makes(tmp_path: Path, tiny: Model, chunk: int) -> None:
    values, valid = scene_values(1408, 1152), punch_holes(1408, 1152)
    values[~valid] = 0
    source = write_raster(tmp_path / "scene.tif", values, nodata=0)
    own = colorize(source, tmp_path / "own.tif", tiny, chunk=chunk)
    options = {"OVERVIEW_RESAMPLING": "AVERAGE"}  # asked for, it is GDAL's work
    gdals = colorize(source, tmp_path / "gdal.tif", tiny, creation_options=options)
    with rasterio.open(own) as file:
        assert file.overviews(1) == [2, 4]
    for level in range(2):
        with (
            rasterio.open(own, overview_level=level) as one,
            rasterio.open(gdals, overview_level=level) as other,
        ):
            np.testing.assert_array_equal(one.read(), other.read())
            np.testing.assert_array_equal(one.dataset_mask(), other.dataset_mask())


@pytest.mark.parametrize("output", ["display", "reflectance"])
def test_overviews_are_the_mean_of_valid_pixels(tmp_path: Path, tiny: Model, output: str) -> None:
    values = scene_values(1024, 1024)
    values[200:500, 300:801] = 0
    source = write_raster(tmp_path / "scene.tif", values, nodata=0)
    target = colorize(source, tmp_path / "out.tif", tiny, output=output)
    full, mask = read(target)
    with rasterio.open(target, overview_level=0) as file:
        small, small_mask = file.read(), file.dataset_mask() != 0
    assert small.shape[1:] == (512, 512)
    pixels = np.where(mask, full, np.nan).reshape(3, 512, 2, 512, 2)
    counts = mask.reshape(512, 2, 512, 2).sum(axis=(1, 3))
    np.testing.assert_array_equal(small_mask, counts > 0)
    sums = np.nansum(pixels.astype(np.float64), axis=(2, 4))
    means = sums[:, counts > 0] / counts[counts > 0]
    np.testing.assert_allclose(
        small[:, small_mask], means, atol=0.51 if output == "display" else 1e-6
    )


def test_reflectance_has_nan_under_the_mask_and_stays_between_0_and_1(
    tmp_path: Path, tiny: Model
) -> None:
    values, valid = scene_values(130, 70, "float32"), punch_holes(130, 70)
    values[~valid] = np.nan
    source = write_raster(tmp_path / "scene.tif", values)
    target = colorize(source, tmp_path / "out.tif", tiny, scale="1", output="reflectance")
    pixels, mask = read(target)
    np.testing.assert_array_equal(mask, valid)
    assert np.isnan(pixels[:, ~valid]).all()
    assert np.isfinite(pixels[:, valid]).all()
    assert pixels[:, valid].min() >= 0
    assert pixels[:, valid].max() <= 1
    assert np.ptp(pixels[:, valid]) > 0.01


def test_black_is_a_colour(tmp_path: Path, tiny: Model) -> None:
    # Zeros in the picture must stay valid: the mask is a band of its own, not a nodata value.
    source = write_raster(tmp_path / "scene.tif", scene_values(90, 90))
    scene = nirgeo.open_scene(source, scale="0.0001")
    rgb = nirgeo.colorize(scene, tiny).compute()
    rgb[:, 20:40, 30:50] = 0
    target = nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    pixels, mask = read(target)
    assert (pixels[:, 20:40, 30:50] == 0).all()
    assert mask.all()
    with rasterio.open(target) as file:
        assert file.nodata is None


@pytest.mark.parametrize("dtype", list(STORED))
def test_every_data_type_gives_its_picture(
    tmp_path: Path, tiny: Model, tiny_counts: Model, dtype: str
) -> None:
    gain, scale = STORED[dtype]
    values, valid = scene_values(150, 83, dtype), punch_holes(150, 83)
    values[~valid] = 0
    source = write_raster(tmp_path / "scene.tif", values, nodata=0)
    target = colorize(source, tmp_path / "out.tif", tiny, scale=scale, chunk=1)
    pixels, mask = read(target)
    scaling = Scaling(Quantity.REFLECTANCE, 1 / gain, 0.0, "test")
    np.testing.assert_array_equal(pixels, whole_picture(values[None], valid, tiny, scaling))
    np.testing.assert_array_equal(mask, valid)
    # The same scene in 16-bit counts looks the same: only rounding of the input differs.
    fine = scene_values(150, 83, "uint16")
    other = whole_picture(fine[None], valid, tiny).astype(float)
    assert np.abs(pixels - other)[:, valid].mean() < (1.5 if dtype == "uint8" else 0.1)


def test_equal_work_leaves_equal_bytes(tmp_path: Path, tiny: Model) -> None:
    values = scene_values(700, 900)
    values[100:200, 300:700] = 0
    for name in ("a", "b"):
        folder = tmp_path / name
        source = write_raster(folder / f"{name}.tif", values, nodata=0)
        for workers, chunk in ((1, 3), (2, 3), (4, 5)):
            colorize(source, folder / f"{workers}.tif", tiny, workers=workers, chunk=chunk)
        time.sleep(1.1)  # a time recorded to the second would differ
    results = [p.read_bytes() for p in sorted(tmp_path.glob("[ab]/[124].tif"))]
    assert len(results) == 6
    assert all(result == results[0] for result in results)


# --- where it lies --------------------------------------------------------------------------------

PLACES: dict[str, dict[str, Any]] = {
    "utm": {},
    "geographic": {
        "crs": "EPSG:4326",
        "transform": rasterio.Affine(1 / 3600, 0, 11.1, 0, -1 / 7200, 48.3),
    },
    "axes northing first": {
        "crs": "EPSG:2193",
        "transform": rasterio.Affine(2.5, 0, 1_600_000.3, 0, -2.5, 5_400_000.7),
    },
    "own projection": {
        "crs": "+proj=laea +lat_0=-12.5 +lon_0=17.25 +x_0=100 +y_0=0 +ellps=GRS80 +units=m",
        "transform": NORTH_UP_10M,
    },
    "feet": {"crs": "EPSG:2225", "transform": NORTH_UP_10M},
    "compound": {"crs": "EPSG:32632+5773", "transform": NORTH_UP_10M},
    "south up": {"transform": rasterio.Affine(10.0, 0, 500_000.0, 0, 10.0, 4_990_000.0)},
    "third of a metre": {"transform": rasterio.Affine(1 / 3, 0, 1e6 / 7, 0, -1 / 3, 1e7 / 3)},
    "rotated": {"transform": ROTATED},
    "no crs": {"crs": None, "transform": rasterio.Affine(0.5, 0, 1000.25, 0, -0.5, 2000.75)},
    "nothing": {"crs": None, "transform": None},
    "points": {"gcps": GCPS},
    "projected points": {"gcps": GCPS, "gcp_crs": UTM},
    "polynomials": {"crs": None, "transform": None, "rpcs": RPCS},
    "polynomials and transform": {"rpcs": RPCS},
}


def place_of(path: Path) -> dict[str, Any]:
    with rasterio.open(path) as file:
        gcps, gcp_crs = file.gcps
        return {
            "shape": file.shape,
            "transform": tuple(file.transform),
            "crs": file.crs.to_wkt() if file.crs else None,
            "gcps": [(g.row, g.col, g.x, g.y, g.z) for g in gcps],
            "gcp_crs": gcp_crs.to_wkt() if gcp_crs else None,
            "rpcs": file.rpcs.to_gdal() if file.rpcs else None,
            # GDAL says nothing of a file without a CRS: its pixels are areas.
            "area_or_point": file.tags().get("AREA_OR_POINT", "Area"),
        }


@pytest.mark.parametrize("point", [False, True], ids=["area", "point"])
@pytest.mark.parametrize("place", list(PLACES))
def test_the_place_is_carried_over_exactly(
    tmp_path: Path, tiny: Model, place: str, point: bool
) -> None:
    source = write_raster(
        tmp_path / "scene.tif",
        scene_values(81, 101),
        tags={"AREA_OR_POINT": "Point"} if point else {},
        **PLACES[place],
    )
    target = colorize(source, tmp_path / "out.tif", tiny)
    wanted = place_of(source)
    assert wanted["area_or_point"] == ("Point" if point else "Area")  # the test's own input
    assert place_of(target) == wanted
    assert cog_validate(target, quiet=True)[0]


def test_georeferenced_by_points_alone(tmp_path: Path, tiny: Model) -> None:
    # A reader that warps by the points must find the picture where it finds the scene.
    source = write_raster(tmp_path / "scene.tif", scene_values(81, 101), gcps=GCPS)
    target = colorize(source, tmp_path / "out.tif", tiny)
    with rasterio.open(source) as a, rasterio.open(target) as b:
        assert len(b.gcps[0]) == 4
        with WarpedVRT(a, crs=UTM) as warped_a, WarpedVRT(b, crs=UTM) as warped_b:
            assert warped_a.transform == warped_b.transform
            assert warped_a.shape == warped_b.shape


def cut(scene: xr.DataArray) -> xr.DataArray:
    return scene.isel(y=slice(17, 70), x=slice(23, 92))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", list(PLACES))
def test_a_slice_lies_where_it_was_cut_out(
    tmp_path: Path, tiny: Model, place: str, when: str
) -> None:
    # What a window of the source says about its own place, by GDAL.
    values = scene_values(81, 101)
    source = write_raster(tmp_path / "scene.tif", values, **PLACES[place])
    scene = nirgeo.open_scene(source, scale="0.0001")
    if when == "before":
        rgb = nirgeo.colorize(cut(scene), tiny)
        valid = np.ones((53, 69), dtype=np.bool_)
        pixels = whole_picture(values[None, 17:70, 23:92], valid, tiny)
    else:
        rgb = cut(nirgeo.colorize(scene, tiny))
        pixels = whole_picture(values[None], np.ones(values.shape, dtype=np.bool_), tiny)
        pixels = pixels[:, 17:70, 23:92]
    target = nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    np.testing.assert_array_equal(read(target)[0], pixels)
    whole, part = place_of(source), place_of(target)
    if whole["gcps"]:
        moved = [(r - 17, c - 23, x, y, z) for r, c, x, y, z in whole["gcps"]]
        assert part["gcps"] == moved
        assert part["gcp_crs"] == whole["gcp_crs"]
    elif place in ("nothing", "polynomials"):
        assert part["transform"] == whole["transform"]
    else:
        moved_to = rasterio.Affine(*whole["transform"][:6]) @ rasterio.Affine.translation(23, 17)
        np.testing.assert_allclose(part["transform"], tuple(moved_to), rtol=1e-12, atol=0)
        assert part["crs"] == whole["crs"]
    if whole["rpcs"]:
        a, b = (RPC.from_gdal(p["rpcs"]) for p in (whole, part))
        assert b.line_off == pytest.approx(a.line_off - 17)
        assert b.samp_off == pytest.approx(a.samp_off - 23)
        assert b.line_num_coeff == a.line_num_coeff


@pytest.mark.parametrize("place", ["utm", "rotated", "points"])
def test_bounds_or_not_a_slice_of_one_pixel_has_a_place(
    tmp_path: Path, tiny: Model, place: str
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(81, 101), **PLACES[place])
    scene = nirgeo.open_scene(source, scale="0.0001")
    rgb = nirgeo.colorize(scene, tiny).isel(y=slice(30, 31), x=slice(40, 41))
    part = place_of(nirgeo.write_geotiff(rgb, tmp_path / "out.tif"))
    if place == "points":
        assert part["gcps"] == [(r - 30, c - 40, x, y, z) for r, c, x, y, z in GCPS]
    else:
        moved = (NORTH_UP_10M if place == "utm" else ROTATED) @ rasterio.Affine.translation(40, 30)
        assert part["transform"] == pytest.approx(tuple(moved), rel=1e-12)


@pytest.mark.parametrize("place", ["utm", "rotated", "points", "polynomials and transform"])
def test_every_third_pixel_is_three_pixels_wide(tmp_path: Path, tiny: Model, place: str) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(81, 101), **PLACES[place])
    rgb = nirgeo.colorize(nirgeo.open_scene(source, scale="0.0001"), tiny)
    thin = rgb.isel(y=slice(2, None, 3), x=slice(5, None, 3))
    target = nirgeo.write_geotiff(thin, tmp_path / "out.tif")
    part, whole = place_of(target), place_of(source)
    # New pixel (0, 0) has its centre on old pixel (2, 5); its edge is one and a half pixels away.
    into_old = rasterio.Affine.translation(5.5 - 1.5, 2.5 - 1.5) @ rasterio.Affine.scale(3)
    if whole["gcps"]:
        for (r, c, *ground), (old_r, old_c, *old_ground) in zip(
            part["gcps"], whole["gcps"], strict=True
        ):
            assert ground == old_ground
            assert (r, c) == pytest.approx(((old_r - 1) / 3, (old_c - 4) / 3))
    else:
        moved = rasterio.Affine(*whole["transform"][:6]) @ into_old
        assert part["transform"] == pytest.approx(tuple(moved), rel=1e-12)
    if whole["rpcs"]:
        a, b = (RPC.from_gdal(p["rpcs"]) for p in (whole, part))
        # Their pixel coordinates count from pixel centres.
        assert (b.line_off, b.line_scale) == pytest.approx(((a.line_off - 2) / 3, a.line_scale / 3))
        assert (b.samp_off, b.samp_scale) == pytest.approx(((a.samp_off - 5) / 3, a.samp_scale / 3))


def test_bounds_of_a_rotated_scene(tmp_path: Path, tiny: Model) -> None:
    values = scene_values(81, 101)
    source = write_raster(tmp_path / "scene.tif", values, transform=ROTATED)
    corners = [
        (ROTATED.a * c + ROTATED.b * r + ROTATED.c, ROTATED.d * c + ROTATED.e * r + ROTATED.f)
        for r, c in ((30, 40), (30, 60), (50, 40), (50, 60))
    ]
    xs, ys = zip(*corners, strict=True)
    scene = nirgeo.open_scene(source, scale="0.0001", bounds=(min(xs), min(ys), max(xs), max(ys)))
    target = nirgeo.write_geotiff(nirgeo.colorize(scene, tiny), tmp_path / "out.tif")
    with rasterio.open(target) as file:
        to_scene = ~ROTATED @ file.transform
        col, row = round(to_scene.c), round(to_scene.f)
        assert (to_scene.c, to_scene.f) == pytest.approx((col, row), abs=1e-6)
        # The box around the corners covers more than the pixels between them.
        assert row <= 30 < 50 <= row + file.height
        assert col <= 40 < 60 <= col + file.width
    whole = whole_picture(values[None], np.ones(values.shape, dtype=np.bool_), tiny)
    pixels = read(target)[0]
    np.testing.assert_array_equal(
        pixels, whole[:, row : row + pixels.shape[1], col : col + pixels.shape[2]]
    )


@pytest.mark.parametrize("place", ["nothing", "points", "polynomials"])
def test_bounds_need_map_coordinates(tmp_path: Path, place: str) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(81, 101), **PLACES[place])
    with pytest.raises((OptionError, GridError), match="--bounds"):
        nirgeo.open_scene(source, bounds=(10, 10, 20, 20))


# --- creation options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "compression", "predictor"),
    [
        ({}, "deflate", "2"),
        ({"COMPRESS": "ZSTD"}, "zstd", "2"),
        ({"compress": "zstd", "level": "9"}, "zstd", "2"),
        ({"COMPRESS": "LZW"}, "lzw", "2"),
        ({"COMPRESS": "LZW", "PREDICTOR": "NO"}, "lzw", None),
        ({"COMPRESS": "NONE"}, None, None),
        ({"COMPRESS": "JPEG", "QUALITY": "90"}, "jpeg", None),
        ({"COMPRESS": "WEBP", "QUALITY": "100"}, "webp", None),
    ],
    ids=str,
)
def test_creation_options_reach_the_file(
    tmp_path: Path,
    tiny: Model,
    given: Mapping[str, str],
    compression: str | None,
    predictor: str | None,
) -> None:
    values, valid = scene_values(300, 300), punch_holes(300, 300)
    values[~valid] = 0
    source = write_raster(tmp_path / "scene.tif", values, nodata=0)
    target = colorize(source, tmp_path / "out.tif", tiny, creation_options=given)
    assert cog_validate(target, quiet=True)[0]
    with rasterio.open(target) as file:
        assert (file.compression.value.lower() if file.compression else None) == compression
        assert file.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") == predictor
        assert file.descriptions == COLOURS
        pixels, mask = file.read(), file.dataset_mask() != 0
    np.testing.assert_array_equal(mask, valid)
    whole = whole_picture(values[None], valid, tiny)
    if compression == "jpeg":
        # Random weights paint noise, and JPEG halves the resolution of its colours.
        assert np.abs(pixels.astype(float) - whole)[:, valid].mean() < 16
    else:
        np.testing.assert_array_equal(pixels[:, valid], whole[:, valid])


def test_block_size_and_overviews_can_be_chosen(tmp_path: Path, tiny: Model) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(700, 700))
    options = {"BLOCKSIZE": "256", "OVERVIEWS": "NONE"}
    target = colorize(source, tmp_path / "out.tif", tiny, creation_options=options)
    with rasterio.open(target) as file:
        assert set(file.block_shapes) == {(256, 256)}
        assert file.overviews(1) == []


def test_resampling_chosen_for_the_file_is_used_for_its_overviews(
    tmp_path: Path, tiny: Model
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(1024, 1024))
    target = colorize(
        source, tmp_path / "out.tif", tiny, creation_options={"RESAMPLING": "NEAREST"}
    )
    pixels = read(target)[0]
    with rasterio.open(target, overview_level=0) as file:
        small = file.read()
    members = [pixels[:, r::2, c::2] for r in (0, 1) for c in (0, 1)]
    assert any((small == member).all() for member in members)


@pytest.mark.parametrize("given", [{"COMPRESS": "WEBP"}, {"OVERVIEW_COMPRESS": "WEBP"}], ids=str)
def test_a_compression_that_knows_no_such_numbers_is_refused(
    given: Mapping[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """GDAL's encoders run in threads of their own; what they can't do would become black."""
    with pytest.raises(OptionError, match=r"WEBP: GDAL can't write a COG.*8 bit"):
        check_creation_options(given, "float32")
    check_creation_options(given, "uint8")
    assert capfd.readouterr().err == ""


def test_listening_to_gdal_hears_this_thread_and_leaves_the_log_as_it_was() -> None:
    log = logging.getLogger("rasterio")
    before = (log.level, log.propagate, list(log.handlers))
    log.setLevel(logging.ERROR)
    stop = threading.Event()

    def chatter() -> None:
        while not stop.is_set():
            log.warning("CPLE_AppDefined in other.tif: of no concern")

    noise = threading.Thread(target=chatter)
    noise.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            tried = [
                pool.submit(check_creation_options, {"COMPRESS": "ZSTD"}, "uint8")
                for _ in range(12)
            ]
            assert [t.result() for t in tried] == [{"COMPRESS": "ZSTD"}] * 12
        assert (log.level, log.propagate) == (logging.ERROR, before[1])
    finally:
        stop.set()
        noise.join()
        log.setLevel(before[0])
    assert list(log.handlers) == before[2]


@pytest.mark.parametrize("name", ["COMPRES", "TILED", "PHOTOMETRIC", "x"])
def test_unknown_creation_options_are_refused(tmp_path: Path, tiny: Model, name: str) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(64, 64))
    with pytest.raises(OptionError, match=f"--co {name.upper()}"):
        colorize(source, tmp_path / "out.tif", tiny, creation_options={name: "YES"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.tif"]


@pytest.mark.parametrize(
    "given",
    [
        {"COMPRESS": "DEFLAT"},
        {"BLOCKSIZE": "100"},
        {"BLOCKSIZE": "²"},
        {"BLOCKSIZE": "٥١٢"},
        {"LEVEL": "77"},
        {"BIGTIFF": "PERHAPS"},
        {"OVERVIEW_COUNT": "0"},
        {"OVERVIEW_COUNT": "x"},
        {"STATISTICS": "YES"},
        {"RES": "10"},
        {"WARP_RESAMPLING": "BILINEAR"},
    ],
    ids=str,
)
def test_bad_values_of_creation_options_are_refused_before_the_work(
    tmp_path: Path, tiny: Model, given: Mapping[str, str]
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(200, 200))
    started: list[int] = []
    (key, value), *_ = given.items()
    with pytest.raises(OptionError, match=f"--co {key}={value}"):
        colorize(
            source,
            tmp_path / "out.tif",
            tiny,
            chunk=1,
            creation_options=given,
            on_progress=lambda done, total: started.append(done),
        )
    assert not started
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.tif"]


def is_bigtiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II\x2b\x00", b"MM\x00\x2b")


def test_bigtiff_only_where_it_is_needed_or_asked_for(tmp_path: Path, tiny: Model) -> None:
    # Files whose pixels need it are in test_large.py.
    source = write_raster(tmp_path / "scene.tif", scene_values(100, 100))
    assert not is_bigtiff(colorize(source, tmp_path / "small.tif", tiny))
    asked = colorize(source, tmp_path / "big.tif", tiny, creation_options={"BIGTIFF": "YES"})
    assert is_bigtiff(asked)
    np.testing.assert_array_equal(read(asked)[0], read(tmp_path / "small.tif")[0])


# --- nodata ---------------------------------------------------------------------------------------


def holes_as(
    kind: str, folder: Path, valid: NDArray[np.bool_]
) -> tuple[Path, NDArray[Any], Mapping[str, Any]]:
    """A scene with the same holes, marked in one way or another; and how to open it."""
    path = folder / "scene.tif"
    if kind == "nan":
        values = scene_values(*valid.shape, "float32")
        values[~valid] = np.nan
        return write_raster(path, values), values, {"scale": "1"}
    if kind == "nan tag":
        values = scene_values(*valid.shape, "float64")
        values[~valid] = np.nan
        return write_raster(path, values, nodata=np.nan), values, {"scale": "1"}
    if kind == "infinity":
        values = scene_values(*valid.shape, "float32")
        values[~valid] = np.inf
        return write_raster(path, values), values, {"scale": "1"}
    if kind == "-9999":
        values = scene_values(*valid.shape, "int16")
        values[~valid] = -9999
        return write_raster(path, values, nodata=-9999), values, {"scale": "0.0001"}
    if kind == "untagged -99999":
        values = scene_values(*valid.shape, "float32")
        values[~valid] = -99999
        return write_raster(path, values), values, {"scale": "1", "nodata": -99999.0}
    if kind == "lowest float":
        low = float(np.finfo(np.float32).min)
        values = scene_values(*valid.shape, "float32")
        values[~valid] = low
        return write_raster(path, values, nodata=low), values, {"scale": "1"}
    if kind == "mask":
        values = scene_values(*valid.shape)
        return write_raster(path, values, mask=valid), values, {"scale": "0.0001"}
    if kind == "alpha":
        values = scene_values(*valid.shape, "uint8")
        alpha = np.where(valid, 255, 0).astype(np.uint8)
        both = np.stack([values, alpha])
        path = write_raster(path, both, colorinterp=("gray", "alpha"))
        return path, values, {"scale": "0.005", "nir": 1}
    raise AssertionError(kind)


KINDS = (
    "nan",
    "nan tag",
    "infinity",
    "-9999",
    "untagged -99999",
    "lowest float",
    "mask",
    "alpha",
)


@pytest.mark.parametrize("kind", KINDS)
def test_holes_of_every_kind_become_the_mask(tmp_path: Path, tiny: Model, kind: str) -> None:
    valid = punch_holes(150, 130)
    source, values, options = holes_as(kind, tmp_path, valid)
    scene = nirgeo.open_scene(source, chunk=1, **options)
    np.testing.assert_array_equal(scene[VALID].values, valid)
    target = nirgeo.write_geotiff(nirgeo.colorize(scene, tiny), tmp_path / "out.tif")
    pixels, mask = read(target)
    np.testing.assert_array_equal(mask, valid)
    gain = float(str(options["scale"]))
    scaling = Scaling(Quantity.REFLECTANCE, gain, 0.0, "test")
    np.testing.assert_array_equal(pixels, whole_picture(values[None], valid, tiny, scaling))
    assert (pixels[:, ~valid] == 0).all()


@pytest.mark.parametrize("nodata", [float("nan"), -9999.0, 0.5, 70_000.0])
def test_a_nodata_value_that_the_data_type_cannot_hold_masks_nothing(
    tmp_path: Path, tiny: Model, nodata: float
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(70, 70))
    scene = nirgeo.open_scene(source, scale="0.0001", nodata=nodata)
    target = nirgeo.write_geotiff(nirgeo.colorize(scene, tiny), tmp_path / "out.tif")
    assert read(target)[1].all()


def test_a_nan_that_marks_missing_pixels_is_told(tmp_path: Path) -> None:
    # Other users of rioxarray look for it there, and it equals nothing that could be compared.
    values = scene_values(70, 70).astype(np.float32)
    source = write_raster(tmp_path / "scene.tif", values, nodata=float("nan"))
    assert np.isnan(nirgeo.open_scene(source).rio.nodata)
    assert nirgeo.open_scene(source, nodata=-9999).rio.nodata == -9999


def count_network_runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    from nirgeo import inference

    runs: list[tuple[int, ...]] = []
    original = inference.run_network

    def counted(inputs: NDArray[np.float32], *rest: Any, **options: Any) -> NDArray[np.float32]:
        runs.append(inputs.shape)
        return original(inputs, *rest, **options)

    monkeypatch.setattr(inference, "run_network", counted)
    return runs


def test_the_network_does_not_run_where_nothing_is_valid(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.zeros((256, 320), dtype=np.uint16)
    values[70:140, 130:180] = scene_values(70, 50)
    valid = values != 0
    source = write_raster(tmp_path / "scene.tif", values, nodata=0)
    runs = count_network_runs(monkeypatch)
    target = colorize(source, tmp_path / "out.tif", tiny, chunk=1)
    assert len(runs) == 2 * 1  # of 20 tiles, those in rows 1 and 2, column 2
    pixels, mask = read(target)
    np.testing.assert_array_equal(mask, valid)
    np.testing.assert_array_equal(pixels, whole_picture(values[None], valid, tiny))


def test_a_scene_without_a_valid_pixel_is_refused(tmp_path: Path, tiny: Model) -> None:
    source = write_raster(tmp_path / "scene.tif", np.zeros((100, 100), np.uint16), nodata=0)
    with pytest.raises(EmptySceneError, match="--nodata"):
        colorize(source, tmp_path / "out.tif", tiny)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.tif"]


def test_one_valid_pixel_is_enough(tmp_path: Path, tiny: Model) -> None:
    values = np.zeros((130, 130), np.uint16)
    values[77, 64] = 2500
    source = write_raster(tmp_path / "scene.tif", values, nodata=0)
    pixels, mask = read(colorize(source, tmp_path / "out.tif", tiny, chunk=1))
    np.testing.assert_array_equal(mask, values != 0)
    np.testing.assert_array_equal(pixels, whole_picture(values[None], values != 0, tiny))


# --- the target -----------------------------------------------------------------------------------


def slowly(rgb: xr.DataArray, pause: float) -> xr.DataArray:
    """The same picture, whose chunks take their time."""

    def wait(block: NDArray[Any]) -> NDArray[Any]:
        time.sleep(pause)
        return block

    return rgb.copy(
        data=rgb.data.map_blocks(wait, dtype=rgb.dtype, meta=np.empty((0, 0, 0), rgb.dtype))
    )


def test_nothing_stands_under_the_final_name_before_the_end(tmp_path: Path, tiny: Model) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(256, 256))
    target = tmp_path / "out.tif"
    target.write_bytes(b"an older file")
    scene = nirgeo.open_scene(source, scale="0.0001", chunk=1)
    rgb = slowly(nirgeo.colorize(scene, tiny), 0.05)
    seen: list[bytes] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(target.read_bytes())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        nirgeo.write_geotiff(rgb, target, overwrite=True, workers=2)
    finally:
        stop.set()
        watcher.join()
    finished = target.read_bytes()
    assert len(seen) > 20
    assert set(seen) <= {b"an older file", finished}
    assert seen[0] == b"an older file"
    assert cog_validate(target, quiet=True)[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.tif", "scene.tif"]


@pytest.mark.parametrize(
    ("name", "match"),
    [("out.tif/", "is a folder"), ("b\udcff.tif", "UTF-8")],
    ids=["slash", "bytes"],
)
def test_names_that_no_file_can_have_are_refused_before_the_work(
    tmp_path: Path, tiny: Model, name: str, match: str
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(70, 60))
    rgb = nirgeo.colorize(nirgeo.open_scene(source, scale="0.0001"), tiny)
    with pytest.raises(TargetError, match=match):
        nirgeo.write_geotiff(rgb, f"{tmp_path}/{name}")
    assert os.listdir(tmp_path) == ["scene.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="files have no holes there unless asked for")
def test_a_flat_picture_takes_little_of_the_disk_while_it_is_made(tmp_path: Path) -> None:
    store = BlockStore(tmp_path / "blocks.tif", ChunkGrid(1, 50_000, 12), 4, "uint8")
    store.create()
    for i, j, window in store.grid.windows():
        block = np.full((4, 1, window.width), 7, dtype=np.uint8)
        assert (store.recovered(i, j, store.write(i, j, block)) == block).all()
    store.close()
    assert store.path.stat().st_blocks * 512 < 3e6  # 0.2 MB of pixels, in whole pages of the disk


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path, tiny: Model) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(64, 64))
    target = tmp_path / "out.tif"
    target.write_bytes(b"mine")
    with pytest.raises(TargetExistsError, match="--overwrite"):
        colorize(source, target, tiny)
    assert target.read_bytes() == b"mine"
    colorize(source, target, tiny, overwrite=True)
    assert cog_validate(target, quiet=True)[0]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_comes_during_the_run_is_kept_too(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(200, 64))
    rgb = nirgeo.colorize(nirgeo.open_scene(source, scale="0.0001", chunk=1), tiny)
    target, notes = tmp_path / "out.tif", tmp_path / "out.tif.aux.xml"
    if not links:  # as on FAT

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)

    def appear(done: int, total: int) -> None:
        if done == total:
            target.write_bytes(b"mine")
            notes.write_bytes(b"mine too")

    with pytest.raises(TargetExistsError, match=r"meanwhile.*--resume --overwrite"):
        nirgeo.write_geotiff(rgb, target, on_progress=appear)
    assert target.read_bytes() == b"mine"
    assert notes.read_bytes() == b"mine too"
    # Nothing of the work is lost, whoever comes before the advice is followed.
    for resume in (False, True):
        with pytest.raises(TargetExistsError):
            nirgeo.write_geotiff(rgb, target, resume=resume)
    computed: list[int] = []
    nirgeo.write_geotiff(
        rgb, target, overwrite=True, resume=True, on_start=lambda done, _: computed.append(done)
    )
    assert computed == [4]
    assert cog_validate(target, quiet=True)[0]
    assert not notes.exists()
    assert sorted(os.listdir(tmp_path)) == ["out.tif", "scene.tif"]


def test_what_was_noted_about_an_older_file_goes_with_it(tmp_path: Path, tiny: Model) -> None:
    target = write_raster(tmp_path / "out.tif", scene_values(64, 64))
    notes = Path(f"{target}.aux.xml")  # GDAL's and QGIS's
    notes.write_text(
        '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">7</MDI>'
        "</Metadata></PAMRasterBand></PAMDataset>"
    )
    with rasterio.open(target) as file:
        assert file.tags(1)["STATISTICS_MEAN"] == "7"
    source = write_raster(tmp_path / "scene.tif", scene_values(64, 64))
    with pytest.raises(TargetExistsError):
        colorize(source, target, tiny)
    assert notes.exists()
    colorize(source, target, tiny, overwrite=True)
    assert not notes.exists()
    with rasterio.open(target) as file:
        assert "STATISTICS_MEAN" not in file.tags(1)


def test_a_failing_chunk_leaves_nothing_behind(tmp_path: Path, tiny: Model) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(256, 256))
    rgb = nirgeo.colorize(nirgeo.open_scene(source, scale="0.0001", chunk=1), tiny)

    def fail(block: NDArray[Any], block_id: tuple[int, ...] | None = None) -> NDArray[Any]:
        if block_id == (0, 2, 1):
            raise RuntimeError("this chunk fails")
        return block

    broken = rgb.copy(
        data=rgb.data.map_blocks(fail, dtype=rgb.dtype, meta=np.empty((0, 0, 0), rgb.dtype))
    )
    with pytest.raises(RuntimeError, match="this chunk fails"):
        nirgeo.write_geotiff(broken, tmp_path / "out.tif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.tif"]


def test_memory_file_system(tmp_path: Path, tiny: Model) -> None:
    values = scene_values(150, 130)
    source = write_raster(tmp_path / "scene.tif", values)
    target = "/vsimem/nirgeo-test/out.tif"
    colorize(source, target, tiny)  # type: ignore[arg-type]
    whole = whole_picture(values[None], np.ones(values.shape, dtype=np.bool_), tiny)
    np.testing.assert_array_equal(read(target)[0], whole)
    with pytest.raises(TargetExistsError):
        colorize(source, target, tiny)  # type: ignore[arg-type]
    values[10:20] = 9_000
    write_raster(source, values)
    colorize(source, target, tiny, overwrite=True)  # type: ignore[arg-type]
    assert not (read(target)[0] == whole).all()
    local = colorize(source, tmp_path / "local.tif", tiny)
    with rasterio.open(target) as a, rasterio.open(local) as b:
        assert a.tags(ns="NIRGEO") == b.tags(ns="NIRGEO")
        np.testing.assert_array_equal(a.read(), b.read())


@pytest.mark.parametrize("name", ["out.tif", "ä ö #1 %20.tif", "-o.tif", "out", "a.b.TIFF"])
def test_any_file_name(tmp_path: Path, tiny: Model, name: str) -> None:
    folder = tmp_path / "Ordner mit Ümläuten & <Zeichen>"
    source = write_raster(folder / f"s {name}.tif", scene_values(64, 64))
    target = colorize(source, folder / name, tiny)
    assert cog_validate(target, quiet=True)[0]
    assert len(list(folder.iterdir())) == 2


def test_arrays_from_elsewhere_can_be_written(tmp_path: Path) -> None:
    # Any uint8 or float32 picture, with rioxarray's georeference and without a mask.
    pixels = np.random.default_rng(1).integers(0, 256, (3, 70, 50), dtype=np.uint8)
    rgb = xr.DataArray(pixels, dims=("band", "y", "x"))
    target = nirgeo.write_geotiff(rgb, tmp_path / "plain.tif")
    np.testing.assert_array_equal(read(target)[0], pixels)
    xs = 500_000.0 + 10 * (np.arange(50) + 0.5)
    ys = 5_000_000.0 - 10 * (np.arange(70) + 0.5)
    placed = rgb.assign_coords(x=xs, y=ys).rio.write_crs(UTM)
    target = nirgeo.write_geotiff(placed, tmp_path / "placed.tif")
    with rasterio.open(target) as file:
        assert file.crs == CRS.from_user_input(UTM)
        assert file.transform.almost_equals(NORTH_UP_10M)
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    for wrong in (rgb[0], rgb.astype(np.uint16), rgb.rename(y="row")):
        with pytest.raises(GridError):
            nirgeo.write_geotiff(wrong, tmp_path / "wrong.tif")
    assert not (tmp_path / "wrong.tif").exists()


class TestAMaskOfOnesOwn:
    """Clouds that somebody masks in a picture, say."""

    @pytest.fixture
    def scene(self, tmp_path: Path) -> Path:
        return write_raster(tmp_path / "scene.tif", scene_values(250, 200))

    @staticmethod
    def clouds(seed: int = 0) -> NDArray[np.bool_]:
        """Over whole chunks and over parts of others."""
        mask = np.random.default_rng(seed).random((250, 200)) < 0.5
        mask[:, :130] = False
        mask[:64, 128:] = True
        return ~mask

    def test_bytes_do_not_depend_on_chunks(self, tmp_path: Path, scene: Path, tiny: Model) -> None:
        written = []
        for chunk in (1, 2, 5):
            rgb = nirgeo.colorize(nirgeo.open_scene(scene, chunk=chunk), tiny)
            masked = rgb.assign_coords(
                valid=rgb["valid"] & xr.DataArray(self.clouds(), dims=("y", "x"))
            )
            target = nirgeo.write_geotiff(masked, tmp_path / f"{chunk}.tif")
            np.testing.assert_array_equal(read(target)[1], self.clouds())
            written.append(target.read_bytes())
        assert written[0] == written[1] == written[2]

    def test_another_one_does_not_go_on_with_an_interrupted_run(
        self, tmp_path: Path, scene: Path, tiny: Model
    ) -> None:
        def masked(seed: int) -> xr.DataArray:
            rgb = nirgeo.colorize(nirgeo.open_scene(scene, chunk=1), tiny)
            return rgb.assign_coords(valid=(("y", "x"), self.clouds(seed)))

        def stop(done: int, total: int) -> None:
            if done == 5:
                raise KeyboardInterrupt

        target = tmp_path / "out.tif"
        with pytest.raises(KeyboardInterrupt):
            nirgeo.write_geotiff(masked(0), target, resume=True, workers=1, on_progress=stop)
        with pytest.raises(ResumeError, match="mask"):
            nirgeo.write_geotiff(masked(1), target, resume=True)
        starts: list[int] = []
        nirgeo.write_geotiff(
            masked(0), target, resume=True, on_start=lambda done, total: starts.append(done)
        )
        assert starts[0] >= 5
        np.testing.assert_array_equal(read(target)[1], self.clouds(0))

    @pytest.mark.parametrize("kind", ["float32", "uint8", "turned"])
    def test_of_any_kind(self, tmp_path: Path, kind: str) -> None:
        pixels = np.random.default_rng(1).integers(1, 256, (3, 250, 200), dtype=np.uint8)
        mask = self.clouds()
        given = (("x", "y"), mask.T) if kind == "turned" else (("y", "x"), mask.astype(kind))
        rgb = xr.DataArray(pixels, dims=("band", "y", "x"), coords={"valid": given})
        target = nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
        np.testing.assert_array_equal(read(target)[1], mask)
