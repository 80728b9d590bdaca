"""A reference beside what is missing, saturated or black: nothing of it shows in what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import NORTH_UP_10M, UTM, write_raster
from numpy.typing import NDArray
from pictures import command

import nirgeo
from nirgeo.handles import close_all

SIDE = 128
ROWS, COLS = np.mgrid[:SIDE, :SIDE]
FROM_MIDDLE = np.hypot(ROWS - SIDE / 2, COLS - SIDE / 2)
DISC = FROM_MIDDLE < 30
"""What is missing or saturated in the scene, and not in the reference."""


def ground() -> NDArray[np.uint16]:
    """Red, green, blue and near infrared × 10000: one colour, brighter and darker in pixels."""
    light = np.random.default_rng(0).uniform(0.5, 1.5, (SIDE, SIDE))
    colour = np.array([500, 800, 400, 2500])[:, None, None]
    return (colour * light).astype(np.uint16)


def write(path: Path, values: NDArray[Any], bands: tuple[str, ...], **options: Any) -> Path:
    return write_raster(
        path,
        values,
        crs=UTM,
        transform=NORTH_UP_10M,
        descriptions=bands,
        tags={"REFLECTANCE_SCALE": "0.0001"},
        **options,
    )


def write_both(
    folder: Path, scene: NDArray[Any], reference: NDArray[Any], *, nodata: int | None = 0
) -> tuple[Path, Path]:
    close_all()
    return (
        write(folder / "scene.tif", scene[[0, 1, 3]], ("red", "green", "nir"), nodata=0),
        write(folder / "reference.tif", reference[:3], ("red", "green", "blue"), nodata=nodata),
    )


def reflectance(
    folder: Path, scene: NDArray[Any], reference: NDArray[Any], **options: Any
) -> NDArray[np.float32]:
    path, other = write_both(folder, scene, reference, **options)
    rgb = nirgeo.colorize(
        nirgeo.open_scene(path), "satellite-rgn", reference=other, output="reflectance"
    )
    found: NDArray[np.float32] = rgb.compute().values
    return found


def blue_is_off(found: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """How far blue is from half of green, where it is in truth."""
    return float(np.abs(found[2] / found[1] - 0.5)[where].mean())


def test_blue_follows_the_brightness_beside_missing_pixels(tmp_path: Path) -> None:
    truth = ground()
    scene = truth.copy()
    scene[:, DISC] = 0
    near = ~DISC & (FROM_MIDDLE < 33)
    whole, cut = (reflectance(tmp_path, s, truth) for s in (truth, scene))
    assert blue_is_off(cut, near) < 2 * blue_is_off(whole, near) + 0.02


def test_what_is_saturated_is_white_and_has_no_halo(tmp_path: Path) -> None:
    truth = ground()
    scene = truth.copy()
    scene[:, DISC] = 65535
    near = ~DISC & (FROM_MIDDLE < 34)
    whole, bright = (reflectance(tmp_path, s, truth) for s in (truth, scene))
    assert (bright[:, DISC] == 1).all()
    assert blue_is_off(bright, near) < 2 * blue_is_off(whole, near) + 0.02


def test_a_black_part_of_a_reference_has_no_colour(tmp_path: Path) -> None:
    truth = ground()
    framed = truth.copy()
    framed[:, :, : SIDE // 2] = 0
    found = reflectance(tmp_path, truth, framed, nodata=None)
    alone = nirgeo.colorize(
        nirgeo.open_scene(tmp_path / "scene.tif"), "satellite-rgn", output="reflectance"
    ).compute()
    far = np.s_[2, :, : SIDE // 2 - 30]
    np.testing.assert_allclose(found[far], alone.values[far], rtol=0.2)


@pytest.mark.parametrize(("value", "told"), [(0, "0"), (65535, "65535")])
def test_a_frame_of_a_reference_is_told(tmp_path: Path, value: int, told: str) -> None:
    framed = ground()
    framed[:, :, : SIDE // 2] = value
    scene, reference = write_both(tmp_path, ground(), framed, nodata=None)
    result = command("colorize", scene, "--reference", reference, "-o", tmp_path / "o.tif")
    (warned,) = [line for line in result.stderr.splitlines() if "edges of it" in line]
    assert warned.startswith("Warning: reference: reference.tif")
    assert f"there are edges of it where all is {told}. If that marks missing pixels" in warned
    assert "gdal_edit.py -a_nodata" in warned


def test_one_without_a_frame_is_not_warned_of(tmp_path: Path) -> None:
    scene, reference = write_both(tmp_path, ground(), ground())
    result = command("colorize", scene, "--reference", reference, "-o", tmp_path / "o.tif")
    assert "edges of it" not in result.stderr


def test_dark_water_of_an_8_bit_reference_stays_dark(tmp_path: Path) -> None:
    """A third of it is 0 in all colours, among 1 and 2: no frame, and no blotches."""
    rng = np.random.default_rng(0)
    nir = (150 + rng.normal(0, 10, (640, 640))).astype(np.uint16)
    scene = write(tmp_path / "scene.tif", nir, ("nir",))
    water = rng.integers(0, 3, (1, 64, 64)).astype(np.uint8).repeat(3, axis=0)
    reference = write_raster(
        tmp_path / "reference.tif",
        water,
        crs=UTM,
        transform=NORTH_UP_10M @ rasterio.Affine.scale(10),
        descriptions=("red", "green", "blue"),
    )
    rgb = nirgeo.colorize(nirgeo.open_scene(scene), "satellite-nir", reference=reference)
    assert rgb.values.std() < 10
    assert rgb.values.max() < 80
