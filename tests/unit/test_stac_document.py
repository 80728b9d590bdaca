"""Documents of strangers: bounded, checked, and limited in what they may name."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stac_items import serve

from nirgeo.errors import SourceError
from nirgeo.hrefs import is_remote
from nirgeo.stac import document
from nirgeo.stac.document import number_of, probe_document, read_document, resolve

ITEM = "https://example.org/catalogue/items/item.json?token=secret"


class TestReading:
    def test_a_local_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a b.json"
        path.write_text('{"type": "Feature", "title": "Ö"}', encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        for name in (path, "a b.json", path.as_uri()):
            read = read_document(name)
            assert read.content["title"] == "Ö"
            assert read.href == str(path)
            assert not read.remote

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"II*\0", "not a JSON document"),
            (b'{"a": ', "not a JSON document"),
            (b'"\xff"', "not a JSON document"),
            (b"[1, 2]", "not a JSON object"),
            (b"[" * 100_000, "not a JSON document"),
            (b" " * 1001, "too large"),
        ],
    )
    def test_what_is_no_document(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
    ) -> None:
        if said == "too large":
            monkeypatch.setattr(document, "MAX_BYTES", 1000)
        path = tmp_path / "x.json"
        path.write_bytes(content)
        with pytest.raises(SourceError, match=said):
            read_document(path)
        with pytest.raises(SourceError, match="no such file"):
            read_document(tmp_path / "none.json")
        with pytest.raises(SourceError, match="can't be read"):
            read_document(tmp_path)
        with pytest.raises(SourceError, match="download it first"):
            read_document("s3://bucket/item.json")

    def test_over_the_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with serve(tmp_path) as server:
            server.answer("/item", {"type": "Feature"})
            server.answer("/moved", b"", 302, Location="/item")
            server.answer("/away", b"", 302, Location="file:///etc/passwd")
            server.answer("/ftp", b"", 302, Location="ftp://example.org/x")
            server.answer("/round", b"", 302, Location="/round")
            server.answer("/shut", b"no", 403)
            server.answer("/picture", b"II*\0", 200, **{"Content-Type": "image/tiff"})
            assert read_document(f"{server.url}/item").href == f"{server.url}/item"
            # What a document holds is relative to where it was found in the end.
            moved = read_document(f"{server.url}/moved")
            assert (moved.href, moved.remote) == (f"{server.url}/item", True)
            for path, said in [
                ("away", "302.*not allowed"),
                ("ftp", "redirects to ftp://example.org"),
                ("round", "302"),
                ("shut", "403.*sign its URL"),
                ("none", "404"),
                ("picture", "not a JSON document"),
            ]:
                with pytest.raises(SourceError, match=said) as raised:
                    read_document(f"{server.url}/{path}?sig=secret")
                assert "secret" not in str(raised.value)
            assert probe_document(f"{server.url}/item") is not None
            assert probe_document(f"{server.url}/picture") is None
            assert probe_document(f"{server.url}/none") is None
            monkeypatch.setattr(document, "MAX_BYTES", 10)
            with pytest.raises(SourceError, match="too large"):
                read_document(f"{server.url}/item")
        with pytest.raises(SourceError, match="can't be reached"):
            read_document(f"{server.url}/item")
        with pytest.raises(SourceError, match="can't be reached"):
            read_document("http://exa mple.org/item")

    def test_a_document_may_be_as_large_as_is_allowed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x.json"
        path.write_text('{"a": 1}')
        monkeypatch.setattr(document, "MAX_BYTES", 8)
        assert read_document(path).content == {"a": 1}
        monkeypatch.setattr(document, "MAX_BYTES", 7)
        with pytest.raises(SourceError, match="too large"):
            read_document(path)

    def test_an_answer_without_end_is_not_read_to_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Answer:
            def __init__(self, left: int) -> None:
                self.left = left

            def read(self, size: int) -> bytes:
                part = b" " * min(size, 1000, self.left)
                self.left -= len(part)
                return part

            read1 = read

        monkeypatch.setattr(document, "MAX_BYTES", 10_000)
        endless = Answer(10**6)
        assert len(document._read_bounded(endless, ITEM)) > 10_000
        assert endless.left > 980_000
        monkeypatch.setattr(document, "DEADLINE", -1.0)
        with pytest.raises(SourceError, match=r"not read after .*download it first") as raised:
            document._read_bounded(Answer(5000), ITEM)
        assert "secret" not in str(raised.value)

    def test_a_password_is_not_told(self) -> None:
        # http.client takes it for a port.
        with pytest.raises(SourceError, match=r"http://host\.invalid/item: can't be") as raised:
            read_document("http://user:secret@host.invalid/item")
        assert "secret" not in str(raised.value)
        with pytest.raises(SourceError, match=r"ftp://host/item: .*download it first"):
            read_document("ftp://user:secret@host/item")


class TestReferences:
    @pytest.mark.parametrize(
        ("href", "found"),
        [
            ("./B08.tif", "https://example.org/catalogue/items/B08.tif"),
            ("../B08.tif?sig=1", "https://example.org/catalogue/B08.tif?sig=1"),
            ("/etc/passwd", "https://example.org/etc/passwd"),
            ("https://other.org/B08.tif", "https://other.org/B08.tif"),
            ("s3://bucket/a/B08.tif", "/vsis3/bucket/a/B08.tif"),
            ("gs://bucket/B08.tif", "/vsigs/bucket/B08.tif"),
        ],
    )
    def test_from_the_network(self, href: str, found: str) -> None:
        assert resolve(href, ITEM) == found

    @pytest.mark.parametrize(
        "href",
        [
            *("file:///etc/passwd", "FILE:///etc/passwd", "/vsizip/x.zip/a.tif", "/vsistdin/"),
            *("vrt:///data/x.tif?bands=1", "ZARR:/data/x.zarr", "NETCDF:/data/x.nc:v"),
            *("ftp://example.org/x.tif", "s3://bucket", "s3:///key", "s3://b/../../etc/passwd"),
            *("zip+https://example.org/x.zip!a.tif", "C:\\data\\x.tif", "", "a\nb", "x" * 9000),
            *(None, 7, ["a.tif"], {"href": "a.tif"}),
        ],
    )
    def test_what_a_document_from_the_network_must_not_name(self, href: object) -> None:
        with pytest.raises(SourceError) as raised:
            resolve(href, ITEM)
        assert "secret" not in str(raised.value)
        assert len(str(raised.value)) < 600

    @pytest.mark.parametrize(
        "href",
        [
            "../" * 30 + "vsistdin/x.tif",
            "../" * 30 + "vsis3/b/k.tif",
            "../" * 30 + "vsizip/{/vsicurl?url=http%3A%2F%2Fexample.org%2Fx.zip}/x.vrt",
            "file:///vsizip/x.zip/a.tif",
            "/data/../vsimem/x.tif",
        ],
    )
    def test_a_detour_to_names_that_only_gdal_understands(self, href: str, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="a name that only GDAL understands"):
            resolve(href, str(tmp_path / "item.json"))

    @given(st.text(max_size=60))
    @example("\\\\host\\share\\x.tif")
    @example("//host/x.tif")
    @example(" file:///etc/passwd")
    @example("file:/etc/passwd")
    @example("<VRTDataset></VRTDataset>")
    @example("GTIFF_DIR:1:/data/x.tif")
    def test_nothing_leads_from_the_network_to_this_machine(self, href: str) -> None:
        try:
            found = resolve(href, ITEM)
        except SourceError:
            return
        assert is_remote(found)
        assert found.startswith(("https://", "http://", "/vsis3/", "/vsigs/"))

    def test_from_a_local_document(self, tmp_path: Path) -> None:
        base = str(tmp_path / "items" / "item.json")
        bands = tmp_path / "bands"
        bands.mkdir()
        (bands / "B 08.tif").touch()
        (bands / "100%41.tif").touch()
        assert resolve("../bands/B 08.tif", base) == str(bands / "B 08.tif")
        assert resolve("../bands/B%2008.tif", base) == str(bands / "B 08.tif")
        assert resolve("../bands/100%41.tif", base) == str(bands / "100%41.tif")
        assert resolve("../bands/none.tif", base) == str(bands / "none.tif")
        assert resolve(str(bands / "x.tif"), base) == str(bands / "x.tif")
        assert resolve((bands / "B 08.tif").as_uri(), base) == str(bands / "B 08.tif")
        # Where both are there, a reference is what references are: encoded.
        (bands / "B%2008.tif").touch()
        assert resolve("../bands/B%2008.tif", base) == str(bands / "B 08.tif")
        assert resolve("../bands/B%252008.tif", base) == str(bands / "B%2008.tif")
        # A URL of a file is decoded once.
        assert resolve((bands / "B%2008.tif").as_uri(), base) == str(bands / "B%2008.tif")
        assert resolve("https://example.org/x.tif", base) == "https://example.org/x.tif"
        for href in (
            *("/vsicurl/http://h/x.tif", "//host/share/x.tif", "\\\\host\\share\\x.tif"),
            *("file://host/x.tif", "vrt:///x.tif", "<VRTDataset>\n"),
        ):
            with pytest.raises(SourceError):
                resolve(href, base)


def test_urls_of_files_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its own way of reading them, which Python has on every system.
    windows = pytest.importorskip("nturl2path")
    monkeypatch.setattr(document, "url2pathname", windows.url2pathname)
    for url, path in [
        ("file:///C:/data/my%20x.tif", "C:\\data\\my x.tif"),
        ("file://localhost/c:/x%23.tif", "C:\\x#.tif"),
        ("file:///data/x.tif", "\\data\\x.tif"),
    ]:
        assert document._file_of_url(url) == path
    for url in ("file:///C:/x:y.tif", "file::x"):
        with pytest.raises(SourceError, match="names no file"):
            document._file_of_url(url)


@pytest.mark.parametrize("value", ["0.0001", True, [1], float("nan"), float("inf"), 10**400])
def test_a_field_that_is_no_number_is_an_error(value: object) -> None:
    with pytest.raises(SourceError, match="scale is"):
        number_of({"scale": value}, "scale")
    assert number_of({"scale": None}, "scale") is None
    assert number_of({}, "scale") is None
    assert number_of(json.loads('{"scale": 2}'), "scale") == 2.0


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "DEADLINE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                for _ in range(40):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(SourceError, match="not read after"):
            read_document(f"http://127.0.0.1:{server.getsockname()[1]}/item.json")
        assert time.monotonic() - begun < 3
