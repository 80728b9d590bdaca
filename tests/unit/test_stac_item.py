"""Items as catalogues in use write them: which band is which, and what its values mean."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from stac_items import COG, band, item

from nirgeo.errors import BandError, SourceError
from nirgeo.stac.document import Document
from nirgeo.stac.item import Item, parse_item, self_href
from nirgeo.stac.scene import choose_bands, find_item

HREF = "https://example.org/items/x"


def parsed(assets: dict[str, Any], **fields: Any) -> Item:
    return parse_item(Document(item(assets, **fields), HREF))


def chosen(assets: dict[str, Any], explicit: dict[str, str] | None = None, **fields: Any):
    """Roles with asset and number of band."""
    found, _ = choose_bands(parsed(assets, **fields), explicit)
    return {role: (b.asset, b.index) for role, b in found.items()}


def jp2(asset: dict[str, Any], href: str) -> dict[str, Any]:
    return asset | {"href": href, "type": "image/jp2"}


def picture(*names: str) -> dict[str, Any]:
    """A true-colour picture of three bands, called data as Planetary Computer calls it."""
    bands = [
        {"name": n, "common_name": c} for n, c in zip(names, ("red", "green", "blue"), strict=True)
    ]
    return {"href": "https://a/TCI.tif", "type": COG, "roles": ["data"], "eo:bands": bands}


STATED = {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
ALL = {role: (role, 1) for role in ("red", "green", "blue", "nir")}


class TestShapes:
    def test_earth_search(self) -> None:
        names = [
            *(("red", "B04"), ("green", "B03"), ("blue", "B02"), ("nir", "B08")),
            *(("nir08", "B8A"), ("nir09", "B09"), ("rededge1", "B05"), ("swir16", "B11")),
        ]
        assets: dict[str, Any] = {}
        for key, name in names:
            common = "rededge" if key.startswith("rededge") else key
            asset = band(f"https://a/{name}.tif", name, common, **STATED)
            # The originals come first here: a GeoTIFF is cheaper to read.
            assets |= {f"{key}-jp2": jp2(asset, f"s3://b/{name}.jp2"), key: asset}
        assets["visual"] = picture("B04", "B03", "B02") | {"roles": ["visual"]}
        assets["thumbnail"] = {"href": "t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
        assets["scl"] = {"href": "https://a/SCL.tif", "type": COG, "roles": ["data"]}
        assert chosen(assets) == ALL
        found, notes = choose_bands(parsed(assets))
        assert found["nir"].stated == (0.0001, -0.1)
        assert found["nir"].nodata == 0
        assert notes == []

    def test_planetary_computer(self) -> None:
        assets = {
            name: band(f"https://a/{name}.tif?sig=x", name, common)
            for name, common in [
                *(("B02", "blue"), ("B03", "green"), ("B04", "red"), ("B08", "nir")),
                *(("B05", "rededge"), ("B8A", "rededge")),
            ]
        }
        assets = {"visual": picture("B04", "B03", "B02"), **assets}
        wanted = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}
        assert chosen(assets) == {role: (name, 1) for role, name in wanted.items()}

    def test_landsat_has_the_narrow_band_only(self) -> None:
        stated = {"nodata": 0, "scale": 2.75e-05, "offset": -0.2}
        assets = {
            key: band(f"https://a/LC09_SR_{name}.TIF", f"OLI_{name}", key, **stated)
            | {"roles": ["reflectance"]}
            for key, name in [
                *(("coastal", "B1"), ("blue", "B2"), ("green", "B3")),
                *(("red", "B4"), ("nir08", "B5"), ("swir16", "B6")),
            ]
        }
        assets["lwir11"] = band("https://a/ST_B10.TIF", "TIRS_B10", "lwir11") | {
            "roles": ["temperature"]
        }
        assert chosen(assets) == ALL | {"nir": ("nir08", 1)}

    def test_copernicus_data_space_with_every_resolution(self) -> None:
        assets = {}
        for name, common, sides in [
            *(("B04", "red", (60, 10, 20)), ("B03", "green", (60, 20, 10))),
            *(("B02", "blue", (10, 20, 60)), ("B08", "nir", (10,)), ("B8A", "nir08", (20, 60))),
        ]:
            for side in sides:
                asset = band(
                    *(f"s3://eodata/{name}_{side}m.jp2", name, common),
                    version="1.1", scale=0.0001, offset=-0.1, nodata=0,
                )  # fmt: skip
                grid = [side, 0, 499980, 0, -side, 7800000, 0, 0, 1]
                assets[f"{name}_{side}m"] = asset | {"type": "image/jp2", "proj:transform": grid}
        found, _ = choose_bands(parsed(assets, stac_version="1.1.0"))
        wanted = {"red": "B04_10m", "green": "B03_10m", "blue": "B02_10m", "nir": "B08_10m"}
        assert {role: b.asset for role, b in found.items()} == wanted
        assert {b.stated for b in found.values()} == {(0.0001, -0.1)}
        assert found["nir"].nodata == 0

    def test_one_file_with_all_bands(self) -> None:
        bands = [{"name": n, "common_name": n.lower()} for n in ("Red", "Green", "Blue", "NIR")]
        asset = {"href": "https://a/m.tif", "type": COG, "eo:bands": bands, "roles": ["data"]}
        wanted = {"red": 1, "green": 2, "blue": 3, "nir": 4}
        assert chosen({"image": asset}) == {r: ("image", k) for r, k in wanted.items()}
        assert chosen({"image": asset}, {"nir": "1"})["nir"] == ("image", 1)
        # A 1.1 asset may state for all of its bands what they share.
        modern = {
            "href": "https://a/m.tif",
            "type": COG,
            "raster:scale": 0.5,
            "nodata": "nan",
            "bands": [
                {"name": "x", "eo:common_name": "nir"},
                {"name": "y", "eo:common_name": "red", "raster:scale": 0.5, "nodata": -1},
            ],
        }
        found, _ = choose_bands(parsed({"image": modern}))
        assert (found["nir"].stated, found["red"].stated) == ((0.5, 0.0), (0.5, 0.0))
        assert math.isnan(found["nir"].nodata or 0)
        assert found["red"].nodata == -1

    def test_names_where_there_are_no_common_names(self) -> None:
        plain = {key: {"href": f"./{key}.tif"} for key in ("red", "green", "blue", "nir")}
        assert chosen(plain, collection="mine") == ALL
        codes = {f"B{k:02d}_10m": {"href": f"./{k}.jp2"} for k in (2, 3, 4, 8)}
        found = chosen(codes, properties={"platform": "sentinel-2a"})
        assert found["nir"] == ("B08_10m", 1)
        assert found["red"] == ("B04_10m", 1)


class TestChoosing:
    def test_a_picture_does_not_stand_in_for_a_band(self) -> None:
        assets = {"visual": picture("r", "g", "b"), "nir": band("./n.tif", "B08", "nir")}
        assert chosen(assets) == {"nir": ("nir", 1)}

    def test_by_name(self) -> None:
        assets = {
            key: band(f"./{key}.tif", name, key)
            for key, name in [("nir", "B08"), ("nir08", "B8A"), ("red", "B04")]
        }
        for name in ("nir08", "NIR08", "B8A", "b8a"):
            assert chosen(assets, {"nir": name})["nir"] == ("nir08", 1)
        for name in ("swir", "", "2"):
            with pytest.raises(BandError, match=r"no asset or band has this name.*nir08 \(B8A\)"):
                chosen(assets, {"nir": name})

    def test_by_common_name(self) -> None:
        assets = {name: band(f"./{name}.tif", name, c) for name, c in (("a", "nir"), ("b", "swir"))}
        assert chosen(assets, {"nir": "SWIR"})["nir"] == ("b", 1)

    def test_a_number_is_a_band_of_a_single_asset_only(self) -> None:
        assets = {key: band(f"./{key}.tif", f"B0{key}", "") for key in ("4", "8")}
        assert chosen(assets, {"nir": "8"})["nir"] == ("8", 1)
        with pytest.raises(BandError, match="no asset or band has this name"):
            chosen(assets, {"nir": "1"})

    def test_an_asset_of_several_bands_names_none_of_them(self) -> None:
        several = [{"name": "first"}, {"name": "second"}]
        asset = {"href": "./m.tif", "type": COG, "eo:bands": several}
        assert chosen({"nir": asset}, {"nir": "second"})["nir"] == ("nir", 2)
        for explicit in ({"nir": "nir"}, None):
            with pytest.raises(BandError):
                chosen({"nir": asset}, explicit)

    def test_an_asset_of_one_band_may_tell_what_its_band_does_not(self) -> None:
        assets = {key: band(f"./{key}.tif", f"x{key}", "") for key in ("nir", "red")}
        assert chosen(assets) == {role: (role, 1) for role in ("nir", "red")}

    def test_a_file_of_its_own_goes_before_one_of_several_bands(self) -> None:
        several = [{"name": c, "common_name": c} for c in ("red", "nir")]
        assets = {
            "fine": {"href": "./m.tif", "type": COG, "eo:bands": several, "gsd": 5},
            "nir": band("./n.tif", "B08", "nir") | {"gsd": 10},
        }
        assert chosen(assets) == {"nir": ("nir", 1)}

    def test_bands_on_other_scales_are_not_mixed(self) -> None:
        assets = {
            "nir": band("./n.tif", "B08", "nir", **STATED),
            "red": band("./r.tif", "B04", "red", **STATED),
            "green": band("./g.tif", "B03", "green", scale=0.5),
        }
        found, notes = choose_bands(parsed(assets))
        assert set(found) == {"nir", "red"}
        assert "green (B03) is scaled otherwise" in notes[0]
        with pytest.raises(BandError, match="can't be read together"):
            chosen(assets, {"green": "green"})

    def test_every_way_of_having_no_unit_is_the_same(self) -> None:
        units = {"nir": "1", "red": "", "green": "Reflectance ", "blue": "unitless"}
        assets = {
            role: band(f"./{role}.tif", role, role, **STATED, **({"unit": u} if u else {}))
            for role, u in units.items()
        }
        found, notes = choose_bands(parsed(assets))
        assert set(found) == set(units)
        assert notes == []
        assets["red"] = band("./red.tif", "red", "red", **STATED, unit="K")
        found, notes = choose_bands(parsed(assets))
        assert set(found) == {"nir", "green", "blue"}
        assert "red is scaled otherwise" in notes[0]

    @pytest.mark.parametrize(
        "assets",
        [
            {},
            {"red": band("./r.tif", "B04", "red")},
            {"red": band("./r.tif", "B04", "red"), "green": band("./g.tif", "B03", "green")},
            {"nir": band("./n.tif", "B08", "nir") | {"roles": ["thumbnail"]}},
            {"nir": band("./n.tif", "B08", "nir") | {"type": "application/vnd+zarr"}},
        ],
    )
    def test_without_near_infrared(self, assets: dict[str, Any]) -> None:
        with pytest.raises(
            BandError, match=r"no asset is near infrared.*--nir ASSET. Raster assets:"
        ):
            chosen(assets)

    def test_radiance_is_no_reflectance(self) -> None:
        asset = band("./n.tif", "B4", "nir", scale=0.01, unit="W⋅sr−1⋅m−2⋅nm−1")
        found, _ = choose_bands(parsed({"nir": asset}))
        assert found["nir"].stated is None
        plain = band("./n.tif", "B4", "nir", scale=1, offset=0)
        assert choose_bands(parsed({"nir": plain}))[0]["nir"].stated is None

    def test_a_scale_that_is_not_stated_is_1(self) -> None:
        for offset, stated in [(-0.1, (1.0, -0.1)), (0, None)]:
            asset = band("./n.tif", "B4", "nir", offset=offset)
            assert choose_bands(parsed({"nir": asset}))[0]["nir"].stated == stated


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"type": "Catalog", "stac_version": "1.0.0"}, "a Catalog, not a STAC item"),
            ({"type": "Feature", "id": "x"}, "a Feature, not a STAC item"),
            ({"type": ["Feature"], "assets": {}}, "not a STAC item"),
            ({"type": "Feature", "assets": {}}, "has no id"),
            ({"type": "Feature", "assets": {}, "id": 7}, "has no id"),
            (
                item({"nir": band("./n.tif", "B08", "nir", scale="1e-4")}),
                "asset nir: scale is '1e-4'",
            ),
            (item({"nir": band("./n.tif", "B08", "nir", offset=[1])}), "offset is"),
            (item({"nir": band("./n.tif", "B08", "nir", nodata="none")}), "nodata is 'none'"),
            (item({"nir": band("./n.tif", "B08", "nir", nodata=True)}), "nodata is 'True'"),
        ],
    )
    def test_what_is_no_item(self, content: dict[str, Any], said: str) -> None:
        with pytest.raises(SourceError, match=said):
            parse_item(Document(content, HREF))

    @pytest.mark.parametrize(
        "change",
        [
            {"links": None},
            {"links": ["x", 7, {"rel": 7, "href": {}}]},
            {"bbox": "everywhere"},
            {"bbox": [1, 2, "3", 4]},
            {"bbox": [1, 2, None, 4]},
            {"bbox": []},
            {"bbox": [1, 2, 3]},
            {"collection": {"id": "x"}},
            {"properties": []},
            {"properties": {"datetime": 5, "platform": [], "instruments": "msi"}},
            {"assets": {"a": None, "b": [], "c": {"href": None}, "d": {"roles": 7, "type": {}}}},
            {"assets": {"a": {"href": "./a.tif", "eo:bands": [None, 7], "proj:transform": [1]}}},
            {"assets": {"a": {"href": "./a.tif", "proj:transform": ["10", 0, 0, None, -10, 0]}}},
        ],
    )
    def test_other_fields_of_other_types_are_as_good_as_missing(
        self, change: dict[str, Any]
    ) -> None:
        whole = item({"nir": band("./n.tif", "B08", "nir")})
        if "properties" in change:
            whole["properties"] = {}
        read = parse_item(Document(whole | change, HREF))
        read.acquisition()
        assert isinstance(read.product, str)
        assert read.bbox is None
        assert all(b.resolution is None for b in read.bands)


def test_when_it_was_taken() -> None:
    read = parsed({}, properties={"platform": "sentinel-2b", "instruments": ["msi"]})
    taken = read.acquisition()
    assert taken is not None
    assert taken.fields() == {"datetime": "2024-05-08T10:15:59Z"}
    assert taken.instrument == {"platform": "sentinel-2b", "instruments": ("msi",)}
    assert taken.item == HREF
    ends = {
        "datetime": None,
        "start_datetime": "2024-05-01T00:00:00Z",
        "end_datetime": "2024-05-31T00:00:00Z",
    }
    taken = parsed({}, properties=ends).acquisition()
    assert taken is not None
    assert taken.fields() == ends
    assert parsed({}, properties={"datetime": "soon"}).acquisition() is None


def test_where_members_of_a_collection_lie() -> None:
    own = {"links": [{"rel": "self", "href": "https://example.org/items/a"}]}
    local = Document({}, "/data/items.json")
    remote = Document({}, "https://example.org/search")
    assert self_href(own, remote) == "https://example.org/items/a"
    # A file that was saved here may name files here, whatever its items say of themselves.
    assert self_href(own, local) == "/data/items.json"
    for other in ({}, {"links": [{"rel": "self", "href": "file:///etc/x"}]}, {"links": 7}):
        assert self_href(other, remote) == remote.href


def test_boxes() -> None:
    assert parsed({}, bbox=[1, 2, 3, 4]).bbox == (1, 2, 3, 4)
    assert parsed({}, bbox=[1, 2, -9, 3, 4, 9]).bbox == (1, 2, 3, 4)


def test_a_band_of_another_unit_is_not_mixed_where_nothing_is_scaled() -> None:
    assets = {
        "nir": band("./n.tif", "B08", "nir"),
        "red": band("./r.tif", "B04", "red", unit="W⋅sr−1⋅m−2⋅nm−1"),
    }
    found, notes = choose_bands(parsed(assets))
    assert set(found) == {"nir"}
    assert "red (B04) is scaled otherwise" in notes[0]


def test_what_a_band_says_goes_before_what_its_asset_says() -> None:
    asset = band("./n.tif", "B08", "nir", scale=1e-4, offset=-0.1)
    asset |= {"raster:scale": 0.5, "raster:offset": 3.0}
    (found,) = parsed({"nir": asset}).bands
    assert (found.scale, found.offset) == (1e-4, -0.1)


@pytest.mark.parametrize("end", ["start_datetime", "end_datetime"])
def test_one_end_of_a_time_is_no_time(end: str) -> None:
    properties = {"datetime": None, end: "2024-05-01T00:00:00Z"}
    assert parsed({}, properties=properties).acquisition() is None


def test_what_an_item_is_called_by_its_results() -> None:
    def called(href: str, *links: dict[str, Any]) -> str | None:
        taken = parse_item(Document(item({}, links=list(links)), href)).acquisition()
        assert taken is not None
        return taken.item

    own = {"rel": "self", "href": "https://example.org/items/own?sig=secret"}
    assert called("/data/item.json", own) == "https://example.org/items/own"
    assert called(f"{HREF}?sig=secret") == HREF
    # One that leads nowhere from elsewhere is none.
    for href in ("./item.json", "/other/item.json", "s3://bucket/item.json"):
        assert called("/data/item.json", {"rel": "self", "href": href}) == "/data/item.json"


def test_names_and_wavelengths_of_either_version() -> None:
    for version, key in (("1.0", "center_wavelength"), ("1.1", "eo:center_wavelength")):
        asset = band("./n.tif", "B08", "nir", version=version, scale=0.5)
        asset["eo:bands" if version == "1.0" else "bands"][0][key] = 0.842
        (found,) = parsed({"nir": asset}).bands
        assert (found.name, found.common_name, found.wavelength) == ("B08", "nir", 0.842)
        assert found.scale == 0.5


def test_what_describes_a_band() -> None:
    plain = {"href": "./n.tif", "type": COG}
    for key in ("bands", "eo:bands", "raster:bands"):
        (found,) = parsed({"n": plain | {key: [{"nodata": 0}]}}).bands
        assert found.described
    assert not parsed({"n": plain | {"eo:bands": [], "nodata": 0}}).bands[0].described


@pytest.mark.parametrize("key", ["bands", "eo:bands"])
def test_an_asset_of_no_known_type_is_a_raster_if_its_bands_are_described(key: str) -> None:
    assert len(parsed({"n": {"href": "https://a/data/7", key: [{"name": "x"}]}}).bands) == 1
    for asset in (
        {"href": "https://a/data/7"},
        {"href": "https://a/data/7.json", key: [{"name": "x"}]},
    ):
        assert parsed({"n": asset}).bands == ()


def test_a_geotiff_is_one_by_its_name_too() -> None:
    bands = [{"name": "B08", "common_name": "nir"}]
    for suffix in ("tif", "TIFF"):
        assets = {
            "first": {"href": "./n.jp2", "eo:bands": bands},
            "second": {"href": f"./n.{suffix}?id=7", "eo:bands": bands},
        }
        assert chosen(assets)["nir"] == ("second", 1)


def test_fields_of_bands_count_under_their_old_names_in_bands_only() -> None:
    asset = band("./n.tif", "B08", "nir") | {"scale": 0.5, "offset": 3.0, "common_name": "red"}
    (found,) = parsed({"nir": asset}).bands
    assert (found.scale, found.offset, found.common_name) == (None, None, "nir")


@pytest.mark.parametrize(("word", "value"), [("-inf", -math.inf), ("INF", math.inf)])
def test_missing_pixels_may_be_infinite(word: str, value: float) -> None:
    assert parsed({"nir": band("./n.tif", "B08", "nir", nodata=word)}).bands[0].nodata == value


def test_how_large_a_pixel_is() -> None:
    def resolution(**fields: Any) -> float | None:
        asset = band("./n.tif", "B08", "nir", **fields.pop("raster", {})) | fields
        return parsed({"nir": asset}).bands[0].resolution

    grid, none = [6, 0, 0, 8, -10, 0], [0, 0, 0, 0, 0, 0]
    stated: dict[str, Any] = {"raster": {"spatial_resolution": 20}}
    assert resolution(gsd=30) == 30
    assert resolution(gsd=30, **stated) == 20
    assert resolution(gsd=30, **stated, **{"proj:transform": grid}) == 10
    for unusable in (none, [1e308, 0, 0, 1.7e308, 0, 0]):
        assert resolution(gsd=30, **stated, **{"proj:transform": unusable}) == 20


def test_a_saved_search_of_one_item_is_where_it_lies(tmp_path: Path) -> None:
    saved = tmp_path / "search.json"
    for features, where in (([item({})], str(saved)), ([item({}), item({}, id="y")], None)):
        saved.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        found = find_item(f"{saved}#{features[0]['id']}")
        assert found is not None
        taken = found.acquisition()
        assert taken is not None
        assert taken.item == where


def test_an_item_need_not_say_which_stac_it_is(tmp_path: Path) -> None:
    path = tmp_path / "item.json"
    content = item({"nir": band("./n.tif", "B08", "nir")})
    del content["stac_version"]
    path.write_text(json.dumps(content))
    found = find_item(str(path))
    assert found is not None
    assert found.id == content["id"]
    path.write_text(json.dumps({"type": "Feature", "id": "x", "properties": {}}))
    assert find_item(str(path)) is None
