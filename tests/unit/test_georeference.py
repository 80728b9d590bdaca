"""Parts, previews and single pixels of scenes lie where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers the .rio accessor)
import xarray as xr
from helpers import NORTH_UP_10M, UTM, write_raster
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.errors import WarpOperationError

import nirgeo
from nirgeo import georeference
from nirgeo.georeference import grid_of, map_positions, moved, with_georeference
from nirgeo.grid import Grid
from nirgeo.tiling import Window

WGS84 = rasterio.CRS.from_epsg(4326)
RPCS = (
    *(("LINE_OFF", "100"), ("LINE_SCALE", "60 pixels"), ("SAMP_OFF", "200"), ("SAMP_SCALE", "90")),
    ("LINE_NUM_COEFF", "1 2"),
)


def test_pixels_of_other_sides_take_points_and_polynomials_with_them() -> None:
    points = ((26.0, 14.0, 9.0, 45.0, 7.5),)
    grid = Grid(90, 80, tuple(NORTH_UP_10M)[:6], UTM, points, "EPSG:4326", RPCS)
    found = moved(grid, Affine(2, 0, 10, 0, 3, 20), 20, 30)  # 2 px wide and 3 px high
    assert found.shape == (20, 30)
    assert found.transform == (20, 0, 500_100, 0, -30, 4_999_800)
    assert found.gcps == ((2.0, 2.0, 9.0, 45.0, 7.5),)
    rpcs = dict(found.rpcs)
    # They count from the middle of a pixel.
    assert float(rpcs["LINE_OFF"]) == pytest.approx((100 + 0.5 - 20) / 3 - 0.5)
    assert float(rpcs["SAMP_OFF"]) == pytest.approx((200 + 0.5 - 10) / 2 - 0.5)
    assert (float(rpcs["LINE_SCALE"]), float(rpcs["SAMP_SCALE"])) == (20, 45)
    assert rpcs["LINE_NUM_COEFF"] == "1 2"


def test_a_region_of_a_scene_has_its_points_and_polynomials() -> None:
    points = ((26.0, 14.0, 9.0, 45.0, 7.5), (60.0, 70.0, 9.1, 44.9, 8.5))
    grid = Grid(90, 80, (1, 0, 0, 0, 1, 0), None, points, "EPSG:4326", RPCS)
    array = xr.DataArray(np.zeros((40, 30)), dims=("y", "x"))
    found = grid_of(with_georeference(array, grid, Window(20, 10, 40, 30)))
    assert found.gcps == ((6.0, 4.0, 9.0, 45.0, 7.5), (40.0, 60.0, 9.1, 44.9, 8.5))
    rpcs = dict(found.rpcs)
    assert (float(rpcs["LINE_OFF"]), float(rpcs["SAMP_OFF"])) == (80, 190)


def test_a_single_pixel_between_those_recorded_lies_where_its_coordinates_say() -> None:
    x, y = NORTH_UP_10M @ (7.8, 3.8)  # the middle of a pixel would end in .5
    array = xr.DataArray(np.zeros((1, 1)), dims=("y", "x"), coords={"y": [y], "x": [x]})
    found = grid_of(array.rio.write_crs(UTM).rio.write_transform(NORTH_UP_10M)).affine
    assert (found.c, found.f) == pytest.approx((x - 5, y + 5))


def test_points_without_a_place_leave_the_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    real = georeference.reproject

    def complaining(crs: Any, target: Any, x: Any, y: Any) -> Any:
        if (np.asarray(x) > 3e7).any():
            raise WarpOperationError("no place")
        return real(crs, target, x, y)

    monkeypatch.setattr(georeference, "reproject", complaining)
    grid = Grid(9, 9, tuple(NORTH_UP_10M)[:6], UTM)
    cols = np.array([0.0, 1.0, 4e6, 3.0, 4.0, 5.0, 4e6])
    place = map_positions(grid, np.zeros(7), cols, WGS84)
    assert place is not None
    assert np.isfinite(place[0]).tolist() == [True, True, False, True, True, True, False]
    kept = np.isfinite(place[0])
    alone = map_positions(grid, np.zeros(5), cols[kept], WGS84)
    assert alone is not None
    np.testing.assert_array_equal(np.stack(place)[:, kept], np.stack(alone))


def test_a_coordinate_system_alone_is_no_place() -> None:
    # Pixels that count from 0, 0 would lie in Gabon.
    grid = Grid(64, 64, (1, 0, 0, 0, 1, 0), "EPSG:32633")
    assert map_positions(grid, np.zeros(3), np.zeros(3), WGS84) is None


def test_heights_of_points_are_kept() -> None:
    corners = ((0, 0), (0, 9), (9, 0), (9, 9))
    points = [GroundControlPoint(r, c, 9 + c / 100, 45 - r / 100, 12.5) for r, c in corners]
    array = xr.DataArray(np.zeros((9, 9)), dims=("y", "x")).rio.write_gcps(points, WGS84)
    assert {point[4] for point in grid_of(array).gcps} == {12.5}


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_middles_of_blocks_are_not_taken_for_corners(factor: int) -> None:
    # As stackstac makes them with xy_coords="center": an attribute tells the whole array's place.
    t = NORTH_UP_10M
    middles = xr.DataArray(
        np.zeros((24, 36)),
        dims=("y", "x"),
        coords={"y": t.f + (np.arange(24) + 0.5) * t.e, "x": t.c + (np.arange(36) + 0.5) * t.a},
        attrs={"transform": tuple(t)[:6]},
    ).rio.write_crs(UTM)
    blocks = middles.coarsen(y=factor, x=factor).mean()
    assert grid_of(blocks).affine.almost_equals(t @ Affine.scale(factor))


def test_a_part_of_what_has_no_place_has_none_either(tmp_path: Path) -> None:
    # Its pixels would lie in Gabon, and have the colours of that.
    path = write_raster(
        tmp_path / "a.tif", np.ones((64, 192), np.uint16), crs="EPSG:32633", transform=None
    )
    scene = nirgeo.open_scene(path)
    for part in (scene, scene.isel(x=slice(128, None)), scene.isel(y=[9], x=[7])):
        assert grid_of(part).placeless
