"""Shifts are found, neighbours stay together, and the rules are those that are written down."""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from evaluation_scenes import ground, shifted_place, write_scene
from helpers import NORTH_UP_10M, write_raster
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform
from stac_items import item

from nirgeo.errors import OptionError, SourceError, TrainingError
from nirgeo.georeference import map_positions
from nirgeo.grid import Grid
from nirgeo.preparation import prepare as prepare_module
from nirgeo.preparation.candidates import (
    Candidate,
    Facts,
    from_folder,
    from_items,
    named,
    read_table,
    table_notes,
)
from nirgeo.preparation.clouds import cloud_like
from nirgeo.preparation.places import (
    KM_PER_DEGREE,
    Footprint,
    footprint,
    group_scenes,
    neighbours,
    split_places,
)
from nirgeo.preparation.prepare import Rules, _day, prepare
from nirgeo.preparation.registration import find_shift
from nirgeo.preparation.tiles import BANDS, tile_windows, write_tile
from nirgeo.radiometry import Quantity
from nirgeo.stac.document import Document
from nirgeo.stac.item import parse_item
from nirgeo.tiling import Window


def bands(height: int, width: int, down: int = 0, right: int = 0):
    """Visible light and near infrared of one ground, the latter moved."""
    values = np.sqrt(ground(height + 16, width + 16, seed=5)).astype(np.float32)
    visible = values[:3].mean(axis=0)[8 : 8 + height, 8 : 8 + width]
    nir = values[3][8 - down : 8 - down + height, 8 - right : 8 - right + width]
    return visible, nir, np.ones((height, width), dtype=bool)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (0, -2), (3, 5), (-7, 4)])
@pytest.mark.parametrize("shape", [(64, 64), (120, 200)])
def test_a_shift_is_found(shape: tuple[int, int], down: int, right: int) -> None:
    shift = find_shift([bands(*shape, down, right)])
    assert shift.known
    assert (shift.down, shift.right) == pytest.approx((down, right), abs=0.35)
    assert shift.pixels == pytest.approx(np.hypot(down, right), abs=0.4)


def test_contrast_may_be_inverted_and_parts_missing() -> None:
    visible, nir, valid = bands(128, 128, 2, -3)
    valid[:40, :50] = False
    nir = np.where(valid, 1.2 - nir, 99).astype(np.float32)
    shift = find_shift([(visible, nir, valid)])
    assert shift.known
    assert (shift.down, shift.right) == pytest.approx((2, -3), abs=0.35)


def test_where_there_is_no_edge_nothing_is_claimed(rng: np.random.Generator) -> None:
    flat, valid = np.full((64, 64), 0.3, dtype=np.float32), np.ones((64, 64), dtype=bool)
    assert not find_shift([(flat, flat, valid)]).known
    assert not find_shift([(flat, flat, ~valid)]).known
    assert not find_shift([]).known
    noise = rng.normal(0.3, 0.01, (2, 64, 64)).astype(np.float32)
    assert not find_shift([(noise[0], noise[1], valid)]).known


def test_cloud_is_bright_and_white() -> None:
    colours = np.array(
        [[0.30, 0.45, 0.10, 0.80], [0.29, 0.35, 0.10, 0.82], [0.31, 0.26, 0.10, 0.85]]
    )[:, None].astype(np.float32)
    assert cloud_like(colours, Quantity.REFLECTANCE).tolist() == [[True, False, False, True]]
    counts = np.array([[250, 250, 150], [245, 205, 150], [240, 230, 150]], dtype=np.float32)
    assert cloud_like(counts[:, None], Quantity.COUNTS).tolist() == [[True, False, False]]


def box(lon: float, lat: float = 45.0, side: float = 0.05) -> Footprint:
    return Footprint(lon, lat, lon + side, lat + side)


def test_neighbours_are_one_place_and_so_is_what_they_connect() -> None:
    # A degree of longitude at 45° is about 79 km; boxes are 0.05° wide.
    places = group_scenes(
        ["a", "b", "c", "far", "no place", "named", "named too"],
        [box(10), box(10.2), box(10.4), box(14), None, None, box(14.1)],
        [None, None, None, None, None, "lake", "lake"],
        distance_km=15,
    )
    assert places == ["a", "a", "a", "lake", "no place", "lake", "lake"]
    apart = group_scenes(["a", "b"], [box(10), box(10.2)], [None, None], distance_km=5)
    assert apart == ["a", "b"]


def test_neighbours_across_the_date_line() -> None:
    assert group_scenes(["e", "w"], [box(179.9), box(-179.95)], [None, None], distance_km=30) == [
        "e",
        "e",
    ]


@pytest.mark.parametrize("metres", [0.0, 2000.0, -2000.0, 30_000.0])
def test_scenes_on_the_date_line_lie_where_they_lie(metres: float) -> None:
    # The first reaches over 180° of longitude; the other overlaps it, or lies to one side.
    def at(x: float) -> Footprint:
        grid = Grid(100, 100, (10.0, 0.0, x, 0.0, -10.0, 8_000_000.0), "EPSG:32760")
        found = footprint(grid)
        assert found is not None
        return found

    across, other = at(817_200.0), at(817_200.0 + metres)
    assert across.west == pytest.approx(179.996, abs=1e-3)
    assert across.east == pytest.approx(180.006, abs=1e-3)
    boxes, names = [across, other], ["a", "b"]
    for order in (1, -1):
        places = group_scenes(names, boxes[::order], [None, None], distance_km=1.5)
        assert places == (["a", "b"] if metres == 30_000 else ["a", "a"])


def test_control_points_on_both_sides_of_the_date_line() -> None:
    corners = ((0.0, 0.0, 179.9, -16.0, 0.0), (10.0, 10.0, -179.9, -16.2, 0.0))
    found = footprint(Grid(10, 10, (1, 0, 0, 0, 1, 0), None, corners, "EPSG:4326"))
    assert found is not None
    assert (found.west, found.east) == pytest.approx((179.9, 180.1))
    # All round the earth.
    world = tuple((0.0, 0.0, lon, 10.0 * k, 0.0) for k, lon in enumerate((-180.0, 0.0, 180.0)))
    found = footprint(Grid(10, 10, (1, 0, 0, 0, 1, 0), None, world, "EPSG:4326"))
    assert found == Footprint(-180.0, 0.0, 180.0, 20.0)


def test_centres_are_longitudes() -> None:
    assert Footprint.of(179.0, 10.0, -178.0, 20.0).centre == (-179.5, 15.0)
    assert Footprint.of(178.0, 10.0, -179.0, 20.0).centre == (179.5, 15.0)
    assert Footprint.of(-10.0, 10.0, 20.0, 20.0).centre == (5.0, 15.0)
    assert Footprint.of(190.0, 10.0, 200.0, 20.0).centre == (-165.0, 15.0)


@given(west=st.floats(-180, 180), wide=st.floats(0, 90), away=st.floats(0.01, 90))
def test_gaps_do_not_know_where_longitudes_begin(west: float, wide: float, away: float) -> None:
    # On the equator, where a degree is 111.32 km.
    start = (west + wide + away + 180) % 360 - 180
    first, second = Footprint(west, 0, west + wide, 0), Footprint(start, 0, start + 1, 0)
    for boxes in ([first, second], [second, first]):
        for share, together in ((0.999, False), (1.001, True)):
            places = group_scenes(["a", "b"], boxes, [None, None], away * KM_PER_DEGREE * share)
            assert (places[0] == places[1]) is together


def test_footprint_from_a_transform_or_from_control_points() -> None:
    utm = Grid(100, 200, (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0), "EPSG:32632")
    found = footprint(utm)
    assert found is not None
    assert found.west == pytest.approx(9.0, abs=1e-6)
    assert found.east == pytest.approx(9.0254, abs=1e-3)
    corners = ((0.0, 0.0, 7.0, 46.0, 0.0), (10.0, 10.0, 7.5, 45.5, 0.0))
    points = Grid(10, 10, (1, 0, 0, 0, 1, 0), None, corners, "EPSG:4326")
    assert footprint(points) == Footprint(7.0, 45.5, 7.5, 46.0)
    assert footprint(Grid(10, 10, (1, 0, 0, 0, 1, 0))) is None


def test_neighbours_are_those_within_a_distance() -> None:
    north = 20 / KM_PER_DEGREE
    others = {"far": (10.0, 45.0), "sea": (179.95, 10.0), "twin": (10.0, 45.0)}
    asked = {
        "same": (10.0, 45.0),
        "just": (10.0, 45 + 0.99 * north),
        "no more": (10.0, 45 + 1.01 * north),
        "beyond 180": (-179.95, 10.0),  # 11 km
        "shrunk": (10.25, 45.0),  # 20 km where degrees are 79 km
    }
    assert neighbours(asked, others) == {
        "same": "far",
        "just": "far",
        "beyond 180": "sea",
        "shrunk": "far",
    }
    assert neighbours(asked, others, 30.0)["no more"] == "far"
    assert neighbours(asked, {}) == neighbours({}, others) == {}


def test_split_is_deterministic_whole_and_about_as_asked() -> None:
    sizes = {f"place {k}": 100 for k in range(50)}
    chosen = split_places(sizes, 0.2)
    assert chosen == split_places(dict(reversed(sizes.items())), 0.2)
    assert len(chosen) == 10
    assert split_places(sizes, 0.2, seed=1) != chosen
    assert split_places({"only": 5}, 0.5) == set()
    assert split_places({"large": 90, "small": 10}, 0.05) == {"small"}
    assert split_places({"a": 1, "b": 1}, 1.0) in ({"a"}, {"b"})
    assert split_places(sizes, 0.0) == set()


def test_tiles_cover_a_scene_without_slivers() -> None:
    found = [(row, col, w.height, w.width) for row, col, w in tile_windows((300, 200), 128)]
    assert found == [
        (0, 0, 128, 128), (0, 1, 128, 72),
        (1, 0, 128, 128), (1, 1, 128, 72),
    ]  # fmt: skip
    assert [w.height for _, _, w in tile_windows((64, 64), 256)] == [64]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tile": 100}, "--tile 100"),
        ({"min_valid": 1.5}, "--min-valid 1.5"),
        ({"max_cloud": -0.1}, "--max-cloud -0.1"),
        ({"max_shift": 0.0}, "--max-shift 0"),
    ],
)
def test_rules_out_of_range_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Rules(**wrong)  # type: ignore[arg-type]


def test_coordinates_that_lie_beyond_their_system_are_no_place() -> None:
    # Once for each transformation GDAL's own error comes through rasterio; later it is infinite.
    beyond = Grid(10, 10, (1e6, 0.0, -3e7, 0.0, -1e6, 3e7), "EPSG:32632")
    rows, cols = np.meshgrid(np.linspace(0, 10, 6), np.linspace(0, 10, 6))
    for _ in range(2):
        place = map_positions(beyond, rows, cols, CRS.from_epsg(4326))
        assert place is None or not np.isfinite(place).any()
        assert footprint(beyond) is None


def names_of(*stems: str) -> dict[str, str]:
    """What scenes of one folder are called."""
    candidates = [Candidate(f"{stem}.tif", open=pytest.fail, stem=stem) for stem in stems]
    return {candidate.stem: name for candidate, name in named(candidates)}


def test_names_keep_letters_of_every_script() -> None:
    assert names_of("東京", "São_Paulo.2", "S2A_x-1") == {
        "東京": "東京", "São_Paulo.2": "São_Paulo.2", "S2A_x-1": "S2A_x-1",
    }  # fmt: skip
    assert list(names_of("Zu\u0308rich").values()) == ["Z\u00fcrich"]


STEMS = st.text(st.sampled_from("ab_ /-.é東\u0301\u0903!'"), min_size=1, max_size=6)


@given(stem=STEMS, others=st.lists(STEMS, max_size=6))
def test_a_name_does_not_depend_on_other_scenes(stem: str, others: list[str]) -> None:
    def form(text: str) -> str:
        return unicodedata.normalize("NFC", text)

    others = list({form(other): other for other in others if form(other) != form(stem)}.values())
    together = names_of(*sorted([stem, *others]))
    assert together[stem] == names_of(stem)[stem]
    assert len(set(together.values())) == len(together)


def test_names_fit_a_file_system() -> None:
    found = names_of("山" * 200, "山" * 201, "a\udcff", "a/b", "a b")
    assert len(set(found.values())) == 5
    for name in found.values():
        assert "/" not in name
        assert len(name.encode()) < 200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_by_file(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "in").mkdir()
    table = tmp_path / "facts.csv"
    table.write_text("file,group,date\nsub\\a.tif,Zürich,2020-01-01,more\nb.tif\n", encoding)
    found = read_table(table, tmp_path / "in")
    assert Facts(table=found).get("sub/a.tif", "group") == "Zürich"
    assert Facts(table=found, licence="CC0").get("b.tif", "licence") == "CC0"
    assert Facts(table=found).get("b.tif", "group") == ""
    table.write_text("group\nx\n", encoding)
    with pytest.raises(TrainingError, match=r"--index .* has no column 'file'"):
        read_table(table)
    table.write_bytes(b"file\n\xff\n")
    with pytest.raises(TrainingError, match=r"--index .* can't be read"):
        read_table(table)


def test_a_table_of_other_scenes_is_refused() -> None:
    table = {"x.tif": {"group": "X"}, "y.tif": {"group": "X"}}
    assert table_notes(table, ["x.tif"]) == []
    assert table_notes({}, ["x.tif"]) == []
    assert table_notes(table, ["a.tif", "x.tif"]) == [
        "1 of 2 scenes have no line in --index: a.tif"
    ]
    with pytest.raises(
        TrainingError, match=r"none of 2 scenes: it names x\.tif, y\.tif.* a\.tif, b"
    ):
        table_notes(table, ["a.tif", "b.tif"])


def test_bands_are_named_for_files_that_do_not_say(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 255, (4, 80, 80), dtype=np.uint8)
    write_raster(tmp_path / "said.tif", values, descriptions=("nir", "red", "green", "blue"))
    write_raster(tmp_path / "silent.tif", values)
    write_raster(tmp_path / "half.tif", values, descriptions=("x", "nir", "y", "z"))
    roles = {"red": "1", "green": "2", "blue": "3", "nir": "4"}
    found = {c.file: dict(c.open().roles) for c in from_folder(tmp_path, roles)}
    usual = {"red": 1, "green": 2, "blue": 3, "nir": 4}
    assert found == {
        "said.tif": {"nir": 1, "red": 2, "green": 3, "blue": 4},
        "silent.tif": usual,
        "half.tif": usual,
    }


def test_dates_are_those_of_names_before_those_of_folders(tmp_path: Path) -> None:
    dated = {
        "2019-05-01/S2A_20200610T101031.tif": "2020-06-10",
        "2019-05-02/b.tif": "2019-05-02",
        "2018.07.01/2017-01-01/c.tif": "2017-01-01",
        "order_9920200610.tif": "",  # a number with more figures is no date
        "202006101.tif": "",
    }
    for name in dated:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert {c.file: c.known["date"] for c in from_folder(tmp_path, None)} == dated


def test_an_item_lies_at_the_centre_of_its_box() -> None:
    scene = parse_item(Document(item({}, bbox=[9.0, 45.0, 9.5, 45.2]), "/x.json"))
    (found,) = from_items([scene], None, None, Facts(licence="CC0"))
    assert (found.known["lon"], found.known["lat"]) == ("9.25000", "45.10000")


def test_bright_soil_and_what_has_a_colour_are_no_cloud() -> None:
    colours = np.array([[0.24, 0.45], [0.23, 0.35], [0.22, 0.31]], dtype=np.float32)[:, None]
    assert not cloud_like(colours, Quantity.REFLECTANCE).any()


def test_neighbours_in_the_north_are_as_far_as_those_in_the_east() -> None:
    # A tenth of a degree of latitude between them: 11.1 km.
    boxes = [box(10, 45.0), box(10, 45.15)]
    for distance, wanted in ((11.0, ["a", "b"]), (11.3, ["a", "a"])):
        assert group_scenes(["a", "b"], boxes, [None, None], distance) == wanted
        assert group_scenes(["a", "b"], boxes[::-1], [None, None], distance) == wanted


def test_a_gap_is_measured_where_longitudes_are_closest() -> None:
    # 0.15° are 16.7 km at the equator and 8.3 km at 60° north, which one of the two reaches.
    boxes = [Footprint(10, 0, 11, 60), Footprint(11.15, 0, 11.2, 1)]
    for order in (1, -1):
        assert group_scenes(["a", "b"], boxes[::order], [None, None], 10) == ["a", "a"]


def test_shifts_are_told_to_parts_of_a_pixel() -> None:
    fine = np.sqrt(ground(272, 272, seed=5)).astype(np.float32)

    def coarse(band: np.ndarray, right: int) -> np.ndarray:
        return band[8:264, 8 - right : 264 - right].reshape(64, 4, 64, 4).mean(axis=(1, 3))

    valid = np.ones((64, 64), dtype=bool)
    for right in (-5, -3, -1, 1, 3, 5):  # quarters of a pixel
        found = find_shift([(coarse(fine[3], 0), coarse(fine[3], right), valid)])
        assert found.right == pytest.approx(right / 4, abs=0.15)
        assert found.down == pytest.approx(0, abs=0.15)


def test_scattered_missing_pixels_are_no_edges(rng: np.random.Generator) -> None:
    # Both bands lack the same ones: as edges they would say that nothing is shifted.
    visible, nir, valid = bands(128, 128, 2, -3)
    valid &= rng.random(valid.shape) > 0.05
    shift = find_shift([(visible, nir, valid)])
    assert shift.known
    assert (shift.down, shift.right) == pytest.approx((2, -3), abs=0.35)


def test_every_window_of_a_scene_has_a_say_in_its_shift() -> None:
    flat = np.full((64, 64), 0.3, dtype=np.float32)
    nothing = (flat, flat, np.ones((64, 64), dtype=bool))
    for windows in ([bands(64, 64, 2, -3), nothing], [nothing, bands(64, 64, 2, -3)]):
        shift = find_shift(windows)
        assert shift.known
        assert (shift.down, shift.right) == pytest.approx((2, -3), abs=0.35)


def test_a_tile_of_reflectance_is_rounded_and_lies_where_it_was_cut(tmp_path: Path) -> None:
    grid = Grid(300, 400, (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0), "EPSG:32632")
    values = np.full((4, 64, 70), 0.12346, dtype=np.float32)
    values[:, 0, 0], values[:, 0, 1] = -0.01, 0.2  # dark water, and a missing pixel
    valid = np.ones((64, 70), dtype=bool)
    valid[0, 1] = False
    window = Window(128, 200, 64, 70)
    write_tile(tmp_path / "t.tif", values, valid, Quantity.REFLECTANCE, grid, window)
    with rasterio.open(tmp_path / "t.tif") as file:
        assert file.read(2)[:2, :3].tolist() == [[1, 0, 1235], [1235] * 3]
        assert tuple(file.transform)[:6] == (10, 0, 502_000, 0, -10, 4_998_720)
        assert (file.dataset_mask()[0, :3] > 0).tolist() == [True, False, True]


def test_a_tile_of_counts_keeps_what_is_missing(tmp_path: Path) -> None:
    grid, valid = Grid(64, 64, (1, 0, 0, 0, 1, 0)), np.ones((64, 64), dtype=bool)
    values = np.full((4, 64, 64), 99.6, dtype=np.float32)
    valid[5, 6] = False
    for missing in (False, True):
        seen = valid if missing else np.ones_like(valid)
        path = tmp_path / f"{missing}.tif"
        write_tile(path, values, seen, Quantity.COUNTS, grid, Window(0, 0, 64, 64))
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.dataset_mask() > 0, seen)
            assert file.read(1)[9, 9] == 100


def index_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "index.csv", newline="") as lines:
        return list(csv.DictReader(lines))


SMALL = Rules(tile=64)


def test_a_tile_without_data_is_none(tmp_path: Path) -> None:
    values = ground(64, 192, seed=1)
    values[:, :, 128:] = 0
    write_scene(tmp_path / "in" / "a.tif", values)
    done = prepare(tmp_path / "in", tmp_path / "out", rules=replace(SMALL, min_valid=0.0))
    assert done.tiles == 2
    assert done.scenes[0]["tiles_without_data"] == 1


def test_clouds_are_a_share_of_what_was_measured(tmp_path: Path) -> None:
    values = ground(64, 128, seed=1)
    values[:3, :20, 64:] = 0.6  # 31% of the tile's pixels, and 62% of those that are valid
    values[:, 32:, 64:] = 0
    write_scene(tmp_path / "in" / "a.tif", values)
    for share, kept in ((0.5, 1), (0.7, 2)):
        out = tmp_path / f"out{kept}"
        assert prepare(tmp_path / "in", out, rules=replace(SMALL, max_cloud=share)).tiles == kept


def test_whoever_wants_clouds_gets_tiles_full_of_them(tmp_path: Path) -> None:
    values = ground(64, 128, seed=1)
    values[:3, :, 64:] = 0.6
    write_scene(tmp_path / "in" / "a.tif", values)
    done = prepare(tmp_path / "in", tmp_path / "out", rules=replace(SMALL, max_cloud=1.0))
    assert done.tiles == 2


def test_the_index_tells_size_and_centre_of_every_tile(tmp_path: Path) -> None:
    write_scene(tmp_path / "in" / "a.tif", ground(140, 330, seed=1))
    prepare(tmp_path / "in", tmp_path / "out", rules=Rules(tile=128))
    rows = index_of(tmp_path / "out")
    assert len(rows) == 3
    for row in rows:
        with rasterio.open(tmp_path / "out" / row["file"]) as tile:
            assert (int(row["height"]), int(row["width"])) == tile.shape
            x, y = tile.transform @ (tile.width / 2, tile.height / 2)
            (lon,), (lat,) = transform(tile.crs, CRS.from_epsg(4326), [x], [y])
        assert (float(row["lon"]), float(row["lat"])) == pytest.approx((lon, lat), abs=2e-5)


def test_a_scene_of_one_tile_is_a_scene(tmp_path: Path) -> None:
    write_scene(tmp_path / "in" / "a.tif", ground(64, 64, seed=1))
    assert prepare(tmp_path / "in", tmp_path / "out", rules=SMALL).tiles == 1


@pytest.mark.parametrize(("colour", "pair"), [(0, "green and red"), (2, "green and blue")])
def test_every_colour_must_lie_on_the_others(tmp_path: Path, colour: int, pair: str) -> None:
    for name in ("a", "b"):
        values = ground(140, 140, seed=ord(name))
        if name == "b":
            values[colour] = np.roll(values[colour], 3, axis=0)
        write_scene(tmp_path / "in" / f"{name}.tif", values)
    done = prepare(tmp_path / "in", tmp_path / "out", rules=replace(SMALL, max_shift=2.0))
    assert list(done.rejected) == ["b.tif"]
    assert done.rejected["b.tif"].startswith(f"{pair} lie 3.")


def test_a_shift_that_is_not_sure_rejects_nothing(tmp_path: Path) -> None:
    values = ground(64, 64, seed=1)
    values[3] = np.random.default_rng(2).uniform(0.2, 0.5, (64, 64))  # no edge of the colours
    write_scene(tmp_path / "in" / "a.tif", values)
    done = prepare(tmp_path / "in", tmp_path / "out", rules=SMALL)
    shift = done.scenes[0]["shifts"]["visible and nir"]
    assert not shift["known"]
    assert np.hypot(shift["down"], shift["right"]) > SMALL.max_shift
    assert done.tiles == 1


def test_only_what_is_used_of_a_scene_is_looked_at(tmp_path: Path) -> None:
    # In the west all is well; in the east near infrared lies elsewhere, and pixels seem missing.
    values = ground(128, 256, seed=1)
    values[3, :, 128:] = np.roll(values[3, :, 128:], 4, axis=0)
    stored = np.rint(values * 10_000).astype(np.int16)
    stored[:, 100:, 128:] = -9999
    tags = {"REFLECTANCE_SCALE": "0.0001"}
    path = tmp_path / "in" / "a.tif"
    write_raster(path, stored, descriptions=("red", "green", "blue", "nir"), tags=tags)

    def at(x: float) -> float:
        utm = CRS.from_user_input("EPSG:32632")
        return transform(utm, CRS.from_epsg(4326), [500_000 + 10 * x], [4_999_000])[0][0]

    west, east = (at(1), 44.0, at(120), 46.0), (at(136), 44.0, at(255), 46.0)
    done = prepare(tmp_path / "in", tmp_path / "west", area=west, rules=SMALL)
    assert done.scenes[0]["doubts"] == []
    with pytest.raises(TrainingError, match="visible and nir lie"):
        prepare(tmp_path / "in", tmp_path / "east", area=east, rules=SMALL)
    done = prepare(tmp_path / "in", tmp_path / "out", area=east, rules=replace(SMALL, max_shift=9))
    assert any("-9999" in doubt for doubt in done.scenes[0]["doubts"])
    for tile in (tmp_path / "out").rglob("*.tif"):
        with rasterio.open(tile) as file:
            col, row = (round(v) for v in ~NORTH_UP_10M @ (file.transform.c, file.transform.f))
            assert 128 < col <= 192
            wanted = stored[:, row : row + 64, col : col + 64]
            np.testing.assert_array_equal(file.read(), np.maximum(wanted, 1))


def test_validation_is_a_share_of_the_pixels(tmp_path: Path) -> None:
    for k, (name, side) in enumerate((("large", 128), ("small", 64))):
        write_scene(
            tmp_path / "in" / f"{name}.tif",
            ground(side, side, seed=k),
            transform=shifted_place(100 * k),
        )
    for seed in range(4):  # "small" is a fifth of the pixels, and half of the tiles
        out = tmp_path / str(seed)
        prepare(tmp_path / "in", out, rules=Rules(tile=128, validation=0.5, seed=seed))
        sides = {row["group"]: row["file"].split("/")[0] for row in index_of(out)}
        assert sides == {"large": "train", "small": "val"}


def test_another_seed_chooses_other_places(tmp_path: Path) -> None:
    for k in range(4):
        values, there = ground(64, 64, seed=k), shifted_place(100 * k)
        write_scene(tmp_path / "in" / f"{k}.tif", values, transform=there)
    chosen = set()
    for seed in range(4):
        prepare(tmp_path / "in", tmp_path / str(seed), rules=replace(SMALL, seed=seed))
        (row,) = (r for r in index_of(tmp_path / str(seed)) if r["file"].startswith("val/"))
        chosen.add(row["group"])
    assert len(chosen) > 1


def test_a_scene_that_breaks_off_leaves_no_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_scene(tmp_path / "in" / f"{name}.tif", ground(64, 192, seed=ord(name)))
    read = prepare_module._Scene.read

    def broken(scene: Any, window: Window) -> Any:
        if scene.file == "b.tif" and window == Window(0, 128, 64, 64):
            raise SourceError("b.tif: block 3 can't be read")
        return read(scene, window)

    monkeypatch.setattr(prepare_module._Scene, "read", broken)
    done = prepare(tmp_path / "in", tmp_path / "out", rules=SMALL)
    assert done.rejected == {"b.tif": "b.tif: block 3 can't be read"}
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.tif")) == [
        f"a_r0_c{k}.tif" for k in range(3)
    ]


@pytest.mark.parametrize(
    ("product", "level"),
    [
        ("S2A_MSIL2A_20200610T101031", "boa"),
        ("S2A_MSIL1C_20200610T101031", "toa"),
        ("LC08_L1TP_193027", "toa"),
        ("LC08_L2SP_193027", "boa"),
        ("field", "unknown"),
    ],
)
def test_levels_are_those_of_products(tmp_path: Path, product: str, level: str) -> None:
    write_scene(tmp_path / "in" / f"{product}.tif", ground(64, 64, seed=1))
    prepare(tmp_path / "in", tmp_path / "out", rules=SMALL)
    assert [row["level"] for row in index_of(tmp_path / "out")] == [level]


@pytest.mark.parametrize(
    ("name", "tags", "day"),
    [
        ("2020-05-06/scene", {"DATE_ACQUIRED": "2019-01-02"}, "2020-05-06"),
        ("HLS.S30.T33UUU.2020157T101031.v2.0", {}, "2020-06-05"),
        ("scene", {"DATE_ACQUIRED": "2019-01-02"}, "2019-01-02"),
        ("scene", {"TIFFTAG_DATETIME": "2021:03:04 10:00:00"}, ""),  # when the file was made
        ("scene", {}, ""),
    ],
)
def test_the_day_of_a_scene(tmp_path: Path, name: str, tags: dict[str, str], day: str) -> None:
    values = np.random.default_rng(0).integers(100, 3000, (4, 70, 80), dtype=np.uint16)
    path = tmp_path / f"{name}.tif"
    path.parent.mkdir(exist_ok=True)
    write_raster(path, values, descriptions=("red", "green", "blue", "nir"), tags=tags)
    (scene,) = from_folder(tmp_path, None)
    assert (scene.known["date"] or _day(scene.open())) == day


def test_a_coordinate_system_alone_is_no_place_to_share(tmp_path: Path) -> None:
    # Pixels that count from 0, 0 would all lie in one spot of the zone, here in Gabon.
    for name in "abcd":
        values = ground(64, 192, seed=ord(name))
        write_scene(tmp_path / "in" / f"{name}.tif", values, transform=None, crs="EPSG:32633")
    done = prepare(tmp_path / "in", tmp_path / "out", rules=SMALL)
    assert (done.places, done.validation_places) == (4, 1)
    for row in index_of(tmp_path / "out"):
        assert (row["lon"], row["lat"]) == ("", "")
        with rasterio.open(tmp_path / "out" / row["file"]) as tile:
            assert tile.transform.is_identity


@pytest.mark.parametrize(
    ("tag", "product"),
    [
        ("LANDSAT_PRODUCT_ID", "LC08_L2SP_193024_20200801_20200807_02_T1"),
        ("PRODUCT_URI", "S2A_MSIL2A_20200801T101611_N0214_R065_T32TQM_20200801T161611.SAFE"),
    ],
)
def test_levels_are_those_of_products_that_tags_name(
    tmp_path: Path, tag: str, product: str
) -> None:
    path = write_scene(tmp_path / "in" / "plain.tif", ground(64, 64, seed=1))
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{tag: product})
    prepare(tmp_path / "in", tmp_path / "out", rules=SMALL)
    assert [row["level"] for row in index_of(tmp_path / "out")] == ["boa"]


def test_numbers_that_look_like_cloud_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with rasterio.open(
        tmp_path / "in" / "landsat.tif", "w", driver="GTiff", count=4, height=64, width=64,
        dtype="uint16",
    ) as file:  # fmt: skip
        file.descriptions = ("red", "green", "blue", "nir")
        # Reflectance of 0.05 to 0.3 by Landsat Collection 2's two numbers.
        noise = np.random.default_rng(0).integers(0, 300, (4, 64, 64))
        file.write((noise + np.array([9100, 9500, 9000, 18000])[:, None, None]).astype("uint16"))
    with pytest.raises(TrainingError, match=r"1 cloud-like; nothing in it .* 0\.0000275,-0\.2"):
        prepare(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("highest", [255, 900])
def test_colours_of_another_unit_than_near_infrared_are_told_of(
    tmp_path: Path, highest: int
) -> None:
    values = np.random.default_rng(0).integers(1, 256, (4, 64, 64))
    values[0, 5, 5] = highest
    values[3] += 2500
    write_raster(tmp_path / "in" / "a.tif", values.astype("uint16"), descriptions=BANDS)
    done = prepare(tmp_path / "in", tmp_path / "out", rules=SMALL)
    told = [note for note in done.notes if "as if these colours were an 8-bit picture" in note]
    assert len(told) == (highest == 255)


def test_scenes_that_lie_nowhere_are_told_of(tmp_path: Path) -> None:
    for name, crs in (("a", "EPSG:32633"), ("b", None), ("c", None)):
        values = (ground(64, 64, seed=ord(name)) * 1e4).astype("uint16")
        write_raster(tmp_path / "in" / f"{name}.tif", values, descriptions=BANDS, crs=crs)
    for table, told in (({}, "2 of 3 scenes say nothing of where they lie"), ({"group": "x"}, "")):
        facts = Facts(table={f"{name}.tif": table for name in "abc"})
        notes = prepare(tmp_path / "in", tmp_path / f"out{len(table)}", rules=SMALL, facts=facts)
        found = [note for note in notes.notes if "where they lie" in note]
        assert len(found) == bool(told)
        assert all(told in note for note in found)
