"""Shifts are found, neighbours stay together, and the rules are those that are written down."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from evaluation_scenes import ground
from helpers import write_raster
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from nirgeo.errors import OptionError, TrainingError
from nirgeo.georeference import map_positions
from nirgeo.preparation.candidates import (
    Candidate,
    Facts,
    from_folder,
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
    split_places,
)
from nirgeo.preparation.prepare import Rules, _day
from nirgeo.preparation.registration import find_shift
from nirgeo.preparation.tiles import tile_windows
from nirgeo.radiometry import Quantity
from nirgeo.source import Grid


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
