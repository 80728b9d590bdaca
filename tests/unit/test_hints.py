"""The colour hint: its coding, and that it depends on the place alone."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from nirgeo import hints, location_prior
from nirgeo.errors import ModelError
from nirgeo.grid import Grid
from nirgeo.location_prior import (
    LEVELS,
    RANGE,
    HintField,
    ToneMap,
    hint_at,
    hint_field,
    look_up,
    uniform_hint,
)

TONES = ToneMap((0.1, -0.3), ((0.5, 0.0), (0.0, 0.5)), (0.15, 0.15))
SAHARA, AMAZON, ATLANTIC = (9.0, 23.5), (-62.0, -5.0), (-35.0, 30.0)


def place(lon: float, lat: float) -> tuple[np.ndarray, float]:
    ratios, land = look_up(np.array([lon]), np.array([lat]))
    return ratios[:, 0], float(land[0])


def test_trust_is_one_without_error_and_falls() -> None:
    assert hints.trust(0.0) == 1
    assert hints.trust(hints.HALF_TRUST) == pytest.approx(0.5)
    assert hints.trust(10.0) < 0.02


def test_ratios_and_their_coding() -> None:
    colour = np.array([0.4, 0.2, 0.1])
    ratios = hints.log_ratios(colour)
    np.testing.assert_allclose(ratios, [np.log(2), -np.log(2)])
    coded = hints.encode(ratios[:, None], np.array([0.5]))[:, 0]
    np.testing.assert_allclose(coded, [np.log(2) / 2, -np.log(2) / 2, 0.5], rtol=1e-6)
    assert np.isfinite(hints.log_ratios(np.zeros(3))).all()
    assert (hints.encode(ratios[:, None], np.zeros(1)) == 0).all()


def test_upsampling_keeps_a_constant_and_is_linear_between_centres() -> None:
    constant = np.full((3, 2, 2), 0.7, dtype=np.float32)
    np.testing.assert_allclose(hints.upsample(constant, 16, 16), 0.7, rtol=1e-6)
    cells = np.zeros((3, 1, 2), dtype=np.float32)
    cells[:, 0, 1] = 1
    row = hints.upsample(cells, 1, 8)[0, 0]
    np.testing.assert_allclose(row, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], rtol=1e-6)


def test_the_map_knows_desert_forest_and_sea() -> None:
    desert, land = place(*SAHARA)
    assert land > 0.99
    assert desert[0] > 0.3, "the Sahara is red"
    forest, land = place(*AMAZON)
    assert land > 0.9
    assert forest[0] < 0, "the Amazon is green"
    assert place(*ATLANTIC)[1] == 0


def test_longitudes_wrap_and_nonsense_is_unknown() -> None:
    east, _ = place(179.99, 68.0)
    west, _ = place(-180.01, 68.0)
    np.testing.assert_allclose(east, west, atol=1e-9)
    for lon, lat in ((np.nan, 10.0), (10.0, np.inf), (10.0, 95.0)):
        assert place(lon, lat)[1] == 0


@given(
    row=st.integers(0, 3000),
    col=st.integers(0, 3000),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_a_cell_depends_on_its_place_alone(row: int, col: int, height: int, width: int) -> None:
    nodes = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    field = HintField(192, nodes)
    row, col = row // 4 * 4, col // 4 * 4
    window = field.cells(row, col, height, width, 4)
    larger = field.cells(max(0, row - 40), max(0, col - 80), height + 30, width + 40, 4)
    down, right = (row - max(0, row - 40)) // 4, (col - max(0, col - 80)) // 4
    np.testing.assert_array_equal(window, larger[:, down : down + height, right : right + width])


def grid(lon: float, lat: float, **changes: object) -> Grid:
    affine = rasterio.Affine(1e-4, 0, lon, 0, -1e-4, lat)
    facts: dict[str, object] = {"crs": "EPSG:4326", "transform": tuple(affine)[:6]}
    return Grid(height=300, width=500, **(facts | changes))  # type: ignore[arg-type]


def test_the_field_of_a_scene_says_what_the_map_and_the_tones_say() -> None:
    field = hint_field(grid(*SAHARA), TONES)
    assert field is not None
    ratios, _ = place(*SAHARA)
    trusted = float(hints.trust(0.15))
    expected = np.append(TONES.apply(ratios[:, None])[:, 0] * trusted, trusted)
    np.testing.assert_allclose(field.nodes[:, 0, 0], expected, atol=0.02)
    assert field.cells(0, 0, 75, 125, 4).shape == (3, 75, 125)


def test_without_a_place_or_at_sea_there_is_no_hint() -> None:
    assert hint_field(grid(*SAHARA, crs=None), TONES) is None
    assert hint_field(grid(*ATLANTIC), TONES) is None


def test_ground_control_points_are_a_place_too() -> None:
    lon, lat = SAHARA
    corners = ((0.0, 0.0), (0.0, 500.0), (300.0, 0.0), (300.0, 500.0))
    gcps = tuple((r, c, lon + c * 1e-4, lat - r * 1e-4, 0.0) for r, c in corners)
    identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    tied = Grid(300, 500, identity, None, gcps, "EPSG:4326")
    a, b = hint_field(tied, TONES), hint_field(grid(lon, lat), TONES)
    assert a is not None
    assert b is not None
    np.testing.assert_allclose(a.nodes, b.nodes, atol=1e-4)


def test_the_lattice_stays_small_for_any_scene() -> None:
    affine = rasterio.Affine(10, 0, 4e5, 0, -10, 6e6)
    huge = Grid(100_000, 60_000, tuple(affine)[:6], "EPSG:32633")
    field = hint_field(huge, TONES)
    assert field is not None
    assert max(field.nodes.shape[1:]) <= 65
    assert field.spacing % 64 == 0
    assert field.spacing * (field.nodes.shape[1] - 1) >= 100_000


@pytest.mark.parametrize(
    "damage",
    [{"offset": [1]}, {"matrix": [[1, 2], [3, None]]}, {"error": [float("nan"), 1]}, {"error": -1}],
    ids=str,
)
def test_damaged_tones_are_refused(damage: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="tone map"):
        ToneMap.from_json(TONES.to_json() | damage)
    assert ToneMap.from_json(TONES.to_json()) == TONES


def test_one_expected_colour_holds_for_a_scene_of_any_size() -> None:
    hint = uniform_hint(np.array([0.3, -0.2]), 0.1, "a friend")
    cells = hint.cells(5000, 70, 3, 4, 4)
    trust = float(hints.trust(0.1))
    np.testing.assert_allclose(cells[0], 0.3 * trust, rtol=1e-6)
    np.testing.assert_allclose(cells[1], -0.2 * trust, rtol=1e-6)
    np.testing.assert_allclose(cells[2], trust, rtol=1e-6)
    assert hint.describe() == "a friend: log(R/G) 0.300, log(B/G) -0.200, trust 0.50"


def test_a_position_alone_has_the_hint_of_a_scene_there() -> None:
    lon, lat = SAHARA
    grid = Grid(64, 64, (1e-4, 0.0, lon, 0.0, -1e-4, lat), "EPSG:4326")
    field, alone = hint_field(grid, TONES), hint_at(lon, lat, TONES)
    assert field is not None
    assert alone is not None
    np.testing.assert_allclose(
        field.cells(0, 0, 1, 1, 4), alone.cells(0, 0, 1, 1, 4), rtol=1e-4, atol=1e-5
    )
    assert alone.describe().startswith("location prior (Blue Marble): log(R/G)")
    assert hint_at(*ATLANTIC, TONES) is None


def test_tones_are_offset_plus_matrix_times_ratios() -> None:
    tones = ToneMap((0.1, -0.2), ((1.0, 0.5), (0.0, 2.0)), (0.1, 0.1))
    np.testing.assert_allclose(
        tones.apply(np.array([[0.3], [0.4]])), [[0.1 + 0.3 + 0.2], [-0.2 + 0.8]]
    )


@pytest.fixture
def little_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four by eight pixels of 45°: level 128 + 20 · column, and one half of them sea."""
    coded = np.zeros((2, 4, 8), dtype=np.uint8)
    coded[:, :, :4] = 128 + 20 * np.arange(4)
    coded[0, :, 5] = 128  # a ratio of one colour alone is none
    monkeypatch.setattr(location_prior, "_prior_raster", lambda: coded)


def test_places_are_the_middles_of_pixels(little_world: None) -> None:
    longitude = np.array([-157.5, -135.0, -112.5, -22.5, 0.0, 67.5, np.inf])
    ratios, land = look_up(longitude, np.full(7, 22.5))
    levels = (ratios[0] + RANGE) / (2 * RANGE) * (LEVELS - 1) + 1
    np.testing.assert_allclose(levels[:5], [128, 138, 148, 188, 188])
    np.testing.assert_allclose(land, [1, 1, 1, 1, 0.5, 0, 0])


def test_at_sea_nothing_is_trusted(little_world: None) -> None:
    tones = ToneMap((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), (0.1, 0.1))
    scene = Grid(64, 128, (90 / 128, 0, 0.0, 0, -0.01, 23.0), crs="EPSG:4326")
    field = hint_field(scene, tones)
    assert field is not None
    np.testing.assert_allclose(field.nodes[2, 0], [hints.trust(0.1), 0, 0], atol=1e-6)


def test_rows_of_the_map_run_from_north_to_south(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = np.broadcast_to(50 + 20 * np.arange(4, dtype=np.uint8)[:, None], (2, 4, 8))
    monkeypatch.setattr(location_prior, "_prior_raster", lambda: coded)
    latitude = np.array([67.5, 45.0, 22.5, -67.5, 90.0, -90.0])  # beyond the last middles it stays
    ratios, land = look_up(np.zeros(6), latitude)
    levels = (ratios[1] + RANGE) / (2 * RANGE) * (LEVELS - 1) + 1
    np.testing.assert_allclose(levels, [50, 60, 70, 110, 50, 110])
    np.testing.assert_allclose(land, 1)


def test_a_cell_has_the_hint_of_its_middle() -> None:
    rows, cols = np.indices((5, 6), dtype=np.float32)
    field = HintField(64, np.stack([rows, cols, 10 * rows + cols]))
    cells = field.cells(128, 64, 2, 3, 4)
    down, across = (128 + np.array([2, 6])) / 64, (64 + np.array([2, 6, 10])) / 64
    np.testing.assert_allclose(cells[0], np.repeat(down[:, None], 3, axis=1), rtol=1e-6)
    np.testing.assert_allclose(cells[1], np.repeat(across[None], 2, axis=0), rtol=1e-6)
    np.testing.assert_allclose(cells[2], 10 * down[:, None] + across, rtol=1e-6)


def test_trust_is_that_of_both_ratios_errors() -> None:
    tones = ToneMap((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), (0.1, 0.3))
    field, alone = hint_field(grid(*SAHARA), tones), hint_at(*SAHARA, tones)
    assert field is not None
    assert alone is not None
    np.testing.assert_allclose(field.nodes[2], hints.trust(0.2), rtol=1e-6)
    np.testing.assert_allclose(alone.nodes[2], hints.trust(0.2), rtol=1e-6)


def test_tones_keep_rows_and_columns_through_json() -> None:
    tones = ToneMap((0.1, -0.2), ((1.0, 0.5), (0.25, 2.0)), (0.1, 0.3))
    assert ToneMap.from_json(tones.to_json()) == tones
