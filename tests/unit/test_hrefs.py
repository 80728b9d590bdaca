"""Names: what is remote, what of them is a secret, what a result is called after them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nirgeo import hrefs


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("scene.tif", False),
        ("/data/scene.tif", False),
        ("file:///data/scene.tif", False),
        ("/vsizip/archive.zip/scene.tif", False),
        ("/vsimem/x.tif", False),
        ("https://example.com/scene.tif", True),
        ("s3://bucket/scene.tif", True),
        ("/vsicurl/https://example.com/scene.tif", True),
        ("/vsis3/bucket/scene.tif", True),
        ("/vsicurl_streaming/https://example.com/scene.tif", True),
    ],
)
def test_is_remote(path: str, remote: bool) -> None:
    assert hrefs.is_remote(path) is remote


@pytest.mark.parametrize(
    ("signed", "public"),
    [
        # Azure, as Planetary Computer signs; its short names are kept where nothing is signed.
        ("https://a/B08.tif?st=1&se=2&sp=rl&sv=3&sr=c&sig=a%2Fb%3D", "https://a/B08.tif"),
        ("https://a/data?st=1&sr=c", "https://a/data?st=1&sr=c"),
        # AWS, version 4 and 2, and Google.
        ("https://a/x.tif?X-Amz-Algorithm=A&X-Amz-Signature=b&id=7", "https://a/x.tif?id=7"),
        ("https://a/x.tif?AWSAccessKeyId=k&Signature=s&Expires=9", "https://a/x.tif"),
        ("https://a/x.tif?X-Goog-Signature=b", "https://a/x.tif"),
        ("https://a/x.tif?access_token=b#part", "https://a/x.tif#part"),
        ("/vsicurl/https://a/x.tif?sig=b&sv=1", "/vsicurl/https://a/x.tif"),
        # Names and passwords, whatever a password holds.
        ("https://user:secret@host/x.tif", "https://host/x.tif"),
        ("https://user:sec@ret@host:8/a@b.tif?id=7", "https://host:8/a@b.tif?id=7"),
        ("/vsicurl/https://user:secret@host/x.tif", "/vsicurl/https://host/x.tif"),
        ("https://host/a@b.tif", "https://host/a@b.tif"),
        # Tokens and keys by themselves; what only resembles them stays.
        *(
            (f"https://a/x?{name}=secret&id=7", "https://a/x?id=7")
            for name in (
                *("subscription-key", "Ocp-Apim-Subscription-Key", "key", "api-key", "apikey"),
                *("_token", "sas_token", "token", "auth", "JWT", "hmac", "%6Bey"),
            )
        ),
        *(
            (f"https://a/x?{name}=7", f"https://a/x?{name}=7")
            for name in ("keyword", "page_token", "author", "keys", "monkey", "authority")
        ),
        # GDAL's form with options first.
        (
            "/vsicurl?max_retry=3&url=https%3A%2F%2Fa%2Fx.tif%3Fsv%3D1%26sig%3Db",
            "/vsicurl?max_retry=3&url=https%3A%2F%2Fa%2Fx.tif",
        ),
        ("/vsicurl?url=https%3A%2F%2Fu%3Ap%40a%2Fx.tif", "/vsicurl?url=https%3A%2F%2Fa%2Fx.tif"),
        ("/vsicurl?url=https://a/x.tif?sig=b", "/vsicurl?url=https://a/x.tif"),
        (
            "/vsicurl?header.Authorization=b&userpwd=u:p&url=https%3A%2F%2Fa%2Fx%2520y.tif",
            "/vsicurl?url=https%3A%2F%2Fa%2Fx%2520y.tif",
        ),
        (
            "/vsicurl?proxy=http://u:secret@proxy:8&url=https%3A%2F%2Fa%2Fx.tif",
            "/vsicurl?proxy=http://proxy:8&url=https%3A%2F%2Fa%2Fx.tif",
        ),
        # Local names hold whatever they like.
        ("/data/x.tif?sig=b", "/data/x.tif?sig=b"),
        ("https://a/x.tif", "https://a/x.tif"),
    ],
)
def test_a_signature_is_not_shown(signed: str, public: str) -> None:
    assert hrefs.public(signed) == public
    assert hrefs.conceal(f"GDAL said '{signed}' is bad", signed) == f"GDAL said '{public}' is bad"


@pytest.mark.parametrize(
    ("path", "said", "shown"),
    [
        # GDAL and http.client quote parts of what they were given.
        ("/vsicurl/https://a/x.tif?sig=b", "no https://a/x.tif?sig=b", "no https://a/x.tif"),
        ("/vsicurl?url=https%3A%2F%2Fa%2Fx%3Fsig%3Db", "no https://a/x?sig=b", "no https://a/x"),
        (
            "/vsicurl?url=https%3A%2F%2Fa%2Fx%3Fsig%3Db&max_retry=3",
            "no https://a/x?sig=b",
            "no https://a/x",
        ),
        # GDAL, of a block that it can't read, by the last part of the name alone.
        ("https://a/b/x.tif?sig=b", "x.tif?sig=b, band 1: failed", "x.tif, band 1: failed"),
        ("https://a/b/x.tif?v=1&sig=b/c", "c, band 1: can fail", "x.tif?v=1, band 1: can fail"),
        (
            "/vsicurl?url=https%3A%2F%2Fa%2Fx.tif%3Fsig%3Db",
            "vsicurl?url=https%3A%2F%2Fa%2Fx.tif%3Fsig%3Db, band 1: failed",
            "vsicurl?url=https%3A%2F%2Fa%2Fx.tif, band 1: failed",
        ),
        ("https://a/b/x.tif/", "x.tif, band 1: failed", "x.tif, band 1: failed"),
        ("http://u:secret@host/x", "bad port: 'secret@host'", "bad port: 'host'"),
        ("https://u:secret@host/x", "no host u:secret@host", "no host host"),
        ("/data/x.tif", "no /data/x.tif", "no /data/x.tif"),
        # Others' names in it: what a VRT is made of, where a server redirects to.
        ("/data/x.vrt", "y.tif?v=1&sig=b%2F&w=2: failed", "y.tif?v=1&sig=…&w=2: failed"),
        ("/data/x.vrt", "no 'https://u:p@a/y?X-Amz-Date=3'", "no 'https://a/y?X-Amz-Date=…'"),
        ("https://a/x", "no https%3A%2F%2Fb%3Ftoken%3Dz", "no https%3A%2F%2Fb%3Ftoken%3D…"),
    ],
)
def test_nor_is_a_part_of_it_that_others_quote(path: str, said: str, shown: str) -> None:
    assert hrefs.conceal(said, path) == shown


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("/data/a.b.c.TIF", "a.b.c"),
        ("item.json", "item"),
        ("what?.tif", "what?"),
        ("https://a/items/S2B_32TNS_20240508_0_L2A", "S2B_32TNS_20240508_0_L2A"),
        (
            "https://a/items/HLS.S30.T32TNS.2024129T101559.v2.0",
            "HLS.S30.T32TNS.2024129T101559.v2.0",
        ),
        ("https://a/x/item.json?token=a.b/c.d", "item"),
        ("https://a/items/item.json", "item"),
        ("https://a/scene.tif/", "scene"),
        ("/vsis3/bucket/scene.tif", "scene"),
        ("/vsicurl?max_retry=3&url=https%3A%2F%2Fa%2Fscene.tif%3Fsig%3Da.b", "scene"),
    ],
)
def test_what_a_result_is_called_after(path: str, stem: str) -> None:
    assert hrefs.stem(path) == stem


def test_gdals_form_with_options_first_is_left_whole() -> None:
    path = "/vsicurl?max_retry=3&url=https%3A%2F%2Fa%2Fx.tif"
    assert hrefs.without_query(path) == path


def test_a_drive_of_windows_is_no_scheme() -> None:
    assert not hrefs.is_remote("C://data/scene.tif")
    assert not hrefs.has_scheme("c://x")
    for name in ("https://a/x", "s3://b/k", "/vsicurl/http://a/x", "zip+https://a/x.zip!y.tif"):
        assert hrefs.is_remote(name)


def test_one_item_of_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = hrefs.item_in_document
    assert of("https://a/search.json#x#1") == ("https://a/search.json", "x#1")
    assert of("gone.GEOJSON#x") == ("gone.GEOJSON", "x")
    for name in ("scene.tif#x", "search.json", "search.json#"):
        assert of(name) == (name, None)
    # What is there is the document, however the others could be read.
    folder = tmp_path / "a.json#b"
    folder.mkdir()
    saved = folder / "search.json"
    assert of(f"{saved}#x") == (str(tmp_path / "a.json"), "b/search.json#x")
    saved.touch()
    assert of(f"{saved}#x") == (str(saved), "x")
    (folder / "search.json#x").touch()
    assert of(f"{saved}#x") == (f"{saved}#x", None)


def test_names_that_hold_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scene.tif", "search.json"):
        (tmp_path / name).touch()
        assert hrefs.absolute(name) == hrefs.absolute_scene(name) == str(tmp_path / name)
        assert hrefs.absolute(str(tmp_path / name)) == str(tmp_path / name)
    assert hrefs.absolute_scene("search.json#x") == str(tmp_path / "search.json#x")
    for name in ("https://a/x.tif", "/vsis3/b/k.tif", "gone.tif", "NETCDF:scene.tif:v"):
        assert hrefs.absolute_scene(name) == name
