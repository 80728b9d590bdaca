"""Outlines: where on the globe a scene lies, also across 180° and over a pole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nirgeo.grid import Grid
from nirgeo.outline import outline


def grid(crs: str | None, *transform: float, size: tuple[int, int] = (100, 100)) -> Grid:
    return Grid(*size, transform, crs)  # type: ignore[arg-type]


def rings(geometry: dict[str, Any]) -> list[list[list[float]]]:
    coordinates = geometry["coordinates"]
    return [p[0] for p in coordinates] if geometry["type"] == "MultiPolygon" else coordinates


def area(ring: list[list[float]]) -> float:
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def check(geometry: dict[str, Any]) -> float:
    """RFC 7946: closed, counterclockwise, inside the globe. Returns the area in degrees²."""
    total = 0.0
    for ring in rings(geometry):
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        assert area(ring) > 0
        total += area(ring)
        for x, y in ring:
            assert -180 <= x <= 180
            assert -90 <= y <= 90
    return total


def test_a_small_scene_is_its_corners() -> None:
    found = outline(grid("EPSG:4326", 0.01, 0, 9, 0, -0.01, 46))
    assert found is not None
    assert found.bbox == (9.0, 45.0, 10.0, 46.0)
    assert check(found.geometry) == pytest.approx(1.0)
    assert len(rings(found.geometry)[0]) == 5


@pytest.mark.parametrize("pixel", [0.2, 0.05, 0.005])
def test_a_scene_of_a_few_metres_has_an_outline(pixel: float) -> None:
    found = outline(grid("EPSG:32632", pixel, 0, 500_000, 0, -pixel, 5_000_000, size=(200, 200)))
    assert found is not None
    assert found.geometry["type"] == "Polygon"
    west, south, east, north = found.bbox
    box = (east - west) * (north - south)
    assert check(found.geometry) == pytest.approx(box, rel=0.05)  # corners are rounded to 1 cm


def test_a_scene_of_a_few_metres_across_the_date_line() -> None:
    side = 1e-6  # a tenth of a metre
    found = outline(grid("EPSG:4326", side, 0, 180 - 25 * side, 0, -side, 10))
    assert found is not None
    assert found.bbox == pytest.approx((179.999975, 9.9999, -179.999925, 10.0), abs=1e-9)
    assert found.geometry["type"] == "MultiPolygon"
    western, eastern = rings(found.geometry)
    assert area(western) == pytest.approx(25e-6 * 100e-6, rel=1e-3)
    assert area(eastern) == pytest.approx(75e-6 * 100e-6, rel=1e-3)


def test_sides_that_bend_have_more_points() -> None:
    found = outline(grid("EPSG:32632", 10, 0, 300_000, 0, -10, 5_000_000, size=(10_980, 10_980)))
    assert found is not None
    check(found.geometry)
    assert len(rings(found.geometry)[0]) > 10
    west, south, east, north = found.bbox
    assert 6 < west < east < 8
    assert 44 < south < north < 45.2


def test_a_rotated_scene_and_one_with_its_first_row_in_the_south() -> None:
    turned = grid("EPSG:32632", 7, 7, 500_000, 7, -7, 5_000_000)
    found = outline(turned)
    assert found is not None
    assert check(found.geometry) > 0
    upside_down = outline(grid("EPSG:4326", 0.01, 0, 9, 0, 0.01, 45))
    assert upside_down is not None
    assert check(upside_down.geometry) == pytest.approx(1.0)


def test_ground_control_points() -> None:
    corners = (
        (0.0, 0.0, 9.0, 46.0, 0.0),
        (0.0, 100.0, 10.0, 46.0, 0.0),
        (100.0, 0.0, 9.0, 45.0, 0.0),
    )
    points = Grid(100, 100, (1, 0, 0, 0, 1, 0), None, corners, "EPSG:4326")
    found = outline(points)
    assert found is not None
    assert found.bbox == pytest.approx((9.0, 45.0, 10.0, 46.0))


@given(st.floats(-180, 180), st.floats(-80, 60), st.floats(0.001, 0.9), st.floats(0.001, 0.2))
def test_wherever_a_scene_lies_in_degrees(
    west: float, south: float, across: float, down: float
) -> None:
    found = outline(grid("EPSG:4326", across, 0, west, 0, -down, south + 100 * down))
    assert found is not None
    assert check(found.geometry) == pytest.approx(1e4 * across * down, rel=1e-3)
    crosses = west + 100 * across > 180
    assert (found.bbox[0] > found.bbox[2]) == (crosses and west < 180)
    assert (found.geometry["type"] == "MultiPolygon") == (crosses and west < 180)


def test_across_the_date_line_in_metres() -> None:
    found = outline(grid("EPSG:3832", 1000, 0, 3_200_000, 0, -1000, 1_000_000, size=(500, 500)))
    assert found is not None
    assert found.geometry["type"] == "MultiPolygon"
    west, _, east, _ = found.bbox
    assert (west, east) == pytest.approx((178.75, -176.76), abs=0.02)
    assert check(found.geometry) > 0


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3995", 90.0), ("EPSG:3031", -90.0)])
def test_over_a_pole(crs: str, pole: float) -> None:
    found = outline(grid(crs, 1000, 0, -50_000, 0, -1000, 50_000))
    assert found is not None
    west, south, east, north = found.bbox
    assert (west, east) == (-180, 180)
    assert pole in (south, north)
    assert north - south == pytest.approx(math.hypot(50, 50) / 111.2, rel=0.05)
    check(found.geometry)


def test_the_whole_globe() -> None:
    for west in (-180, 0):
        found = outline(grid("EPSG:4326", 1, 0, west, 0, -1, 90, size=(180, 360)))
        assert found is not None
        assert found.bbox == (-180, -90, 180, 90)
        assert check(found.geometry) == pytest.approx(360 * 180)


@pytest.mark.parametrize(
    "nowhere",
    [
        grid(None, 1, 0, 0, 0, 1, 0),
        grid("EPSG:32632", 1e6, 0, -3e7, 0, -1e6, 3e7, size=(10, 10)),
        grid('LOCAL_CS["here",UNIT["metre",1]]', 10, 0, 0, 0, -10, 0),
        grid("EPSG:4326", 10, 0, -180, 0, -1, 90),
    ],
)
def test_nowhere(nowhere: Grid) -> None:
    assert outline(nowhere) is None


@pytest.mark.parametrize("west", [-180 - 1e-10, -180.0, -180 + 1e-10])
def test_what_only_touches_180_degrees_is_not_cut(west: float) -> None:
    found = outline(grid("EPSG:4326", 0.01, 0, west, 0, -0.01, 46))
    assert found is not None
    assert found.geometry["type"] == "Polygon"
    assert check(found.geometry) == pytest.approx(1.0, rel=1e-6)
    assert found.bbox == pytest.approx((-180, 45, -179, 46))


def test_the_whole_world_is_one_polygon() -> None:
    side = 20037508.342789244
    found = outline(grid("EPSG:3857", side / 50, 0, -side, 0, -side / 50, side))
    assert found is not None
    assert check(found.geometry) == pytest.approx(360 * 2 * 85.0511, rel=1e-3)
    assert len(rings(found.geometry)) == 1


def test_a_scene_whose_first_corner_lies_beyond_the_date_line() -> None:
    mirrored = outline(grid("EPSG:4326", -0.01, 0, -179.5, 0, -0.01, 10))
    assert mirrored is not None
    assert mirrored.bbox == pytest.approx((179.5, 9, -179.5, 10))
    assert mirrored.geometry["type"] == "MultiPolygon"
    assert check(mirrored.geometry) == pytest.approx(1.0)


def test_sides_of_a_strip_bend_by_the_pixels_of_the_longer_one() -> None:
    strip = grid("EPSG:32632", 10, 0, 300_000, 0, -10, 5_000_000, size=(10, 10_980))
    found = outline(strip)
    assert found is not None
    assert len(rings(found.geometry)[0]) > 5


def test_a_scene_that_ends_at_180_degrees_is_not_cut() -> None:
    for beyond in (0.0, 1e-10):
        found = outline(grid("EPSG:4326", 0.01, 0, 179 + beyond, 0, -0.01, 46))
        assert found is not None
        assert found.geometry["type"] == "Polygon"
        assert found.bbox == (179, 45, 180, 46)


def test_a_sliver_beyond_180_degrees_is_no_part() -> None:
    found = outline(grid("EPSG:4326", 0.1, 0, 170 + 1.5e-7, 0, -0.1, 46))
    assert found is not None
    assert len(rings(found.geometry)) == 1
    assert check(found.geometry) == pytest.approx(100)


def test_beyond_a_pole_is_nowhere() -> None:
    assert outline(grid("EPSG:4326", 0.01, 0, 9, 0, -0.01, 90.5)) is None
