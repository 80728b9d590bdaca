"""Where pixels of one grid lie in another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS

from nirgeo.grid import Grid
from nirgeo.two_grids import (
    any_inside,
    in_both,
    positions_in,
    reach_in,
    same_crs,
    steps_in,
    turn_of,
)

METRES = "EPSG:32632"
DEGREES = "EPSG:4326"
SCENE = Grid(40, 60, (10, 0, 500_000, 0, -10, 5_000_000), crs=METRES)

corners = st.tuples(st.integers(0, 40), st.integers(0, 60))


def coarser(times: int, down: float = 0, across: float = 0) -> Grid:
    """A grid that lies ``down`` and ``across`` of the scene's pixels away from it."""
    place = (10 * times, 0, 500_000 + 10 * across, 0, -10 * times, 5_000_000 - 10 * down)
    return Grid(-(-40 // times), -(-60 // times), place, crs=METRES)


@given(corners, st.integers(1, 8), st.integers(-20, 20), st.integers(-20, 20))
def test_in_one_crs_it_is_arithmetic(
    corner: tuple[int, int], times: int, down: int, across: int
) -> None:
    rows, cols = (np.array([float(part)]) for part in corner)
    found = positions_in(SCENE, rows, cols, coarser(times, down, across))
    expected = [(corner[0] - down) / times, (corner[1] - across) / times]
    np.testing.assert_allclose([found[0][0], found[1][0]], expected, atol=1e-6)


def test_there_and_back_between_two_crs() -> None:
    degrees = Grid(400, 600, (0.0005, 0, 8.9, 0, -0.0005, 45.2), crs=DEGREES)
    rows, cols = np.array([0.0, 17.5, 40.0]), np.array([0.0, 33.25, 60.0])
    there = positions_in(SCENE, rows, cols, degrees)
    back = positions_in(degrees, *there, SCENE)
    np.testing.assert_allclose(back, (rows, cols), atol=1e-3)


@pytest.mark.parametrize("begins", [-180.0, 0.0, 170.0])
def test_the_globe_may_begin_anywhere(begins: float) -> None:
    here = Grid(10, 10, (1.0, 0, 175.0, 0, -1.0, 5.0), crs=DEGREES)
    globe = Grid(180, 360, (1.0, 0, begins, 0, -1.0, 90.0), crs=DEGREES)
    rows, cols = positions_in(here, np.array([5.0]), np.array([3.0]), globe)
    assert rows[0] == pytest.approx(90)
    assert cols[0] % 360 == pytest.approx((178.0 - begins) % 360)
    assert 0 <= cols[0] <= 360


def test_steps_are_those_of_the_other_grid() -> None:
    (step,) = steps_in(SCENE, coarser(4), np.array([8.0]), np.array([8.0]))
    np.testing.assert_allclose(step, [[0.25, 0], [0, 0.25]], atol=1e-9)


@pytest.mark.parametrize("times", [1, 4, 16])
def test_a_coarse_pixel_reaches_as_far_as_it_is_wide(times: int) -> None:
    assert reach_in(SCENE, coarser(times)) == pytest.approx(times)


def test_nowhere_reaches_without_end() -> None:
    elsewhere = Grid(10, 10, (1, 0, 0, 0, -1, 0), crs=None)
    assert not same_crs(SCENE, elsewhere)
    placeless = Grid(40, 60, (10, 0, 0, 0, -10, 0), gcps=())
    assert same_crs(elsewhere, placeless)
    huge = Grid(10, 10, (1e300, 0, 0, 0, -1e300, 0), crs=METRES)
    assert math.isinf(reach_in(SCENE, huge)) or reach_in(SCENE, huge) > 1e200


def test_what_lies_in_both() -> None:
    marks = np.linspace(0, 1, 5)
    rows, cols, down, across = in_both(SCENE, coarser(1, down=20, across=30), marks)
    assert set(zip(rows, cols, strict=True)) == {
        (row, col) for row in (20, 30, 40) for col in (30, 45, 60)
    }
    np.testing.assert_allclose((down, across), (rows - 20, cols - 30), atol=1e-6)
    assert not any_inside(SCENE, coarser(1, down=41))
    assert any_inside(SCENE, coarser(1, down=39))


def test_the_edges_of_a_grid_lie_in_it() -> None:
    marks = np.linspace(0, 1, 3)
    rows, cols, down, across = in_both(SCENE, SCENE, marks)
    assert set(zip(rows, cols, strict=True)) == {(r, c) for r in (0, 20, 40) for c in (0, 30, 60)}
    np.testing.assert_allclose((down, across), (rows, cols), atol=1e-6)


@pytest.mark.parametrize("degrees", [30, 45, -60, 150])
def test_a_turned_pixel_reaches_over_its_corners(degrees: float) -> None:
    turned = SCENE.affine @ Affine.rotation(degrees) @ Affine.scale(4)
    wide = abs(math.cos(math.radians(degrees))) + abs(math.sin(math.radians(degrees)))
    reach = reach_in(SCENE, Grid(40, 60, tuple(turned)[:6], crs=METRES))
    assert reach == pytest.approx(4 * wide)


def test_a_pixel_that_is_sheared_reaches_as_far_as_its_longer_side() -> None:
    for shear in ((40, 70, -20, -40), (40, -70, 20, -40), (40, 20, -70, -40)):
        a, b, d, e = shear
        sheared = Grid(40, 60, (a, b, 500_000, d, e, 5_000_000), crs=METRES)
        reach = max(abs(a) + abs(b), abs(d) + abs(e)) / 10
        assert reach_in(SCENE, sheared) == pytest.approx(reach)


@pytest.mark.parametrize("turn", [30, 90])
def test_columns_of_a_turned_grid_are_no_longitudes(turn: float) -> None:
    place = Affine.translation(9, 45) @ Affine.rotation(turn) @ Affine.scale(0.5, -0.5)
    if turn == 90:
        place = Affine(0, 0.5, 9, 0.5, 0, 45)  # exactly: of cos 90° something is left
    degrees = Grid(40, 60, tuple(place)[:6], crs=DEGREES)
    assert turn_of(degrees) is None
    rows, cols = np.array([3.0]), np.array([7.0])
    np.testing.assert_allclose(positions_in(degrees, rows, cols, degrees), (rows, cols), atol=1e-9)


def test_one_crs_may_have_two_names() -> None:
    named = Grid(40, 60, SCENE.transform, crs=CRS.from_epsg(32632).to_wkt())
    assert same_crs(SCENE, named)
    assert not same_crs(SCENE, Grid(40, 60, SCENE.transform, crs="EPSG:32633"))
