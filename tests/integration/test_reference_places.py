"""References where coordinates are awkward: at 180°, at a pole, where a scene leaves the Earth."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import write_raster
from numpy.typing import NDArray
from pictures import scene_values

import nirgeo
from nirgeo import georeference
from nirgeo.errors import BandError, RadiometryError
from nirgeo.georeference import map_positions
from nirgeo.grid import Grid

Affine = rasterio.Affine
COLOURS = ("red", "green", "blue")
PLAIN = "baseline/mean-colour"
"""It paints one colour: all else in a picture is the reference's."""
RED, GREEN = (220, 40, 40), (60, 120, 60)


def write_scene(path: Path, size: tuple[int, int], crs: str, transform: Affine) -> Path:
    return write_raster(path, scene_values(*size, "uint8"), crs=crs, transform=transform)


def write_colours(path: Path, colours: NDArray[np.uint8], crs: str, transform: Affine) -> Path:
    return write_raster(path, colours, crs=crs, transform=transform, descriptions=COLOURS)


def painted(scene: Path, reference: Path | None, chunk: int = 12) -> NDArray[Any]:
    rgb = nirgeo.colorize(nirgeo.open_scene(scene, chunk=chunk), PLAIN, reference=reference)
    values: NDArray[Any] = rgb.values.astype(int)
    return values


def globe(path: Path, west: float, step: float, *, around: float | None = None) -> Path:
    """Of all longitudes from ``west`` on: green within 20° of ``around``, else red; 60° to -60°."""
    width, height = round(360 / step), round(120 / step)
    longitude = west + (np.arange(width) + 0.5) * step
    away = np.abs((longitude - (around or 0) + 180) % 360 - 180)
    line = np.where(away < 20, np.array(GREEN)[:, None], np.array(RED)[:, None])
    colours = np.broadcast_to(line[:, None, :], (3, height, width)).astype(np.uint8)
    return write_colours(path, colours, "EPSG:4326", Affine(step, 0, west, 0, -step, 60))


@pytest.mark.parametrize("west", [-180.0, 0.0, -170.0])
def test_a_scene_across_180_degrees(tmp_path: Path, west: float) -> None:
    # 40 km around the meridian, at 10°N; pixels of 200 m.
    scene = write_scene(
        tmp_path / "scene.tif", (130, 400), "EPSG:32601", Affine(200, 0, 130e3, 0, -200, 1.12e6)
    )
    grid = Grid(130, 400, (200, 0, 130e3, 0, -200, 1.12e6), "EPSG:32601")
    ends = map_positions(grid, np.zeros(2), np.array([0.0, 400]), rasterio.CRS.from_epsg(4326))
    assert ends is not None
    assert ends[0][0] > 179
    assert ends[0][1] < -179
    reference = globe(tmp_path / "globe.tif", west, 0.1, around=180)
    found = painted(scene, reference)
    inside = np.ones(400, dtype=bool)
    inside[:40] = inside[-40:] = False
    if west == -180:  # where its own sides meet, colours of half a pixel come from one of them
        assert np.abs(found - np.array(GREEN)[:, None, None]).max() <= 3
    np.testing.assert_allclose(found[:, :, inside].mean(axis=(1, 2)), GREEN, atol=3)
    assert (painted(scene, reference, chunk=1) == found).all()


def test_longitudes_counted_otherwise(tmp_path: Path) -> None:
    # San Francisco is at -122°, or at 238°.
    size, step = (120, 150), 0.001
    for name, west, start in (("a", -122.5, 0.0), ("b", 237.5, -180.0)):
        scene = write_scene(
            tmp_path / f"{name}.tif", size, "EPSG:4326", Affine(step, 0, west, 0, -step, 37.8)
        )
        reference = globe(tmp_path / f"{name}-globe.tif", start, 0.05, around=-122)
        np.testing.assert_allclose(painted(scene, reference).mean(axis=(1, 2)), GREEN, atol=2)
    in_metres = write_scene(
        tmp_path / "utm.tif", size, "EPSG:32610", Affine(100, 0, 5.5e5, 0, -100, 4.18e6)
    )
    found = painted(in_metres, globe(tmp_path / "globe.tif", 0.0, 0.05, around=-122))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), GREEN, atol=2)


@pytest.mark.parametrize("east", [-5e3, -25e3, -35e3, -60e3])
def test_degrees_near_a_pole(tmp_path: Path, east: float) -> None:
    # There they are no squares any more; where they are too long the reference is left out.
    scene = write_scene(
        tmp_path / "scene.tif", (500, 500), "EPSG:3413", Affine(100, 0, east, 0, -100, 25e3)
    )
    random = np.random.default_rng(3)
    colours = random.integers(20, 250, (3, 40, 3600), dtype=np.uint8)
    reference = write_colours(
        tmp_path / "reference.tif", colours, "EPSG:4326", Affine(0.1, 0, -180, 0, -0.1, 90)
    )
    found = painted(scene, reference)
    for chunk in (2, 5):
        assert (painted(scene, reference, chunk) == found).all()


def test_where_degrees_are_much_longer_than_wide_the_model_paints(tmp_path: Path) -> None:
    # Eight times, which is within 4° of the pole for pixels of a tenth of a degree.
    scene = write_scene(
        tmp_path / "scene.tif", (500, 500), "EPSG:3413", Affine(1000, 0, -50e3, 0, -1000, 400e3)
    )
    random = np.random.default_rng(3)
    colours = random.integers(20, 250, (3, 300, 3600), dtype=np.uint8)
    reference = write_colours(
        tmp_path / "reference.tif", colours, "EPSG:4326", Affine(0.1, 0, -180, 0, -0.1, 90)
    )
    found, alone = painted(scene, reference), painted(scene, None)
    left_out = (found == alone).all(axis=0)
    assert 0.01 < left_out.mean() < 0.2
    rows, cols = np.nonzero(left_out)
    away = np.hypot(cols * 1000 - 50e3, 400e3 - rows * 1000)
    assert np.percentile(away, 95) < 250e3  # around the pole, and not anywhere else
    for chunk in (2, 5):
        assert (painted(scene, reference, chunk) == found).all()


DISK = "+proj=geos +h=35785831 +lon_0=0 +datum=WGS84 +units=m +sweep=x"
"""A weather satellite's view: the corners of its pictures see past the Earth."""


def test_places_off_the_earth_are_no_places_the_first_time_too() -> None:
    # GDAL raises an error for the first of them, and says nothing of later ones.
    look = (
        "import numpy as np, rasterio\n"
        "from nirgeo.georeference import map_positions\n"
        "from nirgeo.grid import Grid\n"
        f"grid = Grid(366, 366, (30e3, 0, -5.49e6, 0, -30e3, 5.49e6), {DISK!r})\n"
        "rows, cols = np.meshgrid(*[np.arange(0, 367, 61.0)] * 2, indexing='ij')\n"
        "for _ in range(3):\n"
        "    x, y = map_positions(grid, rows, cols, rasterio.CRS.from_epsg(4326))\n"
        "    print(np.isfinite(x).sum(), float(x[np.isfinite(x)].sum()).hex())\n"
    )
    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    first, second, third = said.stdout.splitlines()
    assert first == second == third
    assert 20 < int(first.split()[0]) < 49


def test_a_view_of_the_disk_has_its_reference_in_every_chunk(tmp_path: Path) -> None:
    # Corners of tiles beyond the Earth's rim have no place.
    scene = write_scene(
        tmp_path / "scene.tif", (366, 366), DISK, Affine(30e3, 0, -5.49e6, 0, -30e3, 5.49e6)
    )
    reference = globe(tmp_path / "globe.tif", -180, 1.0, around=0)
    found = painted(scene, reference)
    np.testing.assert_allclose(found[:, 150:216, 150:216].mean(axis=(1, 2)), GREEN, atol=3)
    np.testing.assert_allclose(found[:, 175:190, 70:95].mean(axis=(1, 2)), RED, atol=3)
    for chunk in (1, 3):
        assert (painted(scene, reference, chunk) == found).all()


def small_scene(folder: Path) -> Path:
    place = Affine(10, 0, 4e5, 0, -10, 6e6)
    return write_scene(folder / "scene.tif", (120, 120), "EPSG:32633", place)


def test_colours_that_are_scaled_each_in_its_own_way_are_refused(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    colours = np.full((3, 12, 12), 1500, dtype=np.uint16)
    place = Affine(100, 0, 4e5, 0, -100, 6e6)
    reference = write_raster(
        tmp_path / "r.tif", colours, crs="EPSG:32633", transform=place, descriptions=COLOURS
    )
    for scales in ((1e-4, 1e-4, 1e-4), (1e-4, 2e-4, 2e-4), (1e-4, 1e-4, 2e-4)):
        with rasterio.open(reference, "r+") as file:
            file.scales = scales
        if len(set(scales)) == 1:
            painted(scene, reference)
            continue
        with pytest.raises(RadiometryError, match="scaled each in its own way"):
            painted(scene, reference)


def test_a_palette_has_to_be_expanded(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    reference = tmp_path / "palette.tif"
    size = {"height": 12, "width": 12, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    place = Affine(100, 0, 4e5, 0, -100, 6e6)
    with rasterio.open(reference, "w", driver="GTiff", transform=place, **size) as file:
        file.write(np.full((12, 12), 3, dtype=np.uint8), 1)
        file.write_colormap(1, {3: (200, 30, 90, 255)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BandError, match="palette"):
            painted(scene, reference)


def test_a_soft_edge_of_a_reference_is_no_black_border(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    alpha = np.clip((np.arange(120) - 20) * 20, 0, 255).astype(np.uint8)
    picture = np.zeros((4, 120, 120), dtype=np.uint8)
    picture[3] = alpha
    picture[:3] = (np.array([200, 60, 60])[:, None] * (alpha > 0))[:, None, :]
    reference = tmp_path / "soft.tif"
    size = {"height": 120, "width": 120, "count": 4, "dtype": "uint8", "crs": "EPSG:32633"}
    place = Affine(10, 0, 4e5, 0, -10, 6e6)
    with rasterio.open(
        reference, "w", driver="GTiff", transform=place, photometric="RGB", alpha="YES", **size
    ) as file:
        file.write(picture)
    found, without = painted(scene, reference), painted(scene, None)
    assert (found[:, :, :4] == without[:, :, :4]).all(), "nothing is known there"
    np.testing.assert_allclose(found[:, :, 60:].mean(axis=(1, 2)), (200, 60, 60), atol=2)
    assert found[:, :, 30:].min() > 40


def test_a_local_system_leads_nowhere_and_is_not_asked_point_by_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    real = georeference.reproject

    def counted(*arguments: Any) -> Any:
        asked.append(len(arguments[2]))
        return real(*arguments)

    monkeypatch.setattr(georeference, "reproject", counted)
    grid = Grid(900, 900, (1, 0, 0, 0, -1, 0), 'LOCAL_CS["unnamed",UNIT["metre",1]]')
    place = map_positions(grid, np.arange(900.0), np.arange(900.0), rasterio.CRS.from_epsg(4326))
    assert place is not None
    assert not np.isfinite(place).any()
    assert asked == [900]


def test_points_on_both_sides_of_180_degrees() -> None:
    points = [(r, c, 179.99 + 0.02 * c / 100, 45 - 0.02 * r / 100, 0.0) for r, c in
              ((0, 0), (0, 100), (100, 0), (100, 100))]  # fmt: skip
    wrapped = tuple((r, c, x - 360 if x > 180 else x, y, z) for r, c, x, y, z in points)
    grid = Grid(100, 100, (1, 0, 0, 0, 1, 0), gcps=wrapped, gcp_crs="EPSG:4326")
    place = map_positions(grid, np.array([50.0]), np.array([50.0]), rasterio.CRS.from_epsg(4326))
    assert place is not None
    assert abs(abs(place[0][0]) - 180) < 1e-6
