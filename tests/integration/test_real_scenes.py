"""Scenes as their makers wrote them, end to end: found bands, found scaling, a sane picture.

The imagery is not part of the repository: NIRGEO_DATA names its folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from pictures import command, read

import nirgeo

SINGLE = (
    "landsat7_mexico_int16_nodata-9999.gtif",
    "naip_2009_uint8_cog_nodata0.tif",
    "s2_boadella_int16_12bands.tif",
    "s2_demmin_uint16_epsg4326_bands-named.tif",
    "s2_spain_int16_13bands.tif",
)
STACKED = (
    "landsat7_nc_float32_separate/lsat7_2000_40.tif",
    "landsat8_c2_scaled_separate/LC08_L2SP_017036_20130419_20200913_02_T2_SR_B5.TIF",
)


@pytest.mark.parametrize("name", [*SINGLE, *STACKED])
def test_every_scene_becomes_a_picture(data_folder: Path, tmp_path: Path, name: str) -> None:
    scene = data_folder / "scenes" / name
    if not scene.exists():
        pytest.skip(f"{name} is not in {data_folder}")
    given = ["--stack", f"nir={scene}"] if name in STACKED else [scene]
    target = tmp_path / "out.tif"
    command("colorize", *given, "-o", target, "--progress", "none")
    pixels, mask = read(target)
    with rasterio.open(scene) as source, rasterio.open(target) as made:
        assert made.shape == source.shape
        assert made.transform == source.transform
        assert made.crs == source.crs
    assert mask.any()
    colours = pixels[:, mask].astype(float)
    brightness = colours.mean(axis=0)
    # Landsat 8's scene is cloud and snow for the most part: bright is what it is.
    cloudy = "LC08" in name
    # Dark water has its place in a scene, and so have roofs and sand. But the brightest hundredth
    # of any daylight picture is at least a middle grey, half of it is not near black, and no more
    # than a quarter is white in all three colours. Something in every landscape has a colour: a
    # tenth of the pixels differ by more than 8 levels between their strongest and weakest band.
    assert np.percentile(brightness, 99) > 60, "black"
    assert np.median(brightness) > 25, "black"
    if not cloudy:
        assert (colours.min(axis=0) >= 250).mean() < 0.25, "burnt out"
        spread = colours.max(axis=0) - colours.min(axis=0)
        assert np.percentile(spread, 90) > 8, "grey"
    assert np.percentile(brightness, 98) - np.percentile(brightness, 2) > 8, "flat"


def test_separate_files_are_found_by_their_names(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "scenes" / "landsat8_c2_scaled_separate"
    files = sorted(folder.glob("*.TIF"))
    if not files:
        pytest.skip(f"{folder.name} is not in {data_folder}")
    scene = nirgeo.open_scene(files)
    assert set(scene["band"].values) == {"blue", "green", "red", "nir"}
    assert "Landsat" in scene.attrs["nirgeo_scaling_origin"]
    assert scene.attrs["nirgeo_scaling"] == "reflectance:2.75e-05,-0.2"
    alone = nirgeo.open_scene(stack={"nir": next(f for f in files if "_B5" in f.name)})
    np.testing.assert_array_equal(
        nirgeo.colorize(scene).values, nirgeo.colorize(alone).values, err_msg="near infrared only"
    )


@pytest.mark.parametrize("name", SINGLE[:3])
def test_chunks_do_not_show_in_real_scenes(data_folder: Path, tmp_path: Path, name: str) -> None:
    # The shipped weights, on values as they come: nodata borders, water, clouds.
    path = data_folder / "scenes" / name
    if not path.exists():
        pytest.skip(f"{name} is not in {data_folder}")
    pictures = [
        nirgeo.colorize(nirgeo.open_scene(path, chunk=chunk)).values for chunk in (1, 3, 16)
    ]
    for other in pictures[1:]:
        np.testing.assert_array_equal(other, pictures[0])
