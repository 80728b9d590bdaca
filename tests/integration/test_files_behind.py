"""Files of a scene that nobody names: sources of a VRT, archives, masks beside it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from helpers import write_raster
from numpy.typing import NDArray
from pictures import command, read, scene_values

import nirgeo
from nirgeo import handles
from nirgeo.errors import ResumeError, SourceError
from nirgeo.modelfile import Model
from nirgeo.rgb_source import open_rgb
from nirgeo.tiling import Window


def vrt_of(source: Path, target: Path) -> Path:
    with rasterio.Env():
        rasterio.shutil.copy(source, target, driver="VRT")
    return target


def zipped(source: Path, target: Path) -> str:
    with zipfile.ZipFile(target, "w") as archive:
        archive.write(source, "inner/scene.tif")
    return f"/vsizip/{target}/inner/scene.tif"


@pytest.mark.parametrize("depth", [1, 2])
def test_sources_of_a_vrt_are_not_written_over(tmp_path: Path, tiny: Model, depth: int) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(80, 90))
    before = source.read_bytes()
    scene = source
    for level in range(depth):
        scene = vrt_of(scene, tmp_path / f"{level}.vrt")
    done = command(
        *("colorize", scene, "-o", source, "--overwrite", "--model", tiny.path, "--scale", "1e-4"),
        expect=1,
    )
    assert "is a file of the scene itself" in done.stderr
    assert source.read_bytes() == before


def test_a_mask_beside_a_scene_or_a_reference_is_not_written_over(
    tmp_path: Path, tiny: Model
) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(80, 90))
    colours = np.full((3, 80, 90), 90, dtype=np.uint8)
    reference = write_raster(tmp_path / "reference.tif", colours, photometric="RGB")
    for path in (scene, reference):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(path, "r+") as file:
            file.write_mask(np.full((80, 90), 255, dtype=np.uint8))
    for beside in (tmp_path / "scene.tif.msk", tmp_path / "reference.tif.msk"):
        before = beside.read_bytes()
        done = command(
            *("colorize", scene, "-o", beside, "--overwrite", "--model", tiny.path),
            *("--scale", "1e-4", "--reference", reference),
            expect=1,
        )
        assert "is a file of the scene itself" in done.stderr
        assert beside.read_bytes() == before


def test_an_error_map_is_not_written_over_what_is_compared(tmp_path: Path) -> None:
    colours = np.full((3, 40, 40), 90, dtype=np.uint8)
    one = write_raster(tmp_path / "one.tif", colours, photometric="RGB")
    other = write_raster(tmp_path / "other.tif", colours + 9, photometric="RGB")
    before = other.read_bytes()
    truth = vrt_of(other, tmp_path / "other.vrt")
    done = command("compare", one, truth, "--error-map", other, "--overwrite", expect=1)
    assert "is a file of the rasters compared" in done.stderr
    assert other.read_bytes() == before


@pytest.mark.parametrize("kind", ["vrt", "zip"])
def test_a_change_behind_a_scene_ends_the_run(tmp_path: Path, tiny: Model, kind: str) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(80, 90))
    archive = tmp_path / "scene.zip"
    path = vrt_of(source, tmp_path / "scene.vrt") if kind == "vrt" else zipped(source, archive)
    rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="1e-4"), tiny)
    assert rgb.values.shape == (3, 80, 90)
    write_raster(source, scene_values(80, 90, seed=4))
    if kind == "zip":
        zipped(source, archive)
    with pytest.raises(SourceError, match="has changed since it was opened"):
        rgb.compute()


def test_another_scene_in_the_same_archive_is_not_resumed(tmp_path: Path, tiny: Model) -> None:
    archive, target = tmp_path / "scene.zip", tmp_path / "out.tif"
    path = zipped(write_raster(tmp_path / "a.tif", scene_values(200, 150)), archive)

    class EndError(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise EndError

    def write(on_progress: object = None) -> None:
        rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="1e-4", chunk=1), tiny)
        nirgeo.write_geotiff(rgb, target, resume=True, workers=1, on_progress=on_progress)  # type: ignore[arg-type]

    with pytest.raises(EndError):
        write(stop)
    shutil.move(archive, tmp_path / "first.zip")
    zipped(write_raster(tmp_path / "b.tif", scene_values(200, 150, seed=7)), archive)
    with pytest.raises(ResumeError):
        write()
    shutil.move(tmp_path / "first.zip", archive)
    write()
    assert read(target)[0].shape == (3, 200, 150)


def test_the_stamp_of_a_file_in_an_archive_is_the_archives(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "scene.tif", scene_values(8, 8))
    archive = tmp_path / "scene.zip"
    path = zipped(source, archive)
    assert handles.file_stamp(path) == handles.file_stamp(str(archive)) is not None
    assert handles.file_stamp(f"/vsizip/{{{archive}}}/inner/scene.tif") is not None
    assert handles.file_stamp("/vsizip/nowhere.zip/scene.tif") is None
    assert handles.file_stamp("/vsimem/scene.tif") is None


SENTINEL = ("B02", "B03", "B04")


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (SENTINEL, (2, 1, 0)),
        (SENTINEL[::-1], (0, 1, 2)),
        (("B02 - Blue", "B03 - Green", "B04 - Red"), (2, 1, 0)),
        (("Band 1 Blue", "Band 2 Green", "Band 3 Red"), (2, 1, 0)),
        (("blue", "green", "red", "red edge"), (2, 1, 0)),
        (("one", "two", "three"), (0, 1, 2)),
        (("", "", ""), (0, 1, 2)),
        (("B1", "B2", "B3"), (0, 1, 2)),
    ],
    ids=str,
)
def test_names_of_colours_win_over_their_order(
    tmp_path: Path, names: tuple[str, ...], order: tuple[int, ...]
) -> None:
    values: NDArray[np.uint16] = (
        np.arange(len(names), dtype=np.uint16)[:, None, None] * 1000 + 1000
    ) * np.ones((1, 4, 4), dtype=np.uint16)
    path = write_raster(tmp_path / "picture.tif", values, descriptions=names)
    numbers, _ = open_rgb(str(path), scale="1e-4").read_numbers(Window(0, 0, 4, 4))
    np.testing.assert_array_equal(numbers, values[list(order)])


def test_a_crs_alone_is_no_place(tmp_path: Path, with_prior: Model) -> None:
    bare = write_raster(tmp_path / "bare.tif", scene_values(80, 90), transform=None)
    placed = write_raster(tmp_path / "placed.tif", scene_values(80, 90))
    pictures = {}
    for path in (bare, placed):
        for prior in (True, False):
            scene = nirgeo.open_scene(path, scale="1e-4")
            pictures[path, prior] = nirgeo.colorize(scene, with_prior, prior=prior).values
    assert (pictures[placed, True] != pictures[placed, False]).any()
    np.testing.assert_array_equal(pictures[bare, True], pictures[bare, False])
    said = command("info", bare, "--model", with_prior.path, "--scale", "1e-4", "--json").stdout
    assert '"pixel": "unknown"' in said


@pytest.mark.parametrize("options", [("--as", "reflectance"), ("--uncertainty",)])
def test_a_mask_that_gdal_would_lose_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(80, 90), nodata=0)
    moved = ("--co", "TARGET_SRS=EPSG:4326", "-o", tmp_path / "out.tif", "--scale", "1e-4")
    done = command("colorize", scene, "--model", "satellite-nir", *options, *moved, expect=1)
    assert "loses which pixels are missing" in done.stderr
    assert not (tmp_path / "out.tif").exists()
    command("colorize", scene, "--model", "satellite-nir", *moved)
    assert (tmp_path / "out.tif").exists()
