"""STAC items of results: what they say is what the file says, and other tools can read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pystac
import pytest
import rasterio
from helpers import NORTH_UP_10M, write_raster
from pictures import command, events, listing, painting_model, read, scene_values
from pystac.extensions.eo import EOExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.utils import make_absolute_href
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from stac_items import serve, write_scene_item

from nirgeo.acquisition import parse_interval
from nirgeo.errors import OptionError, TargetError
from nirgeo.modelfile import Model
from nirgeo.stac import result as stac_result
from nirgeo.stac.document import resolve
from nirgeo.stac.result import item_path, remove_item, write_item
from nirgeo.stac.scene import find_item

TAKEN = {"TIFFTAG_DATETIME": "2024:05:08 10:15:59"}


@pytest.fixture
def colorized(tmp_path: Path, tiny: Model) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Colorizes a scene with ``--stac``; returns the result and its item."""

    def run(scene: Path, *options: object, model: object = None) -> tuple[Path, dict[str, Any]]:
        out = tmp_path / "out" / "scene_rgb.tif"
        out.parent.mkdir(exist_ok=True)
        command(
            *("colorize", scene, "-o", out, "--stac", "--overwrite"),
            *("--model", model or tiny.path, *options),
        )
        return out, json.loads(out.with_suffix(".json").read_text())

    return run


def scene(tmp_path: Path, **options: Any) -> Path:
    options = {"tags": TAKEN, "nodata": 0} | options
    return write_raster(tmp_path / "scene.tif", scene_values(90, 110), **options)


# --- what it says ---------------------------------------------------------------------------------


def test_it_says_what_the_file_says(tmp_path: Path, colorized: Any, tiny: Model) -> None:
    out, found = colorized(scene(tmp_path), "--scale", "0.0001")
    assert found["id"] == "scene_rgb"
    assert found["stac_version"] == "1.1.0"
    properties = found["properties"]
    with rasterio.open(out) as file:
        assert properties["proj:shape"] == list(file.shape)
        assert properties["proj:transform"][:6] == list(file.transform)[:6]
        assert properties["proj:bbox"] == list(file.bounds)
        assert properties["proj:code"] == f"EPSG:{file.crs.to_epsg()}"
        tags = file.tags(ns="NIRGEO")
        asset = found["assets"]["rgb"]
        assert [b["eo:common_name"] for b in asset["bands"]] == list(file.descriptions)
        assert asset["data_type"] == file.dtypes[0]
    assert (out.parent / asset["href"]).samefile(out)
    assert properties["datetime"] == "2024-05-08T10:15:59Z"
    assert properties["gsd"] == asset["raster:spatial_resolution"] == 10
    assert properties["nirgeo:model_sha256"] == tiny.sha256 == tags["MODEL_SHA256"]
    assert properties["nirgeo:synthetic"] == "yes"
    repeated = {k.removeprefix("nirgeo:").upper() for k in properties if "nirgeo" in k}
    assert repeated == {*tags, "ITEM_SHA256"}
    assert properties["processing:software"]["nirgeo"] in tags["SOFTWARE"]
    west, south, east, north = found["bbox"]
    assert (west, north) == pytest.approx((9.0, 45.1535), abs=1e-4)
    assert (east - west, north - south) == pytest.approx((0.0140, 0.0081), abs=1e-4)
    ring = found["geometry"]["coordinates"][0]
    assert [min(x for x, _ in ring), max(y for _, y in ring)] == [west, north]
    # A model that nobody else has can't be linked to.
    assert found["links"] == []
    assert str(tmp_path) not in json.dumps(found)


def test_reflectance(tmp_path: Path, colorized: Any) -> None:
    _, found = colorized(scene(tmp_path), "--scale", "0.0001", "--as", "reflectance")
    asset = found["assets"]["rgb"]
    assert (asset["data_type"], asset["nodata"], asset["unit"]) == ("float32", "nan", "1")
    assert asset["roles"] == ["data"]


def test_the_shipped_model_is_linked(tmp_path: Path, colorized: Any) -> None:
    _, found = colorized(scene(tmp_path), "--scale", "0.0001", model="satellite-nir@5")
    (link,) = found["links"]
    version = found["properties"]["processing:software"]["nirgeo"]
    assert link["rel"] == "derived_from"
    assert link["href"] == f"pkg:pypi/nirgeo@{version}#nirgeo/weights/satellite-nir-5.json"
    expression = found["properties"]["processing:expression"]
    assert expression == {"format": "stac-mlm", "expression": link["href"]}
    # The name leads to the model's own card in the package.
    card = Path(stac_result.__file__).parents[2] / link["href"].partition("#")[2]
    assert json.loads(card.read_text())["properties"]["mlm:name"] == "satellite-nir"


def test_a_model_with_a_shipped_models_name_is_not_taken_for_it(
    tmp_path: Path, colorized: Any
) -> None:
    own = painting_model(tmp_path, name="satellite-nir")
    _, found = colorized(scene(tmp_path), "--scale", "0.0001", model=own.path)
    assert found["properties"]["nirgeo:model"] == "satellite-nir@1"
    assert found["links"] == []
    assert "processing:expression" not in found["properties"]


def test_from_an_item_to_an_item(tmp_path: Path, colorized: Any) -> None:
    properties = {"platform": "sentinel-2b", "instruments": ["msi"], "eo:cloud_cover": 3}
    source = write_scene_item(tmp_path / "s2", properties=properties)
    _, found = colorized(source)
    assert found["properties"]["datetime"] == "2024-05-08T10:15:59Z"
    assert found["properties"]["platform"] == "sentinel-2b"
    assert found["properties"]["instruments"] == ["msi"]
    (link,) = found["links"]
    assert (link["rel"], link["href"]) == ("derived_from", "../s2/item.json")
    # The time can be set right; where the scene is from stays.
    _, other = colorized(source, "--datetime", "2024-05-01/2024-05-03")
    assert other["properties"]["datetime"] is None
    assert other["properties"]["start_datetime"] == "2024-05-01T00:00:00Z"
    assert other["properties"]["end_datetime"] == "2024-05-03T23:59:59Z"
    assert other["links"] == found["links"]
    with serve(tmp_path / "s2") as server:
        _, remote = colorized(f"{server.url}/item.json")
        assert remote["links"][0]["href"] == f"{server.url}/item.json"


def test_equal_work_makes_equal_items(tmp_path: Path, colorized: Any) -> None:
    source = scene(tmp_path)
    out, _ = colorized(source, "--scale", "0.0001", "--chunk", 1)
    first = out.with_suffix(".json").read_bytes()
    colorized(source, "--scale", "0.0001", "--workers", 1)
    assert out.with_suffix(".json").read_bytes() == first


@pytest.mark.parametrize(
    ("place", "code", "somewhere"),
    [
        ({"crs": "EPSG:4326", "transform": rasterio.Affine(0.001, 0, 9, 0, -0.001, 45)},
         "EPSG:4326", True),
        ({"crs": "ESRI:54009"}, "ESRI:54009", True),
        ({"crs": "+proj=laea +lat_0=45 +lon_0=9 +datum=WGS84"}, None, True),
        ({"crs": None, "transform": None}, None, False),
        ({"gcps": [(0, 0, 9.0, 46.0, 0), (0, 110, 9.1, 46.0, 0), (90, 0, 9.0, 45.9, 0)]},
         None, True),
        ({"crs": None, "transform": NORTH_UP_10M}, None, False),
    ],
)  # fmt: skip
def test_every_kind_of_place(
    tmp_path: Path, colorized: Any, place: dict[str, Any], code: str | None, somewhere: bool
) -> None:
    out, found = colorized(scene(tmp_path, **place), "--scale", "0.0001")
    assert found["properties"]["proj:code"] == code
    assert ("bbox" in found) == (found["geometry"] is not None) == somewhere
    gsd = found["properties"].get("gsd", 0)
    assert gsd == found["assets"]["rgb"].get("raster:spatial_resolution", 0) == float(f"{gsd:.6g}")
    if code is None and "crs" in place and place["crs"] is not None:
        assert found["properties"]["proj:wkt2"].startswith("PROJCRS")
    validate(out.with_suffix(".json"))


# --- what other tools make of it ------------------------------------------------------------------


def validate(path: Path) -> pystac.Item:
    """STAC's own schemas, which pystac carries; those of the extensions are on the network only."""
    read_back = pystac.Item.from_file(str(path))
    validator = JsonSchemaSTACValidator()
    assert validator.validate_core(
        read_back.to_dict(include_self_link=False), pystac.STACObjectType.ITEM, "1.1.0"
    )
    return read_back


def test_pystac_reads_it(tmp_path: Path, colorized: Any) -> None:
    out, found = colorized(write_scene_item(tmp_path / "s2"), model="satellite-nir@5")
    read_back = validate(out.with_suffix(".json"))
    assert read_back.get_datetime().isoformat() == "2024-05-08T10:15:59+00:00"
    projection = ProjectionExtension.ext(read_back)
    assert projection.code == "EPSG:32632"
    assert projection.shape == [140, 200]
    assert list(projection.transform or [])[:6] == list(NORTH_UP_10M)[:6]
    asset = read_back.assets["rgb"]
    assert asset.media_type == pystac.MediaType.COG
    assert Path(asset.get_absolute_href() or "").samefile(out)
    names = [band["eo:common_name"] for band in asset.extra_fields["bands"]]
    assert names == ["red", "green", "blue"]
    assert EOExtension.has_extension(read_back)
    assert all(
        ext.startswith("https://stac-extensions.github.io/") for ext in found["stac_extensions"]
    )


def test_names_that_a_url_would_cut_short(tmp_path: Path, tiny: Model) -> None:
    folder = tmp_path / "s2 #1"
    folder.mkdir()
    source = write_scene_item(folder)
    out = tmp_path / "my #1 50%25.tif"
    (tmp_path / "my #1 50%.tif").touch()  # what it would be called if it were decoded twice
    options = ("--as", "reflectance", "--model", tiny.path)  # pictures are never bands
    command("colorize", source, "-o", out, "--stac", *options)
    item = find_item(str(out.with_suffix(".json")))
    assert item is not None
    assert item.bands[0].reference == "./my %231 50%2525.tif"
    assert item.resolve(item.bands[0].reference) == str(out)
    assert item.link("derived_from") == "s2 %231/item.json"
    assert item.resolve(item.link("derived_from")) == str(source)
    # On a web server it is the same file, for others too.
    moved = pystac.Item.from_file(str(out.with_suffix(".json").rename(tmp_path / "i.json")))
    there = make_absolute_href(moved.assets["rgb"].href, "https://example.org/a/i.json", False)
    assert there == resolve(item.bands[0].reference, "https://example.org/a/i.json")
    assert unquote(there) == f"https://example.org/a/{out.name}"


def test_a_scene_with_such_names_is_found(tmp_path: Path, tiny: Model) -> None:
    path = write_scene_item(tmp_path)
    content = json.loads(path.read_text())
    for asset in content["assets"].values():
        name = asset["href"].removeprefix("./")
        (tmp_path / name).rename(tmp_path / f"a #1 50%25 {name}")
        asset["href"] = f"./a%20%231%2050%2525%20{name}"
    path.write_text(json.dumps(content))
    command("colorize", path, "-o", tmp_path / "x.tif", "--model", tiny.path)
    assert read(tmp_path / "x.tif")[0].shape == (3, 140, 200)


def test_the_schemas_of_the_extensions(tmp_path: Path, colorized: Any) -> None:
    out, _ = colorized(write_scene_item(tmp_path / "s2"), model="satellite-nir@5")
    item = pystac.Item.from_file(str(out.with_suffix(".json")))
    try:
        item.validate()
    except Exception as error:
        if "HTTPSConnection" not in str(error):  # not one of a machine without network
            raise
        pytest.skip(f"the extensions' schemas are on the network: {error}")


def test_each_extension_is_used_as_it_asks(tmp_path: Path, colorized: Any) -> None:
    """What their schemas ask, as far as it concerns these fields."""
    _, found = colorized(scene(tmp_path), "--scale", "0.0001")
    properties, asset = found["properties"], found["assets"]["rgb"]
    assert {k.partition(":")[0] for k in (*properties, *asset, *asset["bands"][0]) if ":" in k} == {
        *("proj", "processing", "raster", "eo", "nirgeo"),
    }
    assert asset["raster:sampling"] in ("area", "point")
    assert asset["raster:spatial_resolution"] > 0
    assert len(properties["proj:transform"]) == 9
    assert len(properties["proj:bbox"]) == 4
    assert all(isinstance(v, int) for v in properties["proj:shape"])
    assert all(isinstance(v, str) for v in properties["processing:software"].values())
    assert properties["processing:level"] == "L4"


def test_a_result_is_no_scene(tmp_path: Path, colorized: Any) -> None:
    out, _ = colorized(scene(tmp_path), "--scale", "0.0001")
    result = command("colorize", out.with_suffix(".json"), "-o", tmp_path / "x.tif", expect=1)
    assert "no asset is near infrared" in result.stderr


# --- when it is written, and when not -------------------------------------------------------------


def test_front_ends_are_told(tmp_path: Path, tiny: Model) -> None:
    options = ("--model", tiny.path, "--scale", "0.0001", "--stac")
    result = command("colorize", scene(tmp_path), *options, "--progress", "jsonl")
    last = events(result.stdout)[-1]
    assert last.pop("tags")["MODEL"] == tiny.spec.full_name
    assert last == {
        "event": "result",
        "path": str(tmp_path / "scene_rgb.tif"),
        "item": str(tmp_path / "scene_rgb.json"),
    }
    people = command("colorize", scene(tmp_path), *options, "--overwrite")
    assert people.stdout.strip() == str(tmp_path / "scene_rgb.tif")
    assert "scene_rgb.json (time from tag TIFFTAG_DATETIME)" in people.stderr


def test_without_a_time_nothing_is_begun(tmp_path: Path, tiny: Model) -> None:
    source = scene(tmp_path, tags={})
    options = ("--model", tiny.path, "--scale", "0.0001", "--stac")
    refused = command("colorize", source, *options, expect=1)
    assert "give --datetime" in refused.stderr
    wrong = command("colorize", source, *options, "--datetime", "soon", expect=1)
    assert "--datetime soon" in wrong.stderr
    assert sorted(listing(tmp_path)) == ["scene.tif"]
    command("colorize", source, *options, "--datetime", "2024-05-08")
    assert sorted(listing(tmp_path)) == ["scene.tif", "scene_rgb.json", "scene_rgb.tif"]
    assert command("colorize", source, "--datetime", "2024-05-08", expect=2).exit_code == 2


def test_an_item_that_is_there_is_kept(tmp_path: Path, tiny: Model) -> None:
    (tmp_path / "scene_rgb.json").write_text("mine")
    options = ("--model", tiny.path, "--scale", "0.0001")
    refused = command("colorize", scene(tmp_path), *options, "--stac", expect=1)
    assert "scene_rgb.json exists" in refused.stderr
    assert not (tmp_path / "scene_rgb.tif").exists()
    command("colorize", scene(tmp_path), *options)
    assert (tmp_path / "scene_rgb.json").read_text() == "mine"
    command("colorize", scene(tmp_path), *options, "--stac", "--overwrite")
    assert json.loads((tmp_path / "scene_rgb.json").read_text())["id"] == "scene_rgb"


def test_the_item_of_a_result_that_is_gone_goes_too(tmp_path: Path, tiny: Model) -> None:
    source, item = scene(tmp_path), tmp_path / "scene_rgb.json"
    options = ("--model", tiny.path, "--scale", "0.0001")
    command("colorize", source, *options, "--stac")
    made = json.loads(item.read_text())
    again = command("colorize", source, *options, "--overwrite")
    assert not item.exists()
    assert f"removed {item}" in again.stderr
    # What somebody wrote or changed, or what tells of another file, stays.
    other = {"rgb": made["assets"]["rgb"] | {"href": "./other.tif"}}
    more = {"rgb": made["assets"]["rgb"], "thumbnail": {"href": "./t.png"}}
    link = {"rel": "collection", "href": "./collection.json"}
    for content in (
        *({"a": 1}, [made], made | {"id": "other"}, made | {"collection": "mine"}),
        *(made | {"assets": other}, made | {"assets": more}, made | {"links": [link]}),
        made | {"properties": {"datetime": "2024-05-08T10:15:59Z"}},
        *(made | {"properties": made["properties"] | {key: "mine"}} for key in ("title", "gsd")),
        made | {"assets": {"rgb": made["assets"]["rgb"] | {"roles": ["visual", "overview"]}}},
        made | {"stac_extensions": [*made["stac_extensions"], "https://example.com/schema.json"]},
        made | {"properties": []},
        {k: v for k, v in made.items() if k != "assets"},
    ):
        item.write_text(json.dumps(content))
        assert remove_item(str(tmp_path / "scene_rgb.tif")) is None
        assert json.loads(item.read_text()) == content
    # One that was copied tells of the file that it was made for.
    copied = tmp_path / "copy_rgb.json"
    copied.write_text(json.dumps(made))
    assert remove_item(str(tmp_path / "copy_rgb.tif")) is None
    assert json.loads(copied.read_text()) == made
    # Of what is kept people are told.
    item.write_text(json.dumps(made | {"properties": made["properties"] | {"title": "mine"}}))
    kept = command("colorize", source, *options, "--overwrite")
    assert f"{item} is kept, since somebody changed it" in kept.stderr
    item.write_text(json.dumps(dict(reversed(made.items())), indent=7))  # the same in other words
    assert remove_item(str(tmp_path / "scene_rgb.tif")) == str(item)
    assert remove_item(str(tmp_path / "scene_rgb.tif")) is None
    assert remove_item("/vsimem/scene_rgb.tif") is None


def test_a_run_that_fails_leaves_no_item(tmp_path: Path, tiny: Model) -> None:
    empty = write_raster(
        tmp_path / "scene.tif", np.zeros((70, 70), np.uint16), nodata=0, tags=TAKEN
    )
    options = ("--model", tiny.path, "--scale", "0.0001", "--stac")
    command("colorize", empty, *options, expect=1)
    assert sorted(listing(tmp_path)) == ["scene.tif"]
    # Nor does it take away the one of an earlier result, which is still there.
    command("colorize", scene(tmp_path), *options)
    before = (tmp_path / "scene_rgb.json").read_bytes()
    write_raster(tmp_path / "scene.tif", np.zeros((70, 70), np.uint16), nodata=0, tags=TAKEN)
    command("colorize", tmp_path / "scene.tif", *options, "--overwrite", expect=1)
    assert (tmp_path / "scene_rgb.json").read_bytes() == before
    assert read(tmp_path / "scene_rgb.tif")[0].shape == (3, 90, 110)


def test_the_item_is_never_seen_half_written(
    tmp_path: Path, colorized: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = colorized(scene(tmp_path), "--scale", "0.0001")
    target = out.with_suffix(".json")
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stac_result.os, "fsync", full)
    with pytest.raises(TargetError, match="No space left"):
        write_item(out, parse_interval("2020-01-01"))
    assert target.read_bytes() == before
    assert sorted(listing(out.parent)) == ["scene_rgb.json", "scene_rgb.tif"]


def test_where_only_rasters_can_be_written(tmp_path: Path, tiny: Model) -> None:
    options = ("--model", tiny.path, "--scale", "0.0001", "--stac")
    refused = command("colorize", scene(tmp_path), "-o", "/vsimem/a.tif", *options, expect=1)
    assert "choose a local -o" in refused.stderr


def test_names_of_items() -> None:
    assert item_path("a/b.c.tif") == "a/b.c.json"
    assert item_path("b") == "b.json"
    assert stac_result._href(Path("a/what? ü+%.tif")) == "./what%3F ü+%25.tif"
    with pytest.raises(OptionError, match="choose another -o"):
        item_path("a.json")


def test_the_scene_is_not_written_over(tmp_path: Path, tiny: Model) -> None:
    path = write_scene_item(tmp_path)
    before = (tmp_path / "B08.tif").read_bytes()
    for target in (path, tmp_path / "B08.tif"):
        result = command(
            "colorize", path, "-o", target, "--overwrite", "--model", tiny.path, expect=1
        )
        assert "is a file of the scene itself" in result.stderr
    assert (tmp_path / "B08.tif").read_bytes() == before
    # The item of the result would be that of the scene.
    result = command(
        *("colorize", path, "-o", path.with_suffix(".tif"), "--stac", "--overwrite"),
        *("--model", tiny.path),
        expect=1,
    )
    assert "item.json is a file of the scene itself" in result.stderr
    assert json.loads(path.read_text())["id"].startswith("S2B")


@pytest.mark.parametrize("kind", ["display", "reflectance"])
def test_an_expected_error_is_no_colour_and_counts_in_degrees(
    tmp_path: Path, colorized: Any, kind: str
) -> None:
    doubtful = painting_model(tmp_path, shape={"expects_error": True})
    out, found = colorized(
        scene(tmp_path), "--scale", "0.0001", "--uncertainty", "--as", kind, model=doubtful.path
    )
    asset = found["assets"]["rgb"]
    *colours, error = asset["bands"]
    assert [band["eo:common_name"] for band in colours] == ["red", "green", "blue"]
    assert "eo:common_name" not in error
    assert error["unit"] == "degree"
    with rasterio.open(out) as file:
        assert error["name"] == file.descriptions[3]
        assert error.get("raster:scale", 1) == file.scales[3]
    JsonSchemaSTACValidator()  # the eo extension's own list of names is what would refuse it
    pystac.Item.from_dict(found)
