"""The fourth band: expected errors from network to file, and what --max-error does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from helpers import write_raster
from numpy.typing import NDArray
from pictures import (
    TO_REFLECTANCE,
    command,
    painting_model,
    punch_holes,
    read,
    scene_values,
    whole_picture,
)
from rasterio.enums import ColorInterp, MaskFlags

import nirgeo
import nirgeo.accessor
from nirgeo import expected_error
from nirgeo.errors import EmptySceneError, ModelError, OptionError
from nirgeo.metrics import angular_error
from nirgeo.modelfile import Model, ModelSpec
from nirgeo.networks import network
from nirgeo.radiometry import Quantity, to_working
from nirgeo.scene_attributes import VALID

SIZE = (301, 205)


@pytest.fixture(scope="session")
def doubtful(weights: Path) -> Model:
    """A network with everything that the shipped models' shape may have."""
    return painting_model(
        weights,
        name="doubtful",
        seed=21,
        width=64,
        depth=8,
        shape={
            "expects_error": True,
            "weighs_hint": True,
            "smoothing": 7,
            "dilations": (1, 1, 2, 2, 2, 1, 1, 1),
        },
    )


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, NDArray[np.uint16], NDArray[np.bool_]]:
    values, valid = scene_values(*SIZE), punch_holes(*SIZE)
    values[~valid] = 0
    return write_raster(tmp_path / "scene.tif", values, nodata=0), values, valid


def whole_errors(
    values: NDArray[Any], valid: NDArray[np.bool_], model: Model
) -> NDArray[np.float32]:
    """Degrees, by the network over everything at once."""
    net = network(model)
    height, width = valid.shape
    pad = ((0, -height % net.stride), (0, -width % net.stride))
    mask = np.pad(valid, pad, mode="edge")
    inputs = to_working(TO_REFLECTANCE.apply(values), Quantity.REFLECTANCE)
    inputs = np.pad(inputs, pad, mode="edge")
    inputs[~mask] = 0
    x = torch.from_numpy(np.stack([inputs[None]] * 2)).contiguous(memory_format=torch.channels_last)
    m = torch.from_numpy(np.stack([mask[None]] * 2).astype(np.float32))
    with torch.inference_mode():
        _, degrees = net.with_error(x, m)
    return np.ascontiguousarray(degrees[0, 0, :height, :width].numpy())


@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_every_chunk_size_writes_the_whole_arrays_errors(
    tmp_path: Path, scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, chunk: int
) -> None:
    path, values, valid = scene
    rgb = nirgeo.colorize(nirgeo.open_scene(path, chunk=chunk), doubtful, uncertainty=True)
    nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    made, mask = read(tmp_path / "out.tif")
    degrees = whole_errors(values, valid, doubtful)
    levels = np.where(valid, expected_error.encode(degrees, np.dtype(np.uint8)), 0)
    assert np.std(levels[valid]) > 5  # or nothing here could differ
    np.testing.assert_array_equal(made[3], levels)
    np.testing.assert_array_equal(made[:3], whole_picture(values[None], valid, doubtful))
    np.testing.assert_array_equal(mask, valid)


def test_colours_are_those_of_a_run_without_the_band(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model
) -> None:
    opened = nirgeo.open_scene(scene[0])
    with_band = nirgeo.colorize(opened, doubtful, uncertainty=True).compute()
    without = nirgeo.colorize(opened, doubtful).compute()
    assert list(with_band["band"].values) == ["red", "green", "blue", "expected_error"]
    np.testing.assert_array_equal(with_band[:3].values, without.values)


def test_reflectance_has_degrees_and_no_levels(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, tmp_path: Path
) -> None:
    path, values, valid = scene
    options: dict[str, Any] = {"output": "reflectance", "uncertainty": True}
    rgb = nirgeo.colorize(nirgeo.open_scene(path), doubtful, **options)
    nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    made, _ = read(tmp_path / "out.tif")
    np.testing.assert_array_equal(made[3][valid], whole_errors(values, valid, doubtful)[valid])
    assert np.isnan(made[:, ~valid]).all()
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.scales[3], file.units[3]) == (1.0, "degree")


def test_what_the_file_says_of_the_band(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, tmp_path: Path
) -> None:
    out = tmp_path / "out.tif"
    command("colorize", scene[0], "-o", out, "--model", doubtful.path, "--uncertainty")
    with rasterio.open(out) as file:
        assert file.count == 4
        assert file.colorinterp == (
            ColorInterp.red,
            ColorInterp.green,
            ColorInterp.blue,
            ColorInterp.undefined,
        )
        assert file.descriptions[3] == "expected angular error"
        assert (file.scales[3], file.offsets[3], file.units[3]) == (0.25, 0.0, "degree")
        assert file.mask_flag_enums[3] == [MaskFlags.per_dataset]
        said = file.tags(ns="NIRGEO")["UNCERTAINTY"]
        assert said.startswith("band 4")
        assert "2.00 times" in said


def test_max_error_masks_what_is_expected_to_be_worse(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, tmp_path: Path
) -> None:
    path, values, valid = scene
    degrees = whole_errors(values, valid, doubtful)
    limit = float(np.median(degrees[valid]))
    out = tmp_path / "out.tif"
    options = ("--model", doubtful.path, "--max-error", limit, "--runtime", "torch")
    command("colorize", path, "-o", out, *options)
    made, mask = read(out)
    kept = valid & (degrees <= np.float32(limit))
    np.testing.assert_array_equal(mask, kept)
    expected = np.where(kept, whole_picture(values[None], valid, doubtful), 0)
    np.testing.assert_array_equal(made, expected)
    with rasterio.open(out) as file:
        assert file.tags(ns="NIRGEO")["MAX_ERROR"] == f"{limit:g} degrees"


def test_nothing_left_is_said_with_the_option_that_did_it(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, tmp_path: Path
) -> None:
    rgb = nirgeo.colorize(nirgeo.open_scene(scene[0]), doubtful, max_error=1e-6)
    with pytest.raises(EmptySceneError, match="--max-error"):
        nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_a_run_without_the_band_is_not_continued_with_it(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model
) -> None:
    opened = nirgeo.open_scene(scene[0])
    data = {
        nirgeo.colorize(opened, doubtful, **options).data.name
        for options in ({}, {"uncertainty": True}, {"max_error": 9.0}, {"max_error": 8.0})
    }
    assert len(data) == 4


@pytest.mark.parametrize("option", [{"uncertainty": True}, {"max_error": 5.0}])
def test_models_that_expect_no_errors_are_refused(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], tiny: Model, option: dict[str, Any]
) -> None:
    opened = nirgeo.open_scene(scene[0])
    for model in (tiny, "baseline/grey"):
        with pytest.raises(OptionError, match="can't tell what error to expect"):
            nirgeo.colorize(opened, model, **option)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, limit: float
) -> None:
    with pytest.raises(OptionError, match="--max-error"):
        nirgeo.colorize(nirgeo.open_scene(scene[0]), doubtful, max_error=limit)


def test_a_reference_makes_other_colours_than_those_whose_error_is_known(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, tmp_path: Path
) -> None:
    rgb = np.full((3, *SIZE), 90, dtype=np.uint8)
    reference = write_raster(tmp_path / "reference.tif", rgb, photometric="RGB")
    with pytest.raises(OptionError, match="--reference"):
        nirgeo.colorize(
            nirgeo.open_scene(scene[0]), doubtful, uncertainty=True, reference=reference
        )


def test_previews_and_figures_leave_the_band_out(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model
) -> None:
    opened = nirgeo.open_scene(scene[0])
    rgb = nirgeo.colorize(opened, doubtful, uncertainty=True)
    plain = nirgeo.colorize(opened, doubtful)
    assert rgb.nirgeo.preview(64).sizes["band"] == 3
    assert rgb.nirgeo.evaluate(plain)["rmse"] == 0


def test_compare_takes_the_colours_of_a_file_with_the_band(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model, tmp_path: Path
) -> None:
    for name, options in (("four.tif", ["--uncertainty"]), ("three.tif", [])):
        command("colorize", scene[0], "-o", tmp_path / name, "--model", doubtful.path, *options)
    result = command("compare", tmp_path / "four.tif", tmp_path / "three.tif", "--json")
    assert '"angular": 0.0' in result.stdout


def test_a_stack_in_time_has_the_band_too(
    scene: tuple[Path, NDArray[Any], NDArray[np.bool_]], doubtful: Model
) -> None:
    one = nirgeo.open_scene(scene[0])
    array = one.drop_attrs().drop_vars(VALID, errors="ignore")
    cube = array.expand_dims(time=[1, 2])
    rgb = nirgeo.colorize(cube, doubtful, uncertainty=True, scale="0.0001", nodata=0)
    assert rgb.sizes["band"] == 4
    single = nirgeo.colorize(array, doubtful, uncertainty=True, scale="0.0001", nodata=0)
    np.testing.assert_array_equal(rgb.isel(time=1).values, single.values)


@pytest.mark.parametrize("chunk", [1, 16])
def test_a_scene_through_air_is_doubted(tmp_path: Path, chunk: int) -> None:
    random = np.random.default_rng(5)
    shade = random.uniform(0, 1, SIZE)
    surface = np.stack([0.03 + 0.1 * shade, 0.04 + 0.1 * shade, 0.1 + 0.3 * shade])
    made = {}
    for name, air in (("surface", 0.0), ("veiled", 0.06)):
        values = np.rint((surface + air) * 10_000).astype(np.uint16)
        path = write_raster(
            tmp_path / f"{name}.tif", values, descriptions=("red", "green", "nir"), nodata=0
        )
        opened = nirgeo.open_scene(path, chunk=chunk)
        rgb = nirgeo.colorize(opened, "satellite-rgn", output="reflectance", uncertainty=True)
        made[name] = rgb
    assert "nirgeo_veil" not in made["surface"].attrs
    veil = float(made["veiled"].attrs["nirgeo_veil"].split()[5])
    assert veil == pytest.approx(0.1 + 0.1 * 0.02 - 0.01, abs=0.002)
    colours, degrees = made["veiled"].values[:3], made["veiled"].values[3]
    there = colours.astype(np.float64)
    true = there.copy()
    true[2] += expected_error.BLUE_OF_A_VEIL * veil
    missing = angular_error(there, true)
    # No less than what the air alone would make, which is more than the model itself expects.
    assert (degrees >= missing - 0.05).all()
    assert degrees.mean() > made["surface"].values[3].mean() + 2


def test_levels_are_quarters_of_a_degree_and_the_last_one_is_open() -> None:
    degrees = np.array([0.0, 0.1, 0.13, 5.0, 63.75, 64.0, 180.0], dtype=np.float32)
    levels = expected_error.encode(degrees, np.dtype(np.uint8))
    assert levels.tolist() == [0, 0, 1, 20, 255, 255, 255]
    np.testing.assert_array_equal(expected_error.decode(levels)[:5], [0, 0, 0.25, 5, 63.75])


@pytest.mark.parametrize(
    "uncertainty", [None, {}, {"quantile": "two"}, {"quantile": -1.0}, {"quantile": float("nan")}]
)
def test_a_damaged_calibration_is_refused(doubtful: Model, uncertainty: dict[str, Any]) -> None:
    data = doubtful.spec.to_json() | {"uncertainty": uncertainty}
    with pytest.raises(ModelError):
        ModelSpec.from_json(data, "file")
