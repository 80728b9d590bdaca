"""Scenes as their makers wrote them, end to end: found bands, found scaling, a sane picture.

The imagery is not part of the repository: NIRGEO_DATA names its folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from pictures import command, read

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
    assert np.percentile(brightness, 99) > 60, "black"
    assert np.median(brightness) > 25, "black"
    if not cloudy:
        assert (colours.min(axis=0) >= 250).mean() < 0.25, "burnt out"
        spread = colours.max(axis=0) - colours.min(axis=0)
        assert np.percentile(spread, 90) > 8, "grey"
    assert np.percentile(brightness, 98) - np.percentile(brightness, 2) > 8, "flat"
