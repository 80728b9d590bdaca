"""Training sets from STAC: items, saved searches, catalogues; and only what is asked for."""

from __future__ import annotations

import builtins
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import write_raster
from pictures import command
from stac_items import GAIN, OFFSET, SENTINEL, Server, band, item, scene_counts, serve
from stac_items import write_scene_item as write_item

from nirgeo.acquisition import parse_time
from nirgeo.errors import OptionError, SourceError
from nirgeo.radiometry import Quantity
from nirgeo.scene_lists import list_scenes
from nirgeo.stac import query as stac_query
from nirgeo.stac.document import Document, read_document
from nirgeo.stac.item import parse_item
from nirgeo.stac.licence import Licences
from nirgeo.stac.query import Query, find_items
from nirgeo.training.data import load_scene

COPERNICUS = "proprietary: https://example.org/terms"
OPTIONS = ("--tile", 128)


def index(folder: Path) -> list[dict[str, str]]:
    with open(folder / "index.csv", newline="") as lines:
        return list(csv.DictReader(lines))


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def collection(identifier: str = "sentinel-2-c1-l2a") -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": identifier,
        "description": "",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [{"rel": "license", "href": "https://example.org/terms"}],
    }


@pytest.fixture
def items(tmp_path: Path) -> list[Path]:
    """Scenes at three places, with their collection's licence in a file."""
    folder = tmp_path / "catalogue"
    paths = []
    for k, east in enumerate((0, 100, 200)):
        lon = 9 + east / 78.6
        paths.append(
            write_item(
                folder / f"s{k}",
                counts=scene_counts(seed=20 + k),
                east_km=east,
                id=f"S2B_32TN{'ABC'[k]}_2024050{k + 1}_0_L2A",
                bbox=[lon, 45.14, lon + 0.026, 45.154],
                properties={
                    "datetime": f"2024-05-0{k + 1}T10:15:59Z",
                    "eo:cloud_cover": 10.0 * k,
                },
                links=[{"rel": "collection", "href": "../collection.json"}],
            )
        )
    (folder / "collection.json").write_text(json.dumps(collection()))
    return paths


# --- items ----------------------------------------------------------------------------------------


def test_a_set_from_items(tmp_path: Path, items: list[Path]) -> None:
    options = [part for path in items for part in ("--stac", path)]
    first, second = tmp_path / "set", tmp_path / "again"
    result = command("prepare", *options, first, *OPTIONS)
    assert result.stdout.strip() == str(first)
    assert "6 tiles of 3 places" in result.stderr
    command("prepare", *options, second, *OPTIONS, "-q")
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
    rows = index(first)
    assert len(rows) == 6
    assert {row["level"] for row in rows} == {"boa"}
    assert {row["source"] for row in rows} == {"sentinel-2-c1-l2a"}
    assert {row["licence"] for row in rows} == {COPERNICUS}
    assert {row["date"] for row in rows} == {"2024-05-01", "2024-05-02", "2024-05-03"}
    assert {row["file"].split("/")[0] for row in rows} == {"train", "val"}
    assert all(9 <= float(row["lon"]) < 12 and 45 < float(row["lat"]) < 46 for row in rows)
    assert str(tmp_path) not in (first / "report.json").read_text()
    # What training reads is what was measured, scaled as the item says.
    tile = next(e for e in list_scenes([first]) if "32TNA" in e.path.stem and "c0" in e.path.stem)
    scene = load_scene(tile, ("nir",), Quantity.REFLECTANCE)
    wanted = scene_counts(seed=20)["nir"][:128, :128] * GAIN + OFFSET
    seen = scene_counts(seed=20)["nir"][:128, :128] != 0
    measured = np.square(scene.inputs[0])
    np.testing.assert_allclose(measured[seen], np.maximum(wanted, 1e-4)[seen], atol=6e-5)


def test_options_win_over_items(tmp_path: Path, items: list[Path]) -> None:
    table = tmp_path / "facts.csv"
    table.write_text(
        "file,group,date,level\nS2B_32TNA_20240501_0_L2A,here,1999-01-01,toa\n"
        "S2B_32TNB_20240502_0_L2A,here,,\n"
    )
    command(
        *("prepare", "--stac", items[0], "--stac", items[1], tmp_path / "set", *OPTIONS, "-q"),
        *("--licence", "mine", "--source", "told", "--index", table),
    )
    rows = {row["date"]: row for row in index(tmp_path / "set")}
    assert set(rows) == {"1999-01-01", "2024-05-02"}
    assert {row["licence"] for row in rows.values()} == {"mine"}
    assert {row["source"] for row in rows.values()} == {"told"}
    assert {row["group"] for row in rows.values()} == {"here"}
    assert rows["1999-01-01"]["level"] == "toa"


def test_a_folder_and_items_together(tmp_path: Path, items: list[Path]) -> None:
    values = np.stack(list(scene_counts(seed=40).values()))
    write_raster(tmp_path / "in" / "mine.tif", values, nodata=0, descriptions=tuple(SENTINEL))
    command(
        *("prepare", "--stac", items[1], tmp_path / "in", tmp_path / "set", *OPTIONS),
        *("--scale", f"{GAIN},{OFFSET}", "-q"),
    )
    assert {s["file"] for s in report(tmp_path / "set")["scenes"]} == {
        *("mine.tif", "S2B_32TNB_20240502_0_L2A"),
    }


def test_only_what_lies_in_the_box(tmp_path: Path, items: list[Path]) -> None:
    box = (9.0, 45.146, 9.012, 45.16)
    options = [part for path in items for part in ("--stac", path)]
    command("prepare", *options, tmp_path / "set", "--bbox", *box, "--tile", 64, "-q")
    rows = index(tmp_path / "set")
    assert {row["date"] for row in rows} == {"2024-05-01"}
    assert sum(int(row["height"]) * int(row["width"]) for row in rows) == 64 * 64
    assert all(float(row["lon"]) < 9.012 and float(row["lat"]) > 45.146 for row in rows)
    with rasterio.open(tmp_path / "set" / rows[0]["file"]) as tile:
        assert tile.transform.c == 500_000
        wanted = scene_counts(seed=20)["nir"][:64, :64]
        seen = wanted != 0
        np.testing.assert_array_equal(tile.read(4)[seen], wanted[seen] - 1000)
    # So it is with files.
    values = np.stack(list(scene_counts(seed=40).values()))
    for east, name in ((0, "in"), (300, "out")):
        place = rasterio.Affine(10, 0, 500_000 + 1000 * east, 0, -10, 5_000_000)
        write_raster(
            *(tmp_path / "files" / f"{name}.tif", values),
            nodata=0, descriptions=tuple(SENTINEL), transform=place,
        )  # fmt: skip
    write_raster(
        *(tmp_path / "files" / "nowhere.tif", values),
        nodata=0, descriptions=tuple(SENTINEL), crs=None, transform=None,
    )  # fmt: skip
    command("prepare", tmp_path / "files", tmp_path / "two", "--bbox", *box, "--tile", 64, "-q")
    rejected = report(tmp_path / "two")["rejected"]
    assert rejected["out.tif"] == "lies outside --bbox"
    assert "no coordinate system" in rejected["nowhere.tif"]
    assert {s["file"] for s in report(tmp_path / "two")["scenes"]} == {"in.tif"}


def test_what_becomes_of_unusable_items(tmp_path: Path, items: list[Path]) -> None:
    found = [json.loads(path.read_text()) for path in items]
    for path, content in zip(items, found, strict=True):
        for asset in content["assets"].values():
            asset["href"] = str(path.parent / asset["href"])
    del found[1]["assets"]["red"]
    broken = {"type": "Feature", "id": "broken"}
    gone = item({r: band("./none.tif", n, r) for r, n in SENTINEL.items()}, id="gone")
    saved = tmp_path / "search.json"
    features = [*found[:2], broken, gone, "what", found[0]]
    saved.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    result = command("prepare", "--stac", saved, tmp_path / "set", *OPTIONS)
    rejected = report(tmp_path / "set")["rejected"]
    assert set(rejected) == {
        *("broken", "gone", "S2B_32TNB_20240502_0_L2A", "search.json, item 5"),
    }
    assert "not a STAC item" in rejected["broken"]
    assert rejected["gone"] == "STAC item gone: none.tif: no such file"
    assert "nothing says which bands are red" in rejected["S2B_32TNB_20240502_0_L2A"]
    assert "Rejected gone" in result.stderr
    assert [s["file"] for s in report(tmp_path / "set")["scenes"]] == ["S2B_32TNA_20240501_0_L2A"]


def test_bands_by_asset(tmp_path: Path, items: list[Path]) -> None:
    content = json.loads(items[0].read_text())
    for role, name in SENTINEL.items():
        asset = content["assets"].pop(role)
        content["assets"][f"image_{role}"] = asset | {"eo:bands": [{"name": f"x{name}"}]}
    items[0].write_text(json.dumps(content))
    refused = command("prepare", "--stac", items[0], tmp_path / "set", *OPTIONS, "-q", expect=1)
    assert "no asset is near infrared" in refused.stderr
    names = "image_red,image_green,xB02,image_nir"
    command("prepare", "--stac", items[0], tmp_path / "set", *OPTIONS, "-q", "--bands", names)
    assert len(index(tmp_path / "set")) == 2


def test_an_offset_in_doubt_is_not_learnt_from(tmp_path: Path) -> None:
    dark = {role: np.maximum(v, 1001) - 1000 for role, v in scene_counts().items()}
    flag = {"earthsearch:boa_offset_applied": False}
    path = write_item(tmp_path / "s", counts=dark, properties=flag)
    refused = command("prepare", "--stac", path, tmp_path / "set", *OPTIONS, "-q", expect=1)
    assert "is not applied yet" in refused.stderr
    command("prepare", "--stac", path, tmp_path / "set", *OPTIONS, "-q", "--scale", "0.0001")


# --- catalogues -----------------------------------------------------------------------------------


@pytest.fixture
def api(tmp_path: Path, items: list[Path]) -> Iterator[Server]:
    """A STAC API over the three items, with pages of two; their assets come from it too."""
    with serve(tmp_path / "catalogue") as server:
        features = []
        for path in items:
            content = json.loads(path.read_text())
            for asset in content["assets"].values():
                asset["href"] = f"{server.url}/{path.parent.name}/{asset['href'][2:]}"
            content["links"] = [
                link("self", f"{server.url}/items/{content['id']}"),
                link("collection", f"{server.url}/collections/s2"),
            ]
            features.append(content)
        server.searches = []  # type: ignore[attr-defined]

        def search(handler: Any) -> tuple[int, dict[str, str], bytes]:
            asked = handler.posted
            server.searches.append(asked)  # type: ignore[attr-defined]
            hits = [f for f in features if _matches(f, asked)]
            first, size = int(asked.get("token", 0)), min(2, asked.get("limit", 10))
            page = {"type": "FeatureCollection", "features": hits[first : first + size]}
            body = {**asked, "token": str(first + size)}
            following = link("next", f"{server.url}/search", method="POST", body=body)
            page["links"] = [following] if first + size < len(hits) else []
            return 200, {"Content-Type": "application/geo+json"}, json.dumps(page).encode()

        classes = ["core", "item-search", "item-search#query", "ogcapi-features"]
        search_links = [
            link("search", f"{server.url}/search", method=method) for method in ("GET", "POST")
        ]
        landing = {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "fake",
            "description": "an API",
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{name}" for name in classes],
            "links": [link("self", server.url), link("root", server.url), *search_links],
        }
        server.answer("", landing)
        server.answer("/", landing)
        server.answer("/collections/s2", collection())
        server.answers["/search"] = search
        yield server


def link(relation: str, href: str, **more: Any) -> dict[str, Any]:
    return {"rel": relation, "href": href, "type": "application/geo+json"} | more


def _matches(feature: dict[str, Any], asked: dict[str, Any]) -> bool:
    if feature["collection"] not in asked.get("collections", [feature["collection"]]):
        return False
    if "bbox" in asked:
        west, south, east, north = asked["bbox"]
        w, s, e, n = feature["bbox"]
        if e < west or w > east or n < south or s > north:
            return False
    if "datetime" in asked:
        first, _, last = asked["datetime"].partition("/")
        taken = feature["properties"]["datetime"]
        if (first != ".." and taken < first) or (last != ".." and taken > last):
            return False
    cover = asked.get("query", {}).get("eo:cloud_cover", {}).get("lte", 100)
    return bool(feature["properties"]["eo:cloud_cover"] <= cover)


def test_a_search(tmp_path: Path, api: Server) -> None:
    command(
        *("prepare", "--stac", api.url, tmp_path / "set", *OPTIONS, "-q"),
        *("--collection", "sentinel-2-c1-l2a"),
    )
    rows = index(tmp_path / "set")
    assert {row["date"] for row in rows} == {"2024-05-01", "2024-05-02", "2024-05-03"}
    assert {row["licence"] for row in rows} == {COPERNICUS}
    scenes = report(tmp_path / "set")["scenes"]
    assert [s["item"] for s in scenes] == [f"{api.url}/items/{s['file']}" for s in scenes]
    # One question about the licence, and as many searches as there are pages.
    assert [p for _, p in api.asked].count("/collections/s2") == 1
    assert len(api.searches) == 2  # type: ignore[attr-defined]


def test_the_server_is_told_what_is_wanted(tmp_path: Path, api: Server) -> None:
    command(
        *("prepare", "--stac", api.url, tmp_path / "set", *OPTIONS, "-q"),
        *("--collection", "sentinel-2-c1-l2a", "--collection", "other"),
        *("--bbox", 8, 45, 11, 46, "--datetime", "2024-05-02/..", "--max-cloud-cover", 15),
    )
    (asked,) = api.searches  # type: ignore[attr-defined]
    assert asked["collections"] == ["sentinel-2-c1-l2a", "other"]
    assert asked["bbox"] == [8, 45, 11, 46]
    assert asked["datetime"] == "2024-05-02T00:00:00Z/.."
    assert asked["query"] == {"eo:cloud_cover": {"lte": 15}}
    assert {row["date"] for row in index(tmp_path / "set")} == {"2024-05-02"}


@pytest.mark.parametrize(
    ("conditions", "days"),
    [
        ({"limit": 2}, "12"),
        ({"limit": 3}, "123"),
        ({"max_cloud_cover": 15}, "12"),
        ({"interval": "2024-05-02"}, "2"),
        ({"interval": "../2024-05-02T12:00:00Z"}, "12"),
        ({"bbox": (10, 45, 20, 46)}, "23"),
        ({"collections": ("other",)}, ""),
    ],
)
def test_the_same_conditions_hold_for_files(
    tmp_path: Path, api: Server, items: list[Path], conditions: dict[str, Any], days: str
) -> None:
    query = Query(**conditions)
    # A server may not know a condition; then it is looked to here.
    features = [json.loads(path.read_text()) for path in items]
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    for sources in ([api.url], [str(saved)], [str(path) for path in items]):
        found = find_items(sources, query)
        assert [i.id[17] for i in found.items] == list(days)
        assert bool(found.notes) == (conditions == {"limit": 2})


def test_items_without_a_collection_may_share_an_id(tmp_path: Path) -> None:
    """As those do that a tool writes into one folder after the other."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        item = json.loads(write_item(tmp_path / name).read_text())
        del item["collection"]
        (tmp_path / name / "item.json").write_text(json.dumps(item | {"id": "scene"}))
    paths = [str(tmp_path / name / "item.json") for name in ("a", "b")]
    assert len(find_items([*paths, paths[0]], Query()).items) == 2
    same = [json.loads(Path(path).read_text()) | {"collection": "all"} for path in paths]
    for path, item in zip(paths, same, strict=True):
        Path(path).write_text(json.dumps(item))
    assert len(find_items(paths, Query()).items) == 1


def test_a_server_that_ignores_conditions(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_stac_prepare._matches", lambda *_: True)
    found = find_items([api.url], Query(max_cloud_cover=5, limit=1))
    assert [i.id for i in found.items] == ["S2B_32TNA_20240501_0_L2A"]
    assert found.notes == []
    monkeypatch.setattr(stac_query, "MAX_LOOKED_AT", 2)
    found = find_items([api.url], Query(interval="2030-01-01"))
    assert (found.items, found.notes) == ([], [f"{api.url}: gave up after 2 items"])


def test_what_a_search_may_meet(tmp_path: Path, api: Server) -> None:
    api.answer("/search", {"oops": True}, 500)
    refused = command("prepare", "--stac", api.url, tmp_path / "set", "-q", expect=1)
    assert "the search failed" in refused.stderr
    assert refused.stderr.count("\n") == 1
    api.answer("/search", b"<html>")
    with pytest.raises(SourceError, match="the search failed"):
        find_items([api.url], Query())
    for features in ([7, None], [{"links": 3}]):
        api.answer("/search", {"type": "FeatureCollection", "features": features, "links": []})
        found = find_items([api.url], Query())
        assert found.items == []
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": ""}
    links = [{"rel": "item", "href": "./item.json"}]
    api.answer("/static", catalogue | {"links": links})
    with pytest.raises(SourceError, match="can't be searched"):
        find_items([f"{api.url}/static"], Query())
    local = tmp_path / "catalog.json"
    local.write_text(json.dumps(catalogue | {"links": links}))
    with pytest.raises(SourceError, match="can't be searched; name its items"):
        find_items([str(local)], Query())
    # A file that is to be an item is one, or there is an end; members of a search are left out.
    local.write_text(json.dumps({"type": "Feature", "id": "broken"}))
    with pytest.raises(SourceError, match="a Feature, not a STAC item"):
        find_items([str(local)], Query())
    with pytest.raises(SourceError, match="--collection sentinel-2-c1-l2a"):
        find_items([f"{api.url}/collections/s2"], Query())
    page = {"type": "FeatureCollection", "features": [], "links": [{"rel": "next", "href": "x"}]}
    local.write_text(json.dumps(page))
    assert "one page of several" in find_items([str(local)], Query()).notes[0]
    refused = command("prepare", "--stac", local, tmp_path / "set", "-q", expect=1)
    assert "no STAC item meets these conditions" in refused.stderr


def test_without_the_client(
    tmp_path: Path, api: Server, items: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pystac"):
            raise ImportError(f"No module named {name!r}")
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    refused = command("prepare", "--stac", api.url, tmp_path / "set", "-q", expect=1)
    assert "pip install 'nirgeo[stac]'" in refused.stderr
    # Items and saved searches need nothing.
    command("prepare", "--stac", items[0], tmp_path / "set", *OPTIONS, "-q")


# --- licences -------------------------------------------------------------------------------------


def test_licences(tmp_path: Path, api: Server) -> None:
    def of(content: dict[str, Any], href: str) -> str:
        return Licences().of(parse_item(Document(content, href)))

    here, there = str(tmp_path / "item.json"), f"{api.url}/items/x"
    remote_link = [{"rel": "collection", "href": f"{api.url}/collections/s2"}]
    local_band = {"nir": band("./n.tif", "B08", "nir")}
    remote_band = {"nir": band("https://a/n.tif", "B08", "nir")}
    assert of(item({}, properties={"license": "CC-BY-4.0"}), here) == "CC-BY-4.0"
    own = [{"rel": "license", "href": "https://a/terms"}]
    assert (
        of(item({}, properties={"license": "other"}, links=own), here) == "other: https://a/terms"
    )
    other = [{"rel": "about", "href": "https://a/about"}, {"rel": "license", "href": 7}, *own]
    assert (
        of(item({}, properties={"license": "other"}, links=other), here) == "other: https://a/terms"
    )
    assert of(item({}, properties={"license": "other"}, links=other[:2]), here) == "other"
    assert of(item(local_band), here) == ""
    assert of(item(remote_band, links=remote_link), there) == COPERNICUS
    assert of(item(remote_band, links=remote_link), here) == COPERNICUS
    assert of(item(local_band, links=remote_link), there) == COPERNICUS
    # A scene on this machine sends nobody to the network.
    asked = len(api.asked)
    assert of(item(local_band, links=remote_link), here) == ""
    assert len(api.asked) == asked
    for href in (f"{api.url}/none", "file:///etc/passwd", 7, "s3://bucket/collection.json"):
        assert of(item(remote_band, links=[{"rel": "collection", "href": href}]), there) == ""


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bbox": (10, 45, 9, 46)}, "--bbox 10 45 9 46"),
        ({"bbox": (170, 45, 190, 46)}, "--bbox"),
        ({"bbox": (float("nan"), 45, 9, 46)}, "--bbox"),
        ({"max_cloud_cover": 101}, "--max-cloud-cover 101"),
        ({"limit": 0}, "--limit 0"),
        ({"interval": "soon"}, "--datetime soon"),
        ({"interval": ".."}, "--datetime"),
        ({"interval": "a/b/c"}, "--datetime"),
        ({"interval": "2024-05-01/2024-05-02/2024-05-03"}, "--datetime"),
        ({"interval": "2024-05-02/2024-05-01"}, "ends before it starts"),
    ],
)
def test_conditions_that_cannot_be_used(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Query(**wrong)


def test_what_an_item_does_not_say_is_not_held_against_it() -> None:
    bare = parse_item(Document(item({}, collection=None, properties={"datetime": None}), "/x.json"))
    query = Query(("other",), (1.0, 2.0, 3.0, 4.0), "2020-01-01", 1)
    assert query.accepts(bare)
    time = parse_time("2020-01-01")
    assert time is not None
    assert query.times() == time


def test_boxes_across_the_date_line() -> None:
    far = parse_item(Document(item({}, bbox=[179, -1, -179, 1]), "/x.json"))
    assert Query(bbox=(-180, -2, -179.5, 2)).accepts(far)
    assert Query(bbox=(179.5, -2, 180, 2)).accepts(far)
    assert not Query(bbox=(-170, -2, 170, 2)).accepts(far)


def test_wrong_usage(tmp_path: Path, items: list[Path]) -> None:
    for arguments in [
        (tmp_path / "set",),
        ("--stac", items[0]),
        ("--stac", items[0], "a", "b", "c"),
        ("a", "b", "--limit", 3),
        ("a", "b", "--collection", "x"),
        ("a", "b", "--datetime", "2024-05-01"),
        ("a", "b", "--max-cloud-cover", 3),
    ]:
        command("prepare", *arguments, expect=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    # What can be refused without asking a server is.
    refused = command("prepare", "--stac", "http://127.0.0.1:9/", tmp_path / "full", "-q", expect=1)
    assert "not empty" in refused.stderr
    refused = command("prepare", "--stac", tmp_path / "no.json", tmp_path / "set", "-q", expect=1)
    assert "no such file" in refused.stderr
    assert read_document(items[0]).content["id"].startswith("S2B")


def test_what_lies_on_the_edge_of_a_condition() -> None:
    taken = "2024-05-02T10:15:59Z"
    one = parse_item(
        Document(
            item({}, bbox=[1, 2, 3, 4], properties={"datetime": taken, "eo:cloud_cover": 15}),
            "/x.json",
        )
    )
    assert Query(max_cloud_cover=15).accepts(one)
    assert not Query(max_cloud_cover=14).accepts(one)
    for interval in (taken, f"{taken}/{taken}", f"{taken}/..", f"../{taken}"):
        assert Query(interval=interval).accepts(one)
    for interval in ("2024-05-02T10:16:00Z/..", "../2024-05-02T10:15:58Z"):
        assert not Query(interval=interval).accepts(one)
    # A box that only touches has no pixel in it.
    assert Query(bbox=(2.9, 3.9, 5, 5)).accepts(one)
    for box in ((3, 2, 5, 4), (0, 2, 1, 4), (1, 4, 3, 5), (1, 0, 3, 2)):
        assert not Query(bbox=box).accepts(one)


def test_as_many_items_as_may_be_looked_at(
    items: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "saved.json"
    features = [json.loads(path.read_text()) for path in items]
    saved.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    monkeypatch.setattr(stac_query, "MAX_LOOKED_AT", 3)
    found = find_items([str(saved)], Query())
    assert (len(found.items), found.notes) == (3, [])
