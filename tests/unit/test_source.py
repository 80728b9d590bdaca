"""Scenes of every kind on disk: what is found out about them, and which pixels come back."""

from __future__ import annotations

import math
import os
import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from helpers import NORTH_UP_10M, UTM, write_raster
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points

import nirgeo
from nirgeo import handles
from nirgeo.engine import model_for, unlike_training
from nirgeo.errors import BandError, BandWarning, GridError, NirgeoError, SourceError
from nirgeo.grid import Grid
from nirgeo.nodata import suspected_nodata
from nirgeo.opening import StackedBand, open_source
from nirgeo.pixel_size import told_sides
from nirgeo.radiometry import Quantity
from nirgeo.registry import is_made_for, load_model
from nirgeo.scaling import find_scaling
from nirgeo.source import RasterSource
from nirgeo.tiling import Window, lattice

RGBA = ("red", "green", "blue", "alpha")
COARSE_20M = rasterio.Affine(20.0, 0.0, NORTH_UP_10M.c, 0.0, -20.0, NORTH_UP_10M.f)


def read_all(source: RasterSource, *numbers: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Bands (the NIR band by default) of the whole scene and their mask."""
    chosen = list(numbers) or [source.number_of("nir")]
    return source.read(Window(0, 0, *source.grid.shape), chosen)


def ramp(dtype: str, height: int = 70, width: int = 90) -> NDArray[Any]:
    """Values over a type's whole range, the ends included."""
    count = height * width
    if np.dtype(dtype).kind == "f":
        return np.linspace(-0.1, 1.6, count, dtype=dtype).reshape(height, width)
    limits = np.iinfo(dtype)
    return np.linspace(limits.min, limits.max, count).astype(dtype).reshape(height, width)


class TestPixels:
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
    def test_every_type_comes_back_bit_for_bit(self, tmp_path: Path, dtype: str) -> None:
        array = ramp(dtype)
        source = open_source(write_raster(tmp_path / "a.tif", array))
        values, valid = read_all(source)
        assert values.dtype == source.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(values[0], array)
        assert valid.all()

    def test_windows_are_cut_where_they_say(self, tmp_path: Path) -> None:
        array = np.arange(3 * 70 * 90, dtype=np.uint16).reshape(3, 70, 90)
        path = write_raster(tmp_path / "a.tif", array, descriptions=("nir", "red", "green"))
        source = open_source(path)
        window = Window(13, 57, 9, 33)
        values, valid = source.read(window, [3, 1])
        np.testing.assert_array_equal(values, array[[2, 0]][(slice(None), *window.slices)])
        assert valid.shape == (9, 33)

    @pytest.mark.parametrize(
        "window",
        [Window(0, 0, 71, 90), Window(69, 89, 2, 1), Window(-1, 0, 5, 5), Window(0, 0, 0, 5)],
    )
    def test_a_window_beyond_the_scene_is_refused(self, tmp_path: Path, window: Window) -> None:
        source = open_source(write_raster(tmp_path / "a.tif", ramp("uint16")))
        with pytest.raises(GridError, match="does not lie inside a scene of 90×70 px"):
            source.read(window, [1])

    @pytest.mark.parametrize("number", [-1, 0, 2])
    def test_a_band_that_is_not_there_is_refused(self, tmp_path: Path, number: int) -> None:
        source = open_source(write_raster(tmp_path / "a.tif", ramp("uint16")))
        with pytest.raises(BandError, match=f"no band {number}; the scene has 1 to 1"):
            source.read(Window(0, 0, 1, 1), [number])

    def test_bands_of_different_types_share_one_that_holds_both(self, tmp_path: Path) -> None:
        nir = np.full((8, 8), 65535, dtype=np.uint16)
        red = np.full((8, 8), -5, dtype=np.int16)
        stack = {
            "nir": write_raster(tmp_path / "nir.tif", nir),
            "red": write_raster(tmp_path / "red.tif", red),
        }
        values, _ = read_all(open_source(stack=stack), 1, 2)
        assert values.dtype == np.int32
        assert (values[0] == 65535).all()
        assert (values[1] == -5).all()


class TestMasks:
    @pytest.mark.parametrize(
        ("dtype", "nodata"),
        [("uint8", 0), ("uint16", 65535), ("int16", -32768), ("float32", -9999.0)],
    )
    def test_nodata_tag(self, tmp_path: Path, dtype: str, nodata: float) -> None:
        array = np.full((40, 50), 7, dtype=dtype)
        array[3:9, 4:30] = nodata
        _, valid = read_all(open_source(write_raster(tmp_path / "a.tif", array, nodata=nodata)))
        np.testing.assert_array_equal(valid, array == 7)

    @pytest.mark.parametrize("nodata", [None, float("nan")])
    def test_nan_and_infinity_are_never_valid(self, tmp_path: Path, nodata: float | None) -> None:
        array = np.full((40, 50), 0.3, dtype=np.float32)
        array[0, :3] = np.nan, np.inf, -np.inf
        _, valid = read_all(open_source(write_raster(tmp_path / "a.tif", array, nodata=nodata)))
        np.testing.assert_array_equal(valid, np.isfinite(array))

    @pytest.mark.parametrize(
        ("dtype", "nodata"),
        [
            ("uint8", 7.0),
            ("uint16", 7.0),
            ("float32", 7.0),
            ("float32", 0.1),  # not a float32: compared as one all the same
            ("float64", 0.1),
            ("float32", float(np.finfo(np.float32).min)),
        ],
    )
    def test_override(self, tmp_path: Path, dtype: str, nodata: float) -> None:
        array = np.full((40, 50), 1, dtype=dtype)
        array[5:7] = nodata
        array[20] = 9
        path = write_raster(tmp_path / "a.tif", array, nodata=9)
        _, valid = read_all(open_source(path, nodata=nodata))
        expected = np.ones((40, 50), dtype=np.bool_)
        expected[5:7] = False  # and not row 20, whatever the tag says
        np.testing.assert_array_equal(valid, expected)

    @pytest.mark.parametrize(("dtype", "nodata"), [("uint8", -1.0), ("uint16", 70000.0)])
    def test_an_override_that_the_type_can_not_hold_masks_nothing(
        self, tmp_path: Path, dtype: str, nodata: float
    ) -> None:
        path = write_raster(tmp_path / "a.tif", np.full((8, 8), 255, dtype=dtype))
        assert read_all(open_source(path, nodata=nodata))[1].all()

    def test_override_with_nan_means_nothing_but_nan(self, tmp_path: Path) -> None:
        array = np.full((40, 50), 1, dtype=np.float32)
        array[5], array[20] = np.nan, 9
        path = write_raster(tmp_path / "a.tif", array, nodata=9)
        _, valid = read_all(open_source(path, nodata=float("nan")))
        np.testing.assert_array_equal(valid, ~np.isnan(array))

    def test_internal_mask_band(self, tmp_path: Path, rng: np.random.Generator) -> None:
        mask = rng.random((40, 50)) > 0.3
        array = np.full((2, 40, 50), 500, dtype=np.uint16)
        path = write_raster(tmp_path / "a.tif", array, mask=mask, descriptions=("nir", "red"))
        for numbers in ((1,), (2,), (1, 2)):
            _, valid = read_all(open_source(path), *numbers)
            np.testing.assert_array_equal(valid, mask)

    def test_a_pixel_is_valid_where_all_bands_read_are(self, tmp_path: Path) -> None:
        array = np.full((2, 8, 8), 5, dtype=np.uint16)
        array[0, 0], array[1, :, 0] = 0, 0
        path = write_raster(tmp_path / "a.tif", array, nodata=0, descriptions=("nir", "red"))
        source = open_source(path)
        np.testing.assert_array_equal(read_all(source, 1)[1], array[0] == 5)
        np.testing.assert_array_equal(read_all(source, 1, 2)[1], (array == 5).all(axis=0))


class TestAlpha:
    def test_near_infrared_that_gdal_calls_alpha_masks_nothing(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        array = rng.integers(0, 256, (4, 80, 90), dtype=np.uint8)
        array[3, :20] = 0  # deep water: would be masked if this were alpha
        path = write_raster(tmp_path / "aerial.tif", array)
        with rasterio.open(path) as file:
            assert tuple(c.name for c in file.colorinterp) == RGBA  # the trap is set
            assert not file.read_masks(1).all()
        source = open_source(path)
        assert source.number_of("nir") == 4
        values, valid = read_all(source, 1, 2, 3, 4)
        np.testing.assert_array_equal(values, array)
        assert valid.all()
        assert any("alpha" in note for note in source.notes)
        assert find_scaling(source.clues).quantity is Quantity.COUNTS

    @pytest.mark.filterwarnings("error::rasterio.errors.NodataShadowWarning")  # of no alpha
    def test_nodata_of_such_a_file_still_counts(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        array = rng.integers(1, 255, (4, 80, 90), dtype=np.uint8)
        array[:, 10:20] = 0
        path = write_raster(tmp_path / "a.tif", array, nodata=0)
        _, valid = read_all(open_source(path))
        np.testing.assert_array_equal(valid, array[3] != 0)

    def test_a_mask_that_nobody_calls_one_is_no_near_infrared(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        array = rng.integers(1, 255, (4, 80, 90), dtype=np.uint8)
        unspecified = {"photometric": "RGB", "alpha": "UNSPECIFIED"}
        measured = write_raster(tmp_path / "nir.tif", array, **unspecified)
        with rasterio.open(measured) as file:
            assert file.colorinterp[3].name == "undefined"
        assert open_source(measured).number_of("nir") == 4
        array[3] = np.where(np.arange(80)[:, None] < 15, 0, 255)
        masked = write_raster(tmp_path / "mask.tif", array, **unspecified)
        with pytest.raises(BandError, match=r"band 4 would be .*looks like an alpha band.* --nir"):
            open_source(masked)
        assert open_source(masked, roles={"nir": "4"}).number_of("nir") == 4

    def test_mask_band_of_such_a_file_still_counts(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        array = rng.integers(1, 255, (4, 80, 90), dtype=np.uint8)
        mask = rng.random((80, 90)) > 0.5
        path = write_raster(tmp_path / "a.tif", array, mask=mask)
        _, valid = read_all(open_source(path))
        np.testing.assert_array_equal(valid, mask)

    @pytest.mark.parametrize(("dtype", "opaque"), [("uint8", 255), ("uint16", 65535)])
    def test_true_alpha_is_the_mask(
        self, tmp_path: Path, rng: np.random.Generator, dtype: str, opaque: int
    ) -> None:
        alpha = np.where(rng.random((80, 90)) > 0.4, opaque, 0)
        array = rng.integers(0, 200, (4, 80, 90)).astype(dtype)
        array[3] = alpha
        path = write_raster(
            tmp_path / "a.tif",
            array,
            photometric="RGB",
            alpha="YES",
            descriptions=("nir", "red", "green"),
        )
        source = open_source(path)
        assert source.number_of("nir") == 1
        np.testing.assert_array_equal(read_all(source)[1], alpha != 0)
        assert not source.notes

    def test_a_white_frame_makes_no_mask_of_near_infrared(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        array = np.full((4, 300, 300), 255, dtype=np.uint8)
        array[:, 60:-60, 60:-60] = rng.integers(1, 255, (4, 180, 180), dtype=np.uint8)
        source = open_source(write_raster(tmp_path / "framed.tif", array))
        assert source.number_of("nir") == 4
        assert read_all(source)[1].all()

    def test_soft_edges_make_no_measurements_of_a_mask(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        array = rng.integers(0, 200, (4, 80, 90), dtype=np.uint8)
        array[3] = np.clip((np.arange(90) - 30) * 16, 0, 255)  # 16 columns of them
        with pytest.raises(BandError, match=r"alpha.*--nir NUMBER"):
            open_source(write_raster(tmp_path / "picture.tif", array))
        # Most of the tiles that are looked at lie along the edges.
        near = np.minimum(*np.meshgrid(*[np.minimum(np.arange(900), np.arange(900)[::-1])] * 2))
        picture = rng.integers(0, 255, (4, 900, 900), dtype=np.uint8)
        picture[3] = np.clip(near * 255 / 32, 0, 255)
        with pytest.raises(BandError, match=r"alpha.*--nir NUMBER"):
            open_source(write_raster(tmp_path / "soft.tif", picture))

    def test_true_alpha_is_not_near_infrared(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        array = rng.integers(0, 200, (4, 80, 90), dtype=np.uint8)
        array[3] = np.where(np.arange(90) < 60, 255, 0)
        path = write_raster(tmp_path / "picture.tif", array)
        with pytest.raises(BandError, match=r"alpha.*--nir NUMBER"):
            open_source(path)
        source = open_source(path, roles={"nir": "1"})
        np.testing.assert_array_equal(read_all(source)[1], array[3] == 255)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("nodata", [None, 7])
def test_the_alpha_band_of_a_file_of_six_bands(
    tmp_path: Path, dtype: str, nodata: float | None
) -> None:
    """As drone cameras' mosaics have it; GDAL asks it in files of two and of four bands only."""
    names = ("blue", "green", "red", "rededge", "nir")
    full = 1 if dtype == "float32" else np.iinfo(dtype).max
    values = np.full((6, 70, 90), 50, dtype=dtype)
    values[5] = full
    values[:, :, :30] = 0
    values[4, :, 40] = 7
    kinds = [ColorInterp[name] if name in ("blue", "green", "red") else ColorInterp.undefined
             for name in names]  # fmt: skip
    path = tmp_path / "mosaic.tif"
    place = {"crs": UTM, "transform": NORTH_UP_10M, "nodata": nodata}
    with rasterio.open(
        path, "w", driver="GTiff", count=6, height=70, width=90, dtype=dtype, **place
    ) as file:
        file.colorinterp = [*kinds, ColorInterp.alpha]
        file.write(values)
        file.descriptions = (*names, "")
    source = open_source(path)
    _, valid = read_all(source, source.number_of("nir"), source.number_of("red"))
    # As with files of four bands, a value that is said to be none goes before alpha.
    assert valid[:, :30].any() == (nodata is not None)
    assert valid[:, 40].any() == (nodata is None)
    assert valid[:, 41:].all()
    # One that is given is instead of the file's, and not of its alpha band.
    said = open_source(path, nodata=9)
    _, valid = read_all(said, said.number_of("nir"))
    assert not valid[:, :30].any()
    assert valid[:, 30:].all()


@pytest.mark.parametrize("nodata", [None, 7])
def test_a_value_that_is_given_leaves_the_mask(tmp_path: Path, nodata: float | None) -> None:
    values = np.full((70, 90), 50, dtype=np.uint16)
    values[:, 40], values[:, 50] = 7, 9
    mask = np.ones((70, 90), dtype=np.bool_)
    mask[:, :30] = False
    path = write_raster(tmp_path / "a.tif", values, mask=mask, nodata=nodata)
    _, valid = read_all(open_source(path, nodata=9))
    assert not valid[:, :30].any()
    assert not valid[:, 50].any()
    assert valid[:, 40].all()
    assert valid[:, 51:].all()


class TestScalingClues:
    def test_a_small_field_in_a_large_frame_of_missing_pixels(self, tmp_path: Path) -> None:
        values = np.full((1000, 1000), np.nan, dtype=np.float32)
        values[70:230, 70:230] = np.linspace(0.05, 0.4, 160)
        path = write_raster(tmp_path / "a.tif", values, nodata=float("nan"))
        first = [values[window.slices] for window in lattice(*values.shape)]
        assert np.isnan(np.concatenate([part.ravel() for part in first])).all()
        clues = open_source(path).clues
        assert clues.low is not None
        assert 0.04 < clues.low < 0.1
        assert clues.high is not None
        assert 0.35 < clues.high < 0.41
        assert find_scaling(clues).gain == 1
        opened = xr.DataArray(values, dims=("y", "x"))
        assert model_for(opened, "satellite-nir")[1].gain == 1

    def test_tags_scales_and_range(self, tmp_path: Path) -> None:
        array = np.linspace(100, 5000, 64 * 64).reshape(64, 64).astype(np.uint16)
        plain = open_source(write_raster(tmp_path / "a.tif", array)).clues
        assert plain.dtype == "uint16"
        assert (plain.low, plain.high) == tuple(np.percentile(array, (2, 98)))
        assert plain.gdal_scale is plain.gdal_offset is plain.reflectance_scale_tag is None

        tagged = write_raster(tmp_path / "b.tif", array, tags={"REFLECTANCE_SCALE": "0.0002"})
        assert open_source(tagged).clues.reflectance_scale_tag == 0.0002
        banded = write_raster(
            tmp_path / "c.tif", array, band_tags={1: {"REFLECTANCE_SCALE": "0.0003"}}
        )
        assert open_source(banded).clues.reflectance_scale_tag == 0.0003
        scaled = open_source(
            write_raster(tmp_path / "d.tif", array, scales=[2.75e-5], offsets=[-0.2])
        ).clues
        assert (scaled.gdal_scale, scaled.gdal_offset) == (2.75e-5, -0.2)

    def test_those_of_the_near_infrared_band_decide(self, tmp_path: Path) -> None:
        array = np.full((2, 8, 8), 500, dtype=np.uint16)
        path = write_raster(
            tmp_path / "a.tif", array, descriptions=("red", "nir"), scales=[5.0, 0.001]
        )
        assert open_source(path).clues.gdal_scale == 0.001

    def test_range_is_that_of_valid_pixels(self, tmp_path: Path) -> None:
        array = np.full((64, 64), -9999, dtype=np.float32)
        array[:10] = 0.25
        clues = open_source(write_raster(tmp_path / "a.tif", array, nodata=-9999)).clues
        assert (clues.low, clues.high) == (0.25, 0.25)

    def test_a_scene_without_a_valid_pixel_has_no_range(self, tmp_path: Path) -> None:
        array = np.zeros((64, 64), dtype=np.uint16)
        clues = open_source(write_raster(tmp_path / "a.tif", array, nodata=0)).clues
        assert clues.low is clues.high is None

    def test_baseline_of_a_sentinel_2_product_is_found_from_an_image_inside_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        product = "S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T162310.SAFE"
        folder = tmp_path / product / "GRANULE" / "L2A_T32TQM_A036688" / "IMG_DATA" / "R10m"
        name = "T32TQM_20220701T101611_B08_10m.tif"
        path = write_raster(folder / name, np.full((8, 8), 3000, dtype=np.uint16))
        scaling = find_scaling(open_source(path).clues)
        assert (scaling.gain, scaling.offset) == (1e-4, -0.1)
        # The same file, named from where it lies, is the same scene.
        monkeypatch.chdir(folder)
        assert open_source(name).clues == open_source(path).clues


class TestGeoreference:
    def test_utm(self, tmp_path: Path) -> None:
        source = open_source(write_raster(tmp_path / "a.tif", ramp("uint16")))
        grid = source.grid
        assert grid.shape == (70, 90)
        assert grid.affine == NORTH_UP_10M
        assert rasterio.CRS.from_wkt(grid.crs) == rasterio.CRS.from_string(UTM)
        assert grid.georeferenced
        assert grid.ground_sampling_distance() == pytest.approx(10)

    def test_rotated(self, tmp_path: Path) -> None:
        rotated = NORTH_UP_10M @ rasterio.Affine.rotation(30) @ rasterio.Affine.scale(0.6, 0.6)
        grid = open_source(write_raster(tmp_path / "a.tif", ramp("uint8"), transform=rotated)).grid
        assert grid.affine.almost_equals(rotated)
        assert grid.ground_sampling_distance() == pytest.approx(6)

    @pytest.mark.parametrize("latitude", [0.0, 45.0, -60.0])
    def test_degrees(self, tmp_path: Path, latitude: float) -> None:
        step = 1e-4
        transform = rasterio.Affine(step, 0, 9.0, 0, -step, latitude + 35 * step)
        path = write_raster(tmp_path / "a.tif", ramp("uint8"), crs="EPSG:4326", transform=transform)
        # Measured independently, in a metric projection around the scene's middle.
        local = f"+proj=laea +lat_0={latitude} +lon_0=9.0045"
        xs, ys = transform_points(
            "EPSG:4326",
            local,
            [9.0045, 9.0045 + step, 9.0045],
            [latitude, latitude, latitude + step],
        )
        expected = np.sqrt(abs(xs[1] - xs[0]) * abs(ys[2] - ys[0]))
        assert open_source(path).grid.ground_sampling_distance() == pytest.approx(
            expected, rel=5e-3
        )

    def test_feet(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "a.tif", ramp("uint8"), crs="EPSG:2225")
        assert open_source(path).grid.ground_sampling_distance() == pytest.approx(
            3.048006, rel=1e-6
        )

    def test_a_local_system_has_no_ground_sampling_distance(self, tmp_path: Path) -> None:
        crs = 'LOCAL_CS["drone",UNIT["metre",1]]'
        grid = open_source(write_raster(tmp_path / "a.tif", ramp("uint8"), crs=crs)).grid
        assert grid.crs is not None
        assert grid.ground_sampling_distance() is None

    def test_nothing(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "a.tif", ramp("uint8"), crs=None, transform=None)
        grid = open_source(path).grid
        assert grid == Grid(70, 90, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
        assert not grid.georeferenced
        assert grid.ground_sampling_distance() is None

    def test_a_transform_without_crs(self, tmp_path: Path) -> None:
        grid = open_source(write_raster(tmp_path / "a.tif", ramp("uint8"), crs=None)).grid
        assert grid.crs is None
        assert grid.affine == NORTH_UP_10M

    def test_ground_control_points(self, tmp_path: Path) -> None:
        points = [
            (0.0, 0.0, 9.0, 45.0, 0.0),
            (0.0, 90.0, 9.1, 45.0, 3.0),
            (70.0, 0.0, 9.0, 44.9, 0.0),
            (70.0, 90.0, 9.1, 44.9, 12.5),
        ]
        grid = open_source(write_raster(tmp_path / "a.tif", ramp("uint8"), gcps=points)).grid
        assert grid.gcps == tuple(points)
        assert rasterio.CRS.from_wkt(grid.gcp_crs).to_epsg() == 4326
        assert grid.crs is None
        assert grid.affine.is_identity
        assert grid.georeferenced

    def test_rational_polynomials(self, tmp_path: Path) -> None:
        rpcs = RPC(
            height_off=100.0,
            height_scale=500.0,
            lat_off=45.0,
            lat_scale=0.1,
            long_off=9.0,
            long_scale=0.1,
            line_off=35.0,
            line_scale=35.0,
            samp_off=45.0,
            samp_scale=45.0,
            line_num_coeff=[0.0, 0.0, -1.0, *[0.0] * 17],
            line_den_coeff=[1.0, *[0.0] * 19],
            samp_num_coeff=[0.0, 1.0, *[0.0] * 18],
            samp_den_coeff=[1.0, *[0.0] * 19],
            err_bias=0.5,
            err_rand=0.25,
        )
        path = write_raster(tmp_path / "a.tif", ramp("uint8"), crs=None, transform=None, rpcs=rpcs)
        grid = open_source(path).grid
        assert grid.georeferenced
        back = RPC.from_gdal(dict(grid.rpcs))
        assert back.to_dict() == rpcs.to_dict()

    @pytest.mark.parametrize("kind", ["Area", "Point"])
    def test_area_or_point(self, tmp_path: Path, kind: str) -> None:
        path = write_raster(tmp_path / "a.tif", ramp("uint8"), tags={"AREA_OR_POINT": kind})
        grid = open_source(path).grid
        assert grid.area_or_point == kind
        assert grid.affine == NORTH_UP_10M


class TestStacks:
    def test_files_on_one_grid(self, tmp_path: Path) -> None:
        red, nir = ramp("uint16"), ramp("uint16")[::-1].copy()
        source = open_source(
            stack={
                "red": write_raster(tmp_path / "x.tif", red),
                "nir": write_raster(tmp_path / "y.tif", nir),
            }
        )
        assert dict(source.roles) == {"red": 1, "nir": 2}
        assert source.names == ("red", "nir")
        np.testing.assert_array_equal(read_all(source)[0][0], nir)
        np.testing.assert_array_equal(read_all(source, 1)[0][0], red)
        assert not source.notes

    def test_a_band_beside_a_whole_scene(self, tmp_path: Path) -> None:
        rgb = np.stack([ramp("uint8")] * 3)
        source = open_source(
            write_raster(tmp_path / "rgb.tif", rgb, descriptions=("red", "green", "blue")),
            stack={"nir": write_raster(tmp_path / "n.tif", ramp("uint8")[::-1].copy())},
        )
        assert dict(source.roles) == {"red": 1, "green": 2, "blue": 3, "nir": 4}

    def test_a_coarser_band_is_brought_onto_the_grid_of_near_infrared(self, tmp_path: Path) -> None:
        # A plane is what bilinear interpolation keeps exactly, away from the raster's edge.
        rows, cols = np.mgrid[:35, :45]
        coarse = (1000 + 40 * rows + 20 * cols).astype(np.uint16)
        source = open_source(
            stack={
                "nir": write_raster(tmp_path / "n.tif", ramp("uint16")),
                "red": write_raster(tmp_path / "r.tif", coarse, transform=COARSE_20M),
            }
        )
        assert source.grid.shape == (70, 90)
        values, valid = read_all(source, 2)
        fine_rows, fine_cols = np.mgrid[:70, :90]
        expected = 1000 + 40 * (fine_rows / 2 - 0.25) + 20 * (fine_cols / 2 - 0.25)
        inner = (slice(1, -1), slice(1, -1))
        np.testing.assert_allclose(values[0][inner], expected[inner], atol=0.5001)
        assert valid.all()
        assert any("r.tif (45×35 px) is resampled" in note for note in source.notes)

    @pytest.mark.parametrize("kind", ["nodata", "mask", "alpha"])
    @pytest.mark.parametrize("shift", [0.0, 0.5])
    def test_what_one_band_of_a_file_misses_is_missing_on_any_grid(
        self, tmp_path: Path, kind: str, shift: float
    ) -> None:
        """As at the border of a satellite's track, where each band ends at another column."""
        values = np.full((2, 70, 90), 1000, dtype=np.int16)
        values[0, :, :30] = -9999 if kind == "nodata" else 0
        options: dict[str, Any] = {"nodata": -9999} if kind == "nodata" else {}
        names: tuple[str, ...] = ("red", "green")
        if kind == "alpha":
            alpha = np.where(values[:1] > 0, 65535, 0)
            values, names = np.concatenate((values, alpha)).astype(np.uint16), (*names, "a")
        place = NORTH_UP_10M @ rasterio.Affine.translation(shift, 0)
        path = write_raster(
            tmp_path / "rg.tif", values, descriptions=names, transform=place, **options
        )
        with rasterio.open(path, "r+") as file:
            if kind == "mask":
                file.write_mask(values[0] > 0)
            if kind == "alpha":
                file.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
        source = open_source(
            path,
            stack={"nir": write_raster(tmp_path / "n.tif", np.full((70, 90), 50, np.int16))},
            roles={"red": "1", "green": "2"},
        )
        numbers = [source.number_of(role) for role in ("red", "green")]
        found, valid = read_all(source, *numbers)
        assert (found[:, valid] == 1000).all()
        assert valid[:, 31:].all()
        assert not valid[:, :30].any()

    @pytest.mark.parametrize("kind", ["mask", "warped", "warped with alpha", "interleaved"])
    def test_bands_of_a_vrt_are_resampled_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """Of one that names its file relative to itself, as GDAL's own tools do."""
        values = np.stack([np.full((70, 90), v, dtype=np.uint16) for v in (5000, 6000, 7000)])
        path = write_raster(tmp_path / "a.tif", values)
        if kind == "mask":
            with rasterio.open(path, "r+") as file:
                file.write_mask(np.arange(90) >= np.full((70, 1), 30))
        vrt = tmp_path / "a.vrt"
        rasterio.shutil.copy(str(path), str(vrt), driver="VRT")
        if kind.startswith("warped"):
            with (
                rasterio.open(path) as file,
                WarpedVRT(file, add_alpha=kind.endswith("alpha")) as warped,
            ):
                rasterio.shutil.copy(warped, str(vrt), driver="VRT")
            assert 'subClass="VRTWarpedDataset"' in vrt.read_text()
        if kind == "interleaved":
            text = vrt.read_text()
            domain = (
                '<Metadata domain="IMAGE_STRUCTURE"><MDI key="INTERLEAVE">TILE</MDI></Metadata>'
            )
            text = re.sub('<Metadata domain="IMAGE_STRUCTURE">.*?</Metadata>', "", text, flags=re.S)
            vrt.write_text(text.replace("</VRTDataset>", f"{domain}</VRTDataset>"))
        place = NORTH_UP_10M @ rasterio.Affine.translation(0.5, 0)
        nir = write_raster(tmp_path / "n.tif", np.full((70, 90), 50, np.uint16), transform=place)
        monkeypatch.chdir(tmp_path)
        source = open_source(vrt.name, stack={"nir": nir}, roles={"red": "2"}).absolute()
        monkeypatch.chdir("/")
        found, valid = read_all(source, source.number_of("red"))
        assert (found[0][valid] == 6000).all()
        assert valid[:, 31:88].all()
        assert valid[:, :29].any() == (kind != "mask")

    @pytest.mark.parametrize("band", [1, 4])
    def test_an_alpha_band_that_is_none_hides_not_where_the_file_ends(
        self, tmp_path: Path, band: int
    ) -> None:
        """GDAL takes the last of four bands of 8 bits for alpha, and often it is near infrared."""
        random = np.random.default_rng(1)
        values = random.integers(30, 200, (4, 70, 45)).astype(np.uint8)
        place = NORTH_UP_10M @ rasterio.Affine.translation(45.5, 0)
        path = write_raster(
            tmp_path / "rgbn.tif", values, transform=place, photometric="RGB", alpha="yes"
        )
        with rasterio.open(path) as file:
            assert file.colorinterp[3].name == "alpha"
        nir = write_raster(tmp_path / "n.tif", np.full((70, 90), 50, np.uint8))
        source = open_source(path, stack={"nir": nir}, roles={"red": str(band)})
        found, valid = read_all(source, source.number_of("red"))
        assert not valid[:, :45].any()
        assert valid[:, 47:].all()
        inner = values[band - 1].astype(float)
        np.testing.assert_allclose(
            found[0][:, 47:89], (inner[:, 1:43] + inner[:, 2:44]) / 2, atol=0.51
        )

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    def test_where_a_coarser_band_has_no_pixel_nothing_is_valid(
        self, tmp_path: Path, dtype: str
    ) -> None:
        coarse = np.full((35, 20), 100, dtype=dtype)  # 20 of 45 columns are there
        source = open_source(
            stack={
                "nir": write_raster(tmp_path / "n.tif", np.full((70, 90), 50, dtype=dtype)),
                "red": write_raster(tmp_path / "r.tif", coarse, transform=COARSE_20M),
            }
        )
        values, valid = read_all(source, 1, 2)
        assert valid[:, :40].all()
        assert not valid[:, 42:].any()
        assert (values[1][valid] == 100).all()
        assert read_all(source, 1)[1].all()

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    @pytest.mark.parametrize("marked", ["tag", "override", "mask"])
    def test_missing_pixels_of_a_coarser_band_are_not_mixed_into_their_neighbours(
        self, tmp_path: Path, dtype: str, marked: str
    ) -> None:
        coarse = np.full((35, 45), 100, dtype=dtype)
        coarse[10:15, 20:25] = 7
        source = open_source(
            stack={
                "nir": write_raster(tmp_path / "n.tif", np.full((70, 90), 50, dtype=dtype)),
                "red": write_raster(
                    tmp_path / "r.tif",
                    coarse,
                    transform=COARSE_20M,
                    nodata=7 if marked == "tag" else None,
                    mask=coarse != 7 if marked == "mask" else None,
                ),
            },
            nodata=7.0 if marked == "override" else None,
        )
        values, valid = read_all(source, 1, 2)
        assert not valid[21:29, 41:49].any()
        assert valid[:19].all()
        assert valid[31:].all()
        assert (values[1][valid] == 100).all()

    def test_nan_override_brings_back_what_the_tag_hides_in_a_coarser_band(
        self, tmp_path: Path
    ) -> None:
        coarse = np.full((35, 45), 100, dtype=np.float32)
        coarse[10:15, 20:25] = 7
        stack = {
            "nir": write_raster(tmp_path / "n.tif", np.full((70, 90), 50, dtype=np.float32)),
            "red": write_raster(tmp_path / "r.tif", coarse, transform=COARSE_20M, nodata=7),
        }
        values, valid = read_all(open_source(stack=stack, nodata=float("nan")), 1, 2)
        assert valid.all()
        assert (values[1][21:29, 41:49] == 7).all()

    @pytest.mark.parametrize("other", ["EPSG:32632", "EPSG:32633", "EPSG:4326"])
    def test_resampled_pixels_do_not_depend_on_the_window(
        self, tmp_path: Path, rng: np.random.Generator, other: str
    ) -> None:
        """Tiled and whole runs read other windows: resampling must give both the same pixels."""
        size = 1000  # GDAL resamples images smaller than its blocks in one piece
        nir = write_raster(tmp_path / "n.tif", np.ones((size, size), dtype=np.uint16))
        corner = transform_points(UTM, other, [500_000.0], [5_000_000.0])
        step = 2e-4 if other == "EPSG:4326" else 20.0
        place = rasterio.Affine(
            step, 0, corner[0][0] - 30 * step, 0, -step, corner[1][0] + 30 * step
        )
        red = rng.integers(0, 10000, (600, 600)).astype(np.uint16)
        path = write_raster(tmp_path / "r.tif", red, crs=other, transform=place)
        source = open_source(stack={"nir": nir, "red": path})
        whole, whole_valid = read_all(source, 2)
        assert whole_valid.mean() > 0.5
        for _ in range(20):
            row, col = (int(v) for v in rng.integers(0, size - 1, 2))
            height = int(rng.integers(1, size - row + 1))
            width = int(rng.integers(1, size - col + 1))
            window = Window(row, col, height, width)
            handles.close_all()  # nothing may come from what was read before
            values, valid = source.read(window, [2])
            np.testing.assert_array_equal(values[0], whole[0][window.slices])
            np.testing.assert_array_equal(valid, whole_valid[window.slices])

    def test_without_crs_grids_that_differ_are_refused_with_both_sizes(
        self, tmp_path: Path
    ) -> None:
        plain: dict[str, Any] = {"crs": None, "transform": None}
        stack = {
            "nir": write_raster(tmp_path / "n.tif", ramp("uint8"), **plain),
            "red": write_raster(tmp_path / "r.tif", ramp("uint8", 35, 45), **plain),
        }
        with pytest.raises(GridError, match=r"r\.tif has 45×35 px.*n\.tif has 90×70 px"):
            open_source(stack=stack)

    def test_one_size_in_two_places_is_refused_without_crs(self, tmp_path: Path) -> None:
        moved = NORTH_UP_10M @ rasterio.Affine.translation(5, 0)
        stack = {
            "nir": write_raster(tmp_path / "n.tif", ramp("uint8"), crs=None),
            "red": write_raster(tmp_path / "r.tif", ramp("uint8"), crs=None, transform=moved),
        }
        with pytest.raises(GridError, match="not in the same place"):
            open_source(stack=stack)

    def test_a_crs_that_can_not_be_transformed_is_refused_in_one_line(self, tmp_path: Path) -> None:
        local = 'LOCAL_CS["drone",UNIT["metre",1]]'
        stack = {
            "nir": write_raster(tmp_path / "n.tif", ramp("uint8")),
            "red": write_raster(tmp_path / "r.tif", ramp("uint8", 35, 45), crs=local),
        }
        with pytest.raises(GridError, match=r"r\.tif: its CRS can't be transformed") as caught:
            read_all(open_source(stack=stack), 2)
        assert "\n" not in str(caught.value)

    def test_grids_equal_to_a_thousandth_of_a_pixel_are_one(self, tmp_path: Path) -> None:
        nudged = NORTH_UP_10M @ rasterio.Affine.translation(5e-4, 0)
        stack = {
            "nir": write_raster(tmp_path / "n.tif", ramp("uint8")),
            "red": write_raster(tmp_path / "r.tif", ramp("uint8"), transform=nudged),
        }
        assert not open_source(stack=stack).notes

    def test_a_stacked_file_of_several_bands_is_refused(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "n.tif", np.zeros((2, 8, 8), dtype=np.uint8))
        with pytest.raises(BandError, match=r"--stack nir=.*n\.tif: has 2 bands"):
            open_source(stack={"nir": path})

    def test_nothing_at_all(self) -> None:
        with pytest.raises(SourceError, match="no scene given"):
            open_source()


class TestRefusals:
    def test_truncated(self, tmp_path: Path, rng: np.random.Generator) -> None:
        array = rng.integers(0, 9999, (256, 256), dtype=np.uint16)
        path = write_raster(tmp_path / "cut.tif", array, tiled=True, blockxsize=64, blockysize=64)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(SourceError, match=r"cut\.tif.*truncated or damaged"):
            read_all(open_source(path))

    def test_damaged_in_the_middle(self, tmp_path: Path, rng: np.random.Generator) -> None:
        array = rng.integers(0, 9999, (512, 512), dtype=np.uint16)
        path = write_raster(
            tmp_path / "bad.tif", array, tiled=True, blockxsize=64, blockysize=64, compress="zstd"
        )
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 20_000] = bytes(20_000)
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"bad\.tif: band 1 can't be read at row"):
            read_all(open_source(path))

    @pytest.mark.parametrize("content", [b"", b"GIF89a?", b"a,b\n1,2\n"])
    def test_not_a_raster(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"notes\.txt: not a raster"):
            open_source(path)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="no such file"):
            open_source(tmp_path / "none.tif")

    def test_a_file_that_vanishes_after_opening(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "a.tif", ramp("uint8"))
        source = open_source(path)
        path.unlink()
        with pytest.raises(SourceError, match=r"a\.tif: no such file"):
            read_all(source)

    def test_pairs_of_integers(self, tmp_path: Path) -> None:
        """As radar's are stored; numpy has no such type."""
        path = tmp_path / "slc.tif"
        profile = {"count": 1, "height": 8, "width": 8, "dtype": "complex_int16"}
        with rasterio.open(path, "w", driver="GTiff", **profile) as file:
            file.write(np.ones((1, 8, 8), dtype=np.complex64))
        with pytest.raises(BandError, match=r"slc\.tif: band 1 is complex \(complex64\)"):
            open_source(path)

    def test_complex_values(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "sar.tif", np.ones((8, 8), dtype=np.complex64))
        with pytest.raises(BandError, match=r"sar\.tif: band 1 is complex \(complex64\)"):
            open_source(path)

    def test_a_complex_band_beside_the_others_does_no_harm(self, tmp_path: Path) -> None:
        vrt = tmp_path / "mixed.vrt"
        write_raster(tmp_path / "n.tif", ramp("float32"))
        write_raster(tmp_path / "c.tif", np.ones((70, 90), dtype=np.complex64))
        bands = "".join(
            f'<VRTRasterBand dataType="{kind}" band="{k}"><Description>{text}</Description>'
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
            for k, (kind, text, name) in enumerate(
                [("Float32", "nir", "n.tif"), ("CFloat32", "interferogram", "c.tif")], 1
            )
        )
        vrt.write_text(f'<VRTDataset rasterXSize="90" rasterYSize="70">{bands}</VRTDataset>')
        source = open_source(vrt)
        values, _ = read_all(source)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values[0], ramp("float32"))
        with pytest.raises(BandError, match="complex"):
            read_all(source, 2)

    @pytest.mark.parametrize(
        ("roles", "message"),
        [
            ({"nir": "3"}, "--nir 3: the scene has bands 1 to 2"),
            ({"nir": "0"}, "--nir 0: the scene has bands 1 to 2"),
            ({"nir": "infrared"}, "--nir 'infrared': no band has this name"),
            ({"red": "9"}, "--red 9: the scene has bands 1 to 2"),
        ],
    )
    def test_wrong_bands(self, tmp_path: Path, roles: dict[str, str], message: str) -> None:
        array = np.zeros((2, 8, 8), dtype=np.uint16)
        path = write_raster(tmp_path / "a.tif", array, descriptions=("nir", "pan"))
        with pytest.raises(BandError, match=message):
            open_source(path, roles=roles)

    def test_a_role_without_a_band(self, tmp_path: Path) -> None:
        source = open_source(write_raster(tmp_path / "a.tif", ramp("uint16")))
        with pytest.raises(BandError, match="--red NUMBER or NAME"):
            source.number_of("red")

    def test_every_refusal_is_one_of_ours(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "x\0y", Path("/vsizip/none.zip/a.tif")):
            with pytest.raises(NirgeoError):
                open_source(path)


class TestReuse:
    def test_a_replaced_file_is_refused_until_it_is_opened_anew(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "a.tif", np.full((8, 8), 1, dtype=np.uint8))
        source = open_source(path)
        assert (read_all(source)[0] == 1).all()
        os.replace(write_raster(tmp_path / "b.tif", np.full((8, 8), 2, dtype=np.uint8)), path)
        with pytest.raises(SourceError, match="has changed since it was opened"):
            read_all(source)
        assert (read_all(open_source(path))[0] == 2).all()
        assert open_source(path).stamps != source.stamps

    def test_several_threads_read_the_same(self, tmp_path: Path, rng: np.random.Generator) -> None:
        array = rng.integers(0, 9999, (2, 256, 256)).astype(np.uint16)
        nir = write_raster(tmp_path / "n.tif", array[0], tiled=True, blockxsize=64, blockysize=64)
        red = write_raster(
            tmp_path / "r.tif", array[1, :128, :128], transform=COARSE_20M, nodata=17
        )
        source = open_source(stack={"nir": nir, "red": red})
        expected, expected_valid = read_all(source, 1, 2)
        windows = [Window(r, c, 50, 70) for r in range(0, 206, 23) for c in range(0, 186, 31)]
        barrier = threading.Barrier(4)

        def work(k: int) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
            barrier.wait()
            return [source.read(window, [1, 2]) for window in windows[:: 1 if k % 2 else -1]]

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(work, range(4)))
        for k, parts in enumerate(results):
            for window, (values, valid) in zip(windows[:: 1 if k % 2 else -1], parts, strict=True):
                np.testing.assert_array_equal(values, expected[(slice(None), *window.slices)])
                np.testing.assert_array_equal(valid, expected_valid[window.slices])

    @pytest.mark.parametrize("module", [pickle, cloudpickle])
    def test_sent_to_another_process(self, tmp_path: Path, module: Any) -> None:
        source = open_source(
            stack={
                "nir": write_raster(tmp_path / "n.tif", ramp("uint16"), nodata=0),
                "red": write_raster(
                    tmp_path / "r.tif", ramp("uint16", 35, 45), transform=COARSE_20M
                ),
            }
        )
        read_all(source, 1, 2)  # open files must not travel along
        sent = module.dumps(source)
        assert len(sent) < 20_000
        back = pickle.loads(sent)
        assert back == source
        assert hash(back) == hash(source)
        for one, two in zip(read_all(back, 1, 2), read_all(source, 1, 2), strict=True):
            np.testing.assert_array_equal(one, two)

    def test_notes_do_not_make_two_scenes_differ(self, tmp_path: Path) -> None:
        source = open_source(write_raster(tmp_path / "a.tif", ramp("uint16")))
        assert replace(source, notes=("said once",)) == source

    def test_names_are_unique(self, tmp_path: Path) -> None:
        array = np.zeros((4, 8, 8), dtype=np.uint16)
        path = write_raster(tmp_path / "a.tif", array, descriptions=("nir", "x", "x", None))
        assert open_source(path).names == ("nir", "x", "x_3", "band_4")

    def test_blocks_of_the_near_infrared_band(self, tmp_path: Path) -> None:
        path = write_raster(
            tmp_path / "a.tif",
            np.zeros((300, 300), dtype=np.uint8),
            tiled=True,
            blockxsize=128,
            blockysize=64,
        )
        assert open_source(path).block_shape == (64, 128)


@pytest.mark.parametrize("on", [1, 255, 65535])
def test_a_mask_of_a_single_value_is_a_mask(tmp_path: Path, on: int) -> None:
    values = np.full((2, 70, 90), 900, dtype=np.uint16)
    values[1] = on
    values[1, :, :30] = 0
    path = write_raster(tmp_path / "a.tif", values, colorinterp=("gray", "alpha"))
    source = open_source(path, roles={"nir": "1"})
    _, valid = read_all(source)
    assert not valid[:, :30].any()
    assert valid[:, 30:].all()
    assert source.notes == ()


def test_bands_of_a_file_may_have_types_of_their_own(tmp_path: Path) -> None:
    files = [
        write_raster(tmp_path / "n.tif", np.full((8, 8), 60000, dtype=np.uint16)),
        write_raster(tmp_path / "r.tif", np.full((8, 8), -5, dtype=np.int16)),
    ]
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{number}"><Description>{name}</Description>'
        f'<SimpleSource><SourceFilename relativeToVRT="1">{file.name}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for number, (kind, name, file) in enumerate(
            zip(("UInt16", "Int16"), ("nir", "red"), files, strict=True), start=1
        )
    )
    path = tmp_path / "both.vrt"
    path.write_text(f'<VRTDataset rasterXSize="8" rasterYSize="8">{bands}</VRTDataset>')
    values, _ = open_source(path).read(Window(0, 0, 8, 8), [1, 2])
    assert (values[0] == 60000).all()
    assert (values[1] == -5).all()


def test_a_file_of_certain_formats_is_never_opened_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster(tmp_path / "asset.tif", ramp("uint16"))
    asked = []
    original = rasterio.open

    def opened(name: str, *args: Any, **options: Any) -> Any:
        asked.append(options.get("driver"))
        return original(name, *args, **options)

    monkeypatch.setattr(rasterio, "open", opened)
    source = open_source(StackedBand(str(path), 1, drivers=("GTiff", "JP2OpenJPEG")))
    read_all(source, 1)
    assert set(asked) == {"GTiff"}


class TestFrames:
    """What lies around a scene and says nowhere that it is nothing."""

    def framed(self, tmp_path: Path, value: int, dtype: str = "uint16", **options: Any) -> Path:
        rng = np.random.default_rng(0)
        values = rng.integers(10, 250, (2, 400, 400)).astype(dtype)
        rows, cols = np.indices((400, 400))
        values[:, cols < 100 + rows // 4] = value  # a swath's edge
        return write_raster(tmp_path / "s.tif", values, descriptions=("nir", "red"), **options)

    @pytest.mark.parametrize(
        ("value", "dtype"), [(0, "uint16"), (65535, "uint16"), (255, "uint8"), (0, "float32")]
    )
    def test_their_value_is_told(self, tmp_path: Path, value: int, dtype: str) -> None:
        said, frame = suspected_nodata(
            open_source(self.framed(tmp_path, value, dtype)).samples(["nir", "red"]), ["nir", "red"]
        )
        assert frame == value
        (remark,) = said
        assert f"all is {value}, which often marks missing pixels" in remark
        assert remark.endswith(f"give --nodata {value}")

    def test_declared_ones_are_none(self, tmp_path: Path) -> None:
        source = open_source(self.framed(tmp_path, 0, nodata=0))
        assert suspected_nodata(source.samples(["nir", "red"]), ["nir", "red"]) == ([], None)

    def test_dark_water_and_white_roofs_are_none(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        values = rng.integers(10, 250, (2, 400, 400)).astype(np.uint8)
        values[0, 100:300, 100:300] = 0  # another band knows better
        values[:, 310:350, 310:350] = 255
        path = write_raster(tmp_path / "s.tif", values, descriptions=("nir", "red"))
        assert suspected_nodata(open_source(path).samples(["nir", "red"]), ["nir", "red"]) == (
            [],
            None,
        )

    def test_nothing_but_0_is_no_frame(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "s.tif", np.zeros((1, 100, 100), np.uint16))
        assert suspected_nodata(open_source(path).samples(["nir"]), ["nir"]) == ([], None)

    def test_it_is_not_strange_ground_too(self, tmp_path: Path) -> None:
        for value in (0, 65535):
            path = self.framed(tmp_path, value)
            scene = nirgeo.open_scene(path, scale="0.001")
            missing, strange = unlike_training(scene, "satellite-nir")
            assert [remark for remark in strange if "outside" in remark] == []
            assert len(missing) == 1

    def test_it_is_no_sample_of_the_numbers(self, tmp_path: Path) -> None:
        for value in (0, 65535):
            clues = open_source(self.framed(tmp_path, value)).clues
            assert clues.low is not None
            assert clues.high is not None
            assert 10 <= clues.low < clues.high < 250


class TestCameras:
    @pytest.mark.parametrize(
        "packet",
        [
            '<rdf:Description Camera:BandName="{}" Camera:CentralWavelength="842"/>',
            "<Camera:BandName>{}</Camera:BandName>",
            "<Camera:BandName><rdf:Seq><rdf:li>{}</rdf:li></rdf:Seq></Camera:BandName>",
        ],
    )
    @pytest.mark.parametrize("band", ["NIR", "Blue"])
    def test_a_drone_s_camera_says_which_band_it_is(
        self, tmp_path: Path, packet: str, band: str
    ) -> None:
        path = write_raster(tmp_path / "IMG_0001_1.tif", ramp("uint16"))
        with rasterio.open(path, "r+") as file:
            xmp = f"<x:xmpmeta><rdf:RDF>{packet.format(band)}</rdf:RDF></x:xmpmeta>"
            file.update_tags(ns="xml:XMP", **{"xml:XMP": xmp})
        if band == "NIR":
            assert open_source(path).bands[0].label.description == "NIR"
            return
        with pytest.warns(BandWarning, match="label says blue"):
            open_source(path)

    def test_spot_s_files_name_their_bands_in_tags(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "imagery.tif", np.ones((4, 70, 66), np.uint8))
        with rasterio.open(path, "r+") as file:
            for number, name in enumerate(("XS3", "XS2", "XS1", "SWIR"), start=1):
                file.update_tags(number, BAND_DESCRIPTION=name)
        assert dict(open_source(path).roles) == {"nir": 1, "red": 2, "green": 3}

    @pytest.mark.parametrize("tag", ["PRODUCT_URI", "PRODUCT_ID"])
    def test_a_product_that_a_tag_names_tells_bands_scaling_and_date(
        self, tmp_path: Path, tag: str
    ) -> None:
        values = np.random.default_rng(0).integers(1300, 6000, (12, 70, 66), dtype=np.uint16)
        path = write_raster(tmp_path / "renamed.tif", values)
        with rasterio.open(path, "r+") as file:
            file.update_tags(
                **{tag: "S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T161611"}
            )
        source = open_source(path)
        assert dict(source.roles) == {"red": 4, "green": 3, "blue": 2, "nir": 8}
        assert find_scaling(source.clues).offset == -0.1
        assert source.acquisition is not None
        assert source.acquisition.start.date().isoformat() == "2022-07-01"

    def test_a_landsat_scene_with_its_metadata_beside_it(self, tmp_path: Path) -> None:
        name = "LC08_L1TP_196030_20210704_20210713_02_T1"
        values = np.random.default_rng(0).integers(7000, 20000, (70, 66), dtype=np.uint16)
        path = write_raster(tmp_path / f"{name}_B5.TIF", values)
        (tmp_path / f"{name}_MTL.txt").write_text(
            "GROUP = LANDSAT_METADATA_FILE\n  GROUP = IMAGE_ATTRIBUTES\n"
            '    SPACECRAFT_ID = "LANDSAT_8"\n    SUN_ELEVATION = 30.00000000\n'
            "  END_GROUP = IMAGE_ATTRIBUTES\nEND_GROUP = LANDSAT_METADATA_FILE\nEND\n"
        )
        scaling = find_scaling(open_source(path).clues)
        assert scaling.gain == pytest.approx(4e-5)
        assert scaling.offset == pytest.approx(-0.2)
        assert "30.0° high" in scaling.describe()


def test_a_frame_of_a_negative_number(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(10, 5000, (400, 400)).astype(np.int16)
    values[:, :90] = -7777
    said, frame = suspected_nodata(
        open_source(write_raster(tmp_path / "s.tif", values)).samples(["nir"]), ["nir"]
    )
    assert frame == -7777
    assert said[0].endswith("give --nodata -7777")


class TestPixelSides:
    """Metres on the ground, of degrees in the middle of the raster."""

    @staticmethod
    def grid(crs: str | None, *transform: float) -> Grid:
        return Grid(100, 200, transform, None if crs is None else CRS.from_user_input(crs).to_wkt())  # type: ignore[arg-type]

    def test_of_metres(self) -> None:
        grid = self.grid("EPSG:32632", 10, 0, 5e5, 0, -20, 5e6)
        assert grid.pixel_sides() == pytest.approx((10, 20))
        assert grid.ground_sampling_distance() == pytest.approx(math.sqrt(200))
        assert self.grid("EPSG:32632", 8, 6, 5e5, 6, -8, 5e6).pixel_sides() == pytest.approx(
            (10, 10)
        )

    def test_of_degrees(self) -> None:
        step = 10 / 111_320
        across, down = self.grid("EPSG:4326", step, 0, 13, 0, -step, 60).pixel_sides() or (0, 0)
        assert across == pytest.approx(5, rel=1e-3)
        assert down == pytest.approx(10)
        turned = self.grid("EPSG:4326", 0, step, 13, step, 0, 60).pixel_sides()
        assert turned == pytest.approx((10, 5), rel=1e-3)

    def test_of_nowhere(self) -> None:
        grid = self.grid(None, 10, 0, 5e5, 0, -20, 5e6)
        assert grid.pixel_sides() is None
        assert grid.ground_sampling_distance() is None

    @pytest.mark.parametrize(
        ("sides", "told"),
        [((10, 10), "10 m"), ((10, 10.5), "10.2 m"), ((5.893, 10.01), "5.89 × 10 m")],
    )
    def test_told(self, sides: tuple[float, float], told: str) -> None:
        assert told_sides(sides) == told

    @pytest.mark.parametrize(
        ("sides", "fits"),
        [
            ((10, 10), True),
            ((5.9, 10), True),  # Sentinel-2 in degrees
            ((7, 7.9), False),
            ((101, 120), False),
            ((90, 120), True),
            (None, True),
        ],
    )
    def test_what_a_model_was_made_for(self, sides: tuple[float, float] | None, fits: bool) -> None:
        assert is_made_for(load_model("satellite-nir").spec, sides) == fits


def test_only_options_that_there_are_are_advised(tmp_path: Path) -> None:
    source = open_source(write_raster(tmp_path / "s.tif", np.ones((9, 9), np.uint16)))
    with pytest.raises(BandError, match=r"needs a red band .* name it with --red"):
        source.number_of("red")
    with pytest.raises(BandError, match="needs a blue band") as told:
        source.number_of("blue")
    assert "--blue" not in str(told.value)
