"""Pictures that creation options bring to another grid: GDAL moves them, nirgeo describes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import NORTH_UP_10M, write_raster
from pictures import command, events, listing, read, scene_values


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = scene_values(260, 300)
    values[:, :40] = 0
    return write_raster(
        tmp_path / "in" / "nir.tif", values, nodata=0, transform=NORTH_UP_10M, crs="EPSG:32632"
    )


def moved(scene: Path, target: Path, *options: str, expect: int = 0) -> str:
    given = [word for option in options for word in ("--co", option)]
    done = command(
        "colorize",
        scene,
        "-o",
        target,
        "--scale",
        "1e-4",
        *given,
        "--progress",
        "jsonl",
        expect=expect,
    )
    return str(done.stdout)


@pytest.mark.parametrize(
    "options",
    [
        ["TARGET_SRS=EPSG:3857"],
        ["TILING_SCHEME=GoogleMapsCompatible"],
        ["TARGET_SRS=EPSG:4326", "COMPRESS=JPEG"],
        ["TARGET_SRS=EPSG:4326", "COMPRESS=WEBP"],
    ],
)
def test_a_moved_picture_says_how_it_was_made(
    scene: Path, tmp_path: Path, options: list[str]
) -> None:
    out, plain = tmp_path / "out" / "moved.tif", tmp_path / "plain.tif"
    out.parent.mkdir()
    said = events(moved(scene, out, *options))[-1]
    moved(scene, plain)
    with rasterio.open(out) as file, rasterio.open(plain) as unmoved:
        assert file.tags(ns="NIRGEO") == unmoved.tags(ns="NIRGEO") == said["tags"]
        assert file.descriptions[:3] == ("red", "green", "blue")
        assert file.crs != unmoved.crs
        assert file.overviews(1) or max(file.shape) <= 512
        shares = [(opened.dataset_mask() > 0).mean() for opened in (file, unmoved)]
    assert 0 < shares[0] < 1
    assert 0 < shares[1] < 1
    assert list(listing(out.parent)) == ["moved.tif"]
    # The file itself can be named where a scaling is wanted.
    again = tmp_path / "again.tif"
    command("colorize", scene, "-o", again, "--scale", out)
    assert read(again)[0].tobytes() == read(plain)[0].tobytes()


def test_pixels_are_those_that_gdal_moves(scene: Path, tmp_path: Path) -> None:
    out, plain, gdal = (tmp_path / f"{name}.tif" for name in ("moved", "plain", "gdal"))
    moved(scene, out, "TARGET_SRS=EPSG:3857")
    moved(scene, plain)
    rasterio.shutil.copy(plain, gdal, driver="COG", TARGET_SRS="EPSG:3857")
    with rasterio.open(out) as found, rasterio.open(gdal) as expected:
        assert found.transform == expected.transform
        np.testing.assert_array_equal(found.read((1, 2, 3)), expected.read((1, 2, 3)))
        np.testing.assert_array_equal(found.dataset_mask(), expected.dataset_mask())


@pytest.mark.parametrize("word", ["NO", "off", "False"])
def test_a_moved_picture_keeps_what_is_missing(scene: Path, tmp_path: Path, word: str) -> None:
    out = tmp_path / "moved.tif"
    said = moved(scene, out, "TARGET_SRS=EPSG:3857", f"ADD_ALPHA={word}", expect=1)
    assert "GDAL loses which pixels are missing" in events(said)[-1]["message"]
    assert list(listing(tmp_path)) == ["in", "in/nir.tif"]
    moved(scene, out, f"ADD_ALPHA={word}")  # of one that stays, it says nothing of the mask
    assert (read(out)[1] == 0).any()


def test_a_place_without_a_pixel_of_the_picture_is_refused(scene: Path, tmp_path: Path) -> None:
    where = ("TARGET_SRS=EPSG:4326", "EXTENT=100,0,100.1,0.1", "RES=0.001")
    said = events(moved(scene, tmp_path / "moved.tif", *where, expect=1))[-1]
    assert "no pixel of the picture lies there" in said["message"]
    assert list(listing(tmp_path)) == ["in", "in/nir.tif"]
