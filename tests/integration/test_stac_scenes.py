"""STAC items as scenes: the pixels are those of the files, wherever they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from helpers import NORTH_UP_10M, write_raster
from pictures import command, events, read
from stac_items import (
    GAIN,
    OFFSET,
    Server,
    band,
    item,
    scene_counts,
    serve,
    write_scene_item,
)

import nirgeo
from nirgeo import handles
from nirgeo.errors import BandError, OptionError, RadiometryError, SourceError
from nirgeo.modelfile import Model
from nirgeo.scene import view_of

SCALE = f"{GAIN},{OFFSET}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "www"
    root.mkdir()
    with serve(root) as running:
        yield running


def change(path: Path, **fields: Any) -> Path:
    """Write an item again with other fields; ``properties`` and ``assets`` are merged."""
    content = json.loads(path.read_text())
    for name, value in fields.items():
        content[name] = content[name] | value if isinstance(content.get(name), dict) else value
    path.write_text(json.dumps(content))
    return path


def scaling(path: Path | str, **options: Any) -> str:
    return nirgeo.open_scene(path, **options).attrs["nirgeo_scaling"]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_picture_is_that_of_the_files(tmp_path: Path, tiny: Model, version: str) -> None:
    path = write_scene_item(tmp_path / "s2", version=version)
    by_item, by_files = tmp_path / "item.tif", tmp_path / "files.tif"
    options = ("--model", tiny.path)
    command("colorize", path, "-o", by_item, *options)
    stack = ("--stack", f"nir={tmp_path / 's2' / 'B08.tif'}", "--scale", SCALE)
    command("colorize", *stack, "-o", by_files, *options)
    np.testing.assert_array_equal(read(by_item)[0], read(by_files)[0])
    np.testing.assert_array_equal(read(by_item)[1], read(by_files)[1])
    # What is recorded serves the next scene; and the result has no name from the item.
    assert command("colorize", path, *options).stdout.strip().endswith("s2/item_rgb.tif")
    assert scaling(tmp_path / "s2" / "B08.tif", scale=str(by_item)) == scaling(path)


def test_bands_are_named_and_told(tmp_path: Path) -> None:
    path = write_scene_item(tmp_path)
    scene = nirgeo.open_scene(path)
    assert list(scene["band"].values) == ["red", "green", "blue", "nir"]
    for role, values in scene_counts().items():
        np.testing.assert_array_equal(scene.sel(band=role), values)
    assert scene.attrs["nirgeo_scaling_origin"] == "STAC raster:bands"
    facts = json.loads(command("info", path, "--json").stdout)
    assert facts["bands"] == ["1: red (B04)", "2: green (B03)", "3: blue (B02)", "4: nir (B08)"]
    assert facts["scaling"] == "reflectance = 0.0001 · DN − 0.1 (STAC raster:bands)"
    result = command("colorize", path, "--model", "satellite-nir", "-o", tmp_path / "x.tif")
    assert "near infrared: band 4: nir (B08)" in result.stderr


def test_a_part_of_a_scene(tmp_path: Path) -> None:
    bounds = (500_100.0, 4_999_000.0, 500_500.0, 4_999_600.0)
    part = nirgeo.open_scene(write_scene_item(tmp_path), bounds=bounds)
    assert dict(part.sizes) == {"band": 4, "y": 60, "x": 40}


def test_resolutions_are_brought_together(tmp_path: Path) -> None:
    path = write_scene_item(tmp_path)
    coarse = NORTH_UP_10M @ rasterio.Affine.scale(2)
    counts = scene_counts()["red"][::2, ::2]
    write_raster(tmp_path / "B04.tif", counts, transform=coarse, nodata=0)
    scene = nirgeo.open_scene(path)
    assert scene.sizes["y"] == 140
    view = view_of(scene)
    assert view is not None
    assert "B04.tif (100×70 px) is resampled" in view.source.notes[0]
    # Without a coordinate system they can't be, and both grids are named.
    write_raster(tmp_path / "B04.tif", counts, crs=None, transform=None, nodata=0)
    with pytest.raises(nirgeo.NirgeoError, match=r"100×70 px.*200×140 px"):
        nirgeo.open_scene(path)


def test_what_files_say_comes_before_what_the_item_says(tmp_path: Path) -> None:
    counts = scene_counts()
    path = write_scene_item(tmp_path, raster={"nodata": 0, "scale": 0.5, "offset": 3})
    assert scaling(path) == "reflectance:0.5,3.0"
    for role in ("B04", "B03", "B02", "B08"):
        write_raster(tmp_path / f"{role}.tif", counts["nir"], scales=[0.25], offsets=[1])
    assert scaling(path) == "reflectance:0.25,1.0"
    assert scaling(path, scale="0.125") == "reflectance:0.125,0.0"


def test_nodata_of_the_item_where_a_file_has_none(tmp_path: Path) -> None:
    path = write_scene_item(tmp_path, nodata=None)
    scene = nirgeo.open_scene(path)
    wanted = scene_counts()["nir"] != 0
    np.testing.assert_array_equal(scene["valid"].values, wanted)
    # A file's own mask holds, and so does what the caller says.
    for name in ("B08", "B04", "B03"):
        with rasterio.open(tmp_path / f"{name}.tif", "r+") as file:
            file.nodata = 7
    assert nirgeo.open_scene(path)["valid"].values.all()
    marked = int(scene_counts()["nir"][70, 70])
    seen = nirgeo.open_scene(path, nodata=marked)["valid"].values
    eaten = (scene_counts()[role] for role in ("nir", "red", "green"))
    np.testing.assert_array_equal(seen, np.all([c != marked for c in eaten], axis=0))
    assert nirgeo.open_scene(
        write_scene_item(tmp_path / "w", nodata=None, raster={"nodata": "nan"})
    )["valid"].values.all()


def test_several_bands_in_one_file(tmp_path: Path) -> None:
    counts = scene_counts()
    write_raster(tmp_path / "m.tif", np.stack(list(counts.values())), nodata=0)
    names = [{"name": r, "common_name": r} for r in counts]
    asset = {"href": "./m.tif", "type": "image/tiff", "eo:bands": names, "roles": ["data"]}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item({"image": asset})))
    scene = nirgeo.open_scene(path)
    for role, values in counts.items():
        np.testing.assert_array_equal(scene.sel(band=role), values)
    asset["eo:bands"] = [*names, {"name": "nir too"}]
    path.write_text(json.dumps(item({"image": asset})))
    with pytest.raises(BandError, match="has 4 bands, and 5 are described"):
        nirgeo.open_scene(path, nir="5")
    # One that is missing would make of blue what is near infrared.
    asset["eo:bands"] = names[1:]
    path.write_text(json.dumps(item({"image": asset})))
    with pytest.raises(BandError, match="has 4 bands, and 3 are described"):
        nirgeo.open_scene(path)


@pytest.mark.parametrize(
    ("key", "field"), [("eo:bands", "center_wavelength"), ("bands", "eo:center_wavelength")]
)
def test_bands_known_by_their_wavelengths(tmp_path: Path, key: str, field: str) -> None:
    counts = scene_counts()
    write_raster(tmp_path / "m.tif", np.stack(list(counts.values())), nodata=0)
    middle = {"blue": 0.49, "green": 0.56, "red": 0.665, "nir": 0.842}
    described = [{"name": f"x{k}", field: middle[r]} for k, r in enumerate(counts)]
    path = tmp_path / "item.json"
    path.write_text(
        json.dumps(item({"m": {"href": "m.tif", "type": "image/tiff", key: described}}))
    )
    scene = nirgeo.open_scene(path)
    for role, values in counts.items():
        np.testing.assert_array_equal(scene.sel(band=role), values)


def test_an_alpha_band_need_not_be_described(tmp_path: Path) -> None:
    values = scene_counts()["nir"]
    alpha = np.where(values == 0, 0, 65535).astype(np.uint16)
    kinds = ("gray", "alpha")
    write_raster(tmp_path / "nir.tif", np.stack([values, alpha]), colorinterp=kinds)
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item({"nir": band("./nir.tif", "B08", "nir")})))
    scene = nirgeo.open_scene(path)
    np.testing.assert_array_equal(scene.sel(band="nir"), values)
    np.testing.assert_array_equal(scene["valid"], values != 0)


@pytest.mark.parametrize("key", ["data", "nir"])
@pytest.mark.parametrize("more", [{}, {"cloud": {"href": "./other.tif", "type": "image/tiff"}}])
def test_bands_that_the_item_does_not_describe_are_the_files(
    tmp_path: Path, key: str, more: dict[str, Any]
) -> None:
    if more and key == "data":
        pytest.skip("nothing then says which asset is near infrared")
    counts = scene_counts()
    values = np.stack(list(counts.values()))
    write_raster(tmp_path / "m.tif", values, nodata=0, descriptions=tuple(counts))
    write_raster(tmp_path / "other.tif", values[:1])
    asset = {"href": "./m.tif", "type": "image/tiff", "roles": ["data"], "raster:scale": 0.0002}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item({key: asset, **more})))
    scene = nirgeo.open_scene(path)
    assert dict(view_of(scene).source.roles) == {"red": 1, "green": 2, "blue": 3, "nir": 4}
    for role, wanted in counts.items():
        np.testing.assert_array_equal(scene.sel(band=role), wanted)
    assert "0.0002" in scene.attrs["nirgeo_scaling"]  # what the item says of them holds
    for name in (key, "nir") if more else (key, "4", "nir"):
        found = dict(view_of(nirgeo.open_scene(path, nir=name)).source.roles)
        assert found["nir"] == 4
    # Nothing in the file says which, so nobody guesses.
    write_raster(tmp_path / "m.tif", values, nodata=0)
    handles.close_all()
    with pytest.raises(BandError, match="nothing says which band is near infrared"):
        nirgeo.open_scene(path)
    if not more:
        assert dict(view_of(nirgeo.open_scene(path, nir="4")).source.roles)["nir"] == 4


def test_other_bands(tmp_path: Path) -> None:
    path = write_scene_item(tmp_path)
    np.testing.assert_array_equal(
        nirgeo.open_scene(path, nir="B02").sel(band="nir"), scene_counts()["blue"]
    )
    own = write_raster(tmp_path / "own.tif", scene_counts(seed=9)["red"], nodata=0)
    scene = nirgeo.open_scene(path, stack={"red": own})
    np.testing.assert_array_equal(scene.sel(band="red"), scene_counts(seed=9)["red"])
    with pytest.raises(OptionError, match="leaves nothing of the item"):
        nirgeo.open_scene(path, stack={"nir": own})


# --- Sentinel-2's offset --------------------------------------------------------------------------


def test_an_offset_that_is_applied_already(tmp_path: Path) -> None:
    # Earth Search's sentinel-2-l2a: the offset is still stated, but the pixels have it in them.
    path = write_scene_item(tmp_path, collection="sentinel-2-l2a")
    for name in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"):
        flagged = write_scene_item(tmp_path, properties={name: True})
        scene = nirgeo.open_scene(flagged)
        assert scene.attrs["nirgeo_scaling"] == "reflectance:0.0001,0.0"
        assert "already applied" in scene.attrs["nirgeo_scaling_origin"]
    # What the item states of the gain holds.
    raster = {"nodata": 0, "scale": 0.0002, "offset": OFFSET}
    path = write_scene_item(
        tmp_path, raster=raster, properties={"earthsearch:boa_offset_applied": True}
    )
    assert scaling(path) == "reflectance:0.0002,0.0"
    # Older items state no scale at all; the baseline must not bring the offset back.
    properties = {"sentinel:boa_offset_applied": True, "s2:processing_baseline": "04.00"}
    path = write_scene_item(tmp_path, raster={}, properties=properties)
    assert scaling(path) == "reflectance:0.0001,0.0"


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [
        *(("05.10", -0.1), ("02.14", 0.0), ("unknown", 0.0)),
        *((5.09, -0.1), (4, -0.1), (2.14, 0.0), (True, 0.0), (10**400, 0.0), (None, 0.0)),
    ],
)
def test_the_baseline_where_no_scale_is_stated(
    tmp_path: Path, baseline: Any, offset: float
) -> None:
    # Planetary Computer states no scale.
    path = write_scene_item(tmp_path, raster={}, properties={"s2:processing_baseline": baseline})
    assert scaling(path) == f"reflectance:0.0001,{offset}"


def test_an_offset_without_a_scale(tmp_path: Path) -> None:
    # The raster extension: a scale that is not stated is 1.
    share = {role: (v / 10_000).astype(np.float32) for role, v in scene_counts().items()}
    raster = {"nodata": 0, "offset": -0.1}
    path = write_scene_item(tmp_path, counts=share, raster=raster)
    assert scaling(path) == "reflectance:1.0,-0.1"
    # Where the offset is applied already, what is left is Sentinel-2's gain.
    flag = {"earthsearch:boa_offset_applied": True}
    path = write_scene_item(tmp_path, raster=raster, properties=flag)
    assert scaling(path) == "reflectance:0.0001,0.0"


def test_a_flag_that_the_pixels_contradict_is_refused(tmp_path: Path) -> None:
    flag = {"earthsearch:boa_offset_applied": False}
    path = write_scene_item(tmp_path, properties=flag)
    assert scaling(path) == "reflectance:0.0001,-0.1"
    dark = {role: np.maximum(v, 1001) - 1000 for role, v in scene_counts().items()}
    path = write_scene_item(tmp_path, counts=dark, properties=flag)
    with pytest.raises(
        RadiometryError, match=r"below -0\.0.*--scale 0\.0001, or --scale 0\.0001,-0\.1"
    ):
        nirgeo.open_scene(path)
    assert scaling(path, scale="0.0001") == "reflectance:0.0001,0.0"
    assert scaling(path, scale="0.0001,-0.1") == "reflectance:0.0001,-0.1"
    # Where there is no pixel, none contradicts.
    empty = {role: np.zeros_like(v) for role, v in scene_counts().items()}
    path = write_scene_item(tmp_path / "empty", counts=empty, properties=flag)
    assert scaling(path) == "reflectance:0.0001,-0.1"
    # Only Earth Search's own flag is doubted.
    path = write_scene_item(tmp_path, counts=dark)
    assert scaling(path) == "reflectance:0.0001,-0.1"


def test_landsat(tmp_path: Path) -> None:
    counts = scene_counts()
    write_raster(tmp_path / "B5.TIF", counts["nir"], nodata=0)
    asset = band("./B5.TIF", "OLI_B5", "nir08", scale=2.75e-05, offset=-0.2, nodata=0)
    path = tmp_path / "LC09_L2SP_193028_20240508_02_T1.json"
    path.write_text(json.dumps(item({"nir08": asset}, collection="landsat-c2-l2")))
    assert scaling(path) == "reflectance:2.75e-05,-0.2"


def test_eight_bits_stay_counts(tmp_path: Path) -> None:
    values = np.stack([np.full((70, 70), 10 * k, dtype=np.uint8) for k in (1, 2, 3, 4)])
    write_raster(tmp_path / "m.tif", values)
    names = [{"name": r, "common_name": r} for r in ("red", "green", "blue", "nir")]
    asset = {"href": "m.tif", "type": "image/tiff", "eo:bands": names}
    path = tmp_path / "naip.json"
    path.write_text(json.dumps(item({"image": asset}, collection="naip")))
    assert scaling(path) == "counts:1.0,0.0"


# --- over the network -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["a/item.json", "collections/s2/items/S2B_x.y", "item", "search", "moved"]
)
def test_an_item_from_the_network(
    tmp_path: Path, server: Server, tiny: Model, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_scene_item(server.root / "a", counts=scene_counts(300, 400))
    content = json.loads(path.read_text())
    for asset in content["assets"].values():
        asset["href"] = f"{server.url}/a/{asset['href'][2:]}"
    own = {"links": [{"rel": "self", "href": f"{server.url}/a/item.json"}]}
    server.answer("/collections/s2/items/S2B_x.y", content)
    server.answer("/item", content)
    server.answer("/search", {"type": "FeatureCollection", "features": [content | own]})
    server.answer("/moved", b"", 301, Location="/a/item.json")
    monkeypatch.chdir(tmp_path)
    result = command("colorize", f"{server.url}/{address}", "--model", tiny.path)
    made = result.stdout.strip()
    assert made == ("S2B_x.y" if "items" in address else Path(address).stem) + "_rgb.tif"
    command("colorize", path, "-o", "local.tif", "--model", tiny.path)
    np.testing.assert_array_equal(read(Path(made))[0], read(Path("local.tif"))[0])


def test_only_what_is_needed_is_read(server: Server) -> None:
    counts = {role: np.tile(v, (10, 8)) for role, v in scene_counts().items()}
    write_scene_item(server.root, counts=counts)
    for name, values in zip(("B04", "B03", "B02", "B08"), counts.values(), strict=True):
        write_raster(server.root / f"{name}.tif", values, nodata=0, tiled=True)
    total = sum(p.stat().st_size for p in server.root.glob("*.tif"))
    bounds = (500_000.0, 4_999_000.0, 501_000.0, 5_000_000.0)
    scene = nirgeo.open_scene(f"{server.url}/item.json", bounds=bounds)
    np.testing.assert_array_equal(scene.sel(band="nir"), counts["nir"][:100, :100])
    assert server.sent < total / 3


def test_signed_urls(
    tmp_path: Path, server: Server, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = server.root / "a"
    write_scene_item(folder, counts=scene_counts(200, 200))

    def guarded(name: str) -> Any:
        def serve_if_signed(handler: Any) -> Any:
            if handler.query.get("sig") != ["se/cret+"]:
                return 403, {}, b""
            return handler._file(folder / name)

        return serve_if_signed

    local = tmp_path / "saved.json"
    assets = {}
    for role, name in [("nir", "B08.tif"), ("red", "B04.tif")]:
        server.answers[f"/signed/{name}"] = guarded(name)
        href = f"{server.url}/signed/{name}?st=2024&sv=1&sig=se%2Fcret%2B"
        assets[role] = band(href, role, role, scale=GAIN, offset=OFFSET)
    local.write_text(json.dumps(item(assets)))
    result = command("colorize", local, "-o", tmp_path / "x.tif", "--model", tiny.path)
    assert read(tmp_path / "x.tif")[0].shape == (3, 200, 200)
    # The same scene although it was signed anew, as for --resume; and no secret is told.
    first = nirgeo.open_scene(local)
    text = local.read_text()
    local.write_text(text.replace("st=2024", "st=2025"))
    again = nirgeo.open_scene(local)
    assert view_of(first).identity() == view_of(again).identity()  # type: ignore[union-attr]
    assert "cret" not in result.stderr + str(view_of(first).identity())  # type: ignore[union-attr]
    local.write_text(text.replace("se%2Fcret%2B", "s3cr3t"))
    refused = command("colorize", local, "-o", tmp_path / "y.tif", expect=1)
    assert "403" in refused.stderr
    assert "sign the item first" in refused.stderr
    assert "s3cr3t" not in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_what_cannot_be_reached(tmp_path: Path, server: Server) -> None:
    path = write_scene_item(server.root)
    (server.root / "B08.tif").unlink()
    with pytest.raises(SourceError, match=r"STAC item S2B.*B08.tif.*404"):
        nirgeo.open_scene(f"{server.url}/item.json")
    with pytest.raises(SourceError, match=r"STAC item S2B.*B08.tif: no such file"):
        nirgeo.open_scene(path)
    with pytest.raises(SourceError, match="the server answers 404"):
        nirgeo.open_scene(f"{server.url}/none.json")
    result = command(
        *("colorize", f"{server.url}/none.json", "-o", tmp_path / "x.tif"),
        *("--progress", "jsonl"),
        expect=1,
    )
    assert events(result.stdout)[-1]["code"] == "source-unreadable"


def test_rasters_from_the_network_are_not_taken_for_items(server: Server) -> None:
    write_raster(server.root / "scene.tif", scene_counts()["nir"])
    assert nirgeo.open_scene(f"{server.url}/scene.tif").sizes["x"] == 200
    assert [path for method, path in server.asked if "json" in path] == []
    # One without a suffix is asked what it is, and then read as what it is.
    data = (server.root / "scene.tif").read_bytes()
    (server.root / "scene").write_bytes(data)
    assert nirgeo.open_scene(f"{server.url}/scene").sizes["x"] == 200


# --- items that mean harm -------------------------------------------------------------------------


def harmful(server: Server, href: str) -> str:
    server.answer("/evil", item({"nir": band(href, "B08", "nir")}))
    return f"{server.url}/evil"


def test_an_item_from_the_network_names_no_local_file(tmp_path: Path, server: Server) -> None:
    secret = write_raster(tmp_path / "secret.tif", scene_counts()["nir"])
    for href in (secret.as_uri(), f"/vsizip/{secret}", f"vrt://{secret}"):
        with pytest.raises(SourceError, match="evil: "):
            nirgeo.open_scene(harmful(server, href))
    # An absolute path is one on the server.
    with pytest.raises(SourceError, match="404"):
        nirgeo.open_scene(harmful(server, str(secret)))


def test_a_file_from_the_network_does_not_lead_to_a_local_one(
    tmp_path: Path, server: Server
) -> None:
    secret = write_raster(tmp_path / "secret.tif", scene_counts()["nir"])
    disguised = server.root / "B08.tif"
    rasterio.shutil.copy(str(secret), str(disguised), driver="VRT")
    assert str(secret) in disguised.read_text()
    with pytest.raises(SourceError, match="not a GeoTIFF or JPEG 2000 file"):
        nirgeo.open_scene(harmful(server, f"{server.url}/B08.tif"))
    # So it is with local items, but their own VRTs are their owner's.
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item({"nir": band(f"{server.url}/B08.tif", "B08", "nir")})))
    with pytest.raises(SourceError, match="not a GeoTIFF or JPEG 2000 file"):
        nirgeo.open_scene(path)
    path.write_text(json.dumps(item({"nir": band(str(disguised), "B08", "nir")})))
    assert nirgeo.open_scene(path).sizes["x"] == 200


def test_windows_are_read_under_the_same_limits(tmp_path: Path, server: Server) -> None:
    # A server may send a sound file first and another one later.
    secret = write_raster(tmp_path / "secret.tif", np.full((140, 200), 4242, dtype=np.uint16))
    write_scene_item(server.root)
    scene = nirgeo.open_scene(f"{server.url}/item.json")
    (server.root / "B08.tif").unlink()
    rasterio.shutil.copy(str(secret), str(server.root / "B08.tif"), driver="VRT")
    handles.close_all()  # as in another thread, or on another machine
    fresh = {"VSI_CACHE": False, "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/"}
    with rasterio.Env(**fresh), pytest.raises(SourceError, match="not a GeoTIFF or JPEG 2000"):
        scene.sel(band="nir").compute(scheduler="sync")


# --- what is no item ------------------------------------------------------------------------------


def test_one_of_several_is_named_by_its_id(tmp_path: Path) -> None:
    folder = tmp_path / "a#b"
    one = json.loads(write_scene_item(folder).read_text())
    search = folder / "what#1.json"
    both = {"type": "FeatureCollection", "features": [one | {"id": "x#1"}, one | {"id": "y"}]}
    search.write_text(json.dumps(both))
    with pytest.raises(SourceError, match=r"name one as .*what#1\.json#ID \(x#1, y\)"):
        nirgeo.open_scene(search)
    for name in ("x#1", "y"):
        assert nirgeo.open_scene(f"{search}#{name}").shape[0] == 4
    done = command("colorize", search, "--out-dir", tmp_path / "out", "--scale", SCALE, "--stac")
    assert len(done.stdout.splitlines()) == 2
    # The search is not the item of either.
    links = json.loads((tmp_path / "out" / "y_rgb.json").read_text())["links"]
    assert [link["title"] for link in links] == ["the model satellite-nir@5"]


def test_collections_and_catalogues_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    two = [item({}), item({})]
    for content, said in [
        (
            {"type": "FeatureCollection", "features": two},
            "holds 2 items; they have no ids",
        ),
        ({"type": "FeatureCollection", "features": []}, "holds 0 items"),
        ({"type": "Collection", "stac_version": "1.0.0", "id": "c"}, "a Collection, not a STAC"),
        ({"type": "Catalog", "stac_version": "1.0.0", "id": "c"}, "a Catalog, not a STAC item"),
        ({"hello": "world"}, "not a raster that GDAL can read"),
    ]:
        path.write_text(json.dumps(content))
        with pytest.raises(SourceError, match=said):
            nirgeo.open_scene(path)


def test_a_saved_search_of_one_item(tmp_path: Path) -> None:
    path = write_scene_item(tmp_path)
    content = json.loads(path.read_text())
    saved = tmp_path / "search.geojson"
    saved.write_text(json.dumps({"type": "FeatureCollection", "features": [content]}))
    assert nirgeo.open_scene(saved).equals(nirgeo.open_scene(path))


def test_several_items(tmp_path: Path, tiny: Model) -> None:
    first = write_scene_item(tmp_path / "a")
    second = write_scene_item(tmp_path / "b", counts=scene_counts(seed=8))
    second = second.rename(second.with_name("other.json"))
    made = command("colorize", first, second, "--out-dir", tmp_path / "out", "--model", tiny.path)
    assert [Path(line).name for line in made.stdout.split()] == ["item_rgb.tif", "other_rgb.tif"]


def test_files_of_colours_with_other_bands_are_left_out(tmp_path: Path) -> None:
    counts = scene_counts()
    write_raster(tmp_path / "nir.tif", counts["nir"], nodata=0)
    write_raster(tmp_path / "red.tif", np.stack([counts["red"], counts["green"]]), nodata=0)
    plain = {"type": "image/tiff", "roles": ["data"]}
    assets = {name: {"href": f"./{name}.tif", **plain} for name in ("nir", "red")}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item(assets)))
    scene = nirgeo.open_scene(path)
    assert [name for name, _ in view_of(scene).source.roles] == ["nir"]
    assert any("has other bands" in note for note in view_of(scene).source.notes)
    with pytest.raises(BandError, match="--red: asset red has other bands"):
        nirgeo.open_scene(path, red="red")


def test_a_number_is_a_band_of_the_file_where_nothing_describes_it(tmp_path: Path) -> None:
    counts = scene_counts()
    write_raster(tmp_path / "nir.tif", np.stack([counts["nir"], counts["red"]]), nodata=0)
    write_raster(tmp_path / "other.tif", counts["red"], nodata=0)
    plain = {"type": "image/tiff", "roles": ["data"]}
    assets = {name: {"href": f"./{name}.tif", **plain} for name in ("nir", "other")}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item(assets)))
    scene = nirgeo.open_scene(path, nir="1")
    np.testing.assert_array_equal(scene.sel(band="nir"), counts["nir"])


def test_what_an_asset_before_near_infrared_does_not_describe_is_not_read(tmp_path: Path) -> None:
    counts = scene_counts()
    several = np.stack([counts["red"], counts["green"], counts["blue"], counts["red"]])
    write_raster(tmp_path / "m.tif", several, descriptions=("red", "green", "blue", "nir"))
    write_raster(tmp_path / "nir.tif", counts["nir"], nodata=0)
    assets = {
        "first": {"href": "./m.tif", "type": "image/tiff", "roles": ["data"]},
        "nir": band("./nir.tif", "B08", "nir"),
    }
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item(assets)))
    scene = nirgeo.open_scene(path)
    assert list(scene["band"].values) == ["nir"]
    np.testing.assert_array_equal(scene.sel(band="nir"), counts["nir"])


def test_a_number_is_a_band_of_the_only_asset(tmp_path: Path) -> None:
    counts = scene_counts()
    write_raster(tmp_path / "m.tif", np.stack(list(counts.values())), nodata=0)
    names = [{"name": f"x{k}"} for k in "abcd"]
    asset = {"href": "./m.tif", "type": "image/tiff", "eo:bands": names}
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item({"m": asset})))
    scene = nirgeo.open_scene(path, nir="4", red="1")
    for role in ("nir", "red"):
        np.testing.assert_array_equal(scene.sel(band=role), counts[role])


def test_the_time_is_the_files_where_the_item_has_none(tmp_path: Path) -> None:
    tags = {"TIFFTAG_DATETIME": "2024:05:08 10:15:59"}
    write_raster(tmp_path / "nir.tif", scene_counts()["nir"], nodata=0, tags=tags)
    path = tmp_path / "item.json"
    for own, taken in (("2020-01-01T00:00:00Z", "2020-01-01"), (None, "2024-05-08")):
        content = item({"nir": band("./nir.tif", "B08", "nir")}, properties={"datetime": own})
        path.write_text(json.dumps(content))
        found = view_of(nirgeo.open_scene(path)).source.acquisition
        assert found is not None
        assert found.fields()["datetime"].startswith(taken)
