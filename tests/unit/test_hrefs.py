"""Names: what is remote, what of them is a secret, what a result is called after them."""

from __future__ import annotations

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
        # Local names hold whatever they like.
        ("/data/x.tif?sig=b", "/data/x.tif?sig=b"),
        ("https://a/x.tif", "https://a/x.tif"),
    ],
)
def test_a_signature_is_not_shown(signed: str, public: str) -> None:
    assert hrefs.public(signed) == public
    assert hrefs.conceal(f"GDAL said '{signed}' is bad", signed) == f"GDAL said '{public}' is bad"


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
        ("https://a/scene.tif/", "scene"),
        ("/vsis3/bucket/scene.tif", "scene"),
    ],
)
def test_what_a_result_is_called_after(path: str, stem: str) -> None:
    assert hrefs.stem(path) == stem


def test_gdals_form_with_options_first_is_left_whole() -> None:
    path = "/vsicurl?max_retry=3&url=https%3A%2F%2Fa%2Fx.tif"
    assert hrefs.without_query(path) == path
