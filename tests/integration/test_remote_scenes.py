"""Scenes on web servers that fail among the chunks of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import write_raster
from pictures import command, events, read
from rasterio.errors import RasterioIOError
from stac_items import Server, serve

from nirgeo.gdal_settings import gdal_env

OPTIONS = ("--nir", "1", "--chunk", "2", "--scale", "0.0001", "--workers", "1")
QUERY = "?v=1&X-Amz-Signature=SECRET"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    counts = np.random.default_rng(7).integers(500, 4000, (1, 1280, 1280)).astype(np.uint16)
    blocks = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    write_raster(tmp_path / "www" / "scene.tif", counts, descriptions=("nir",), **blocks)
    with serve(tmp_path / "www") as running:
        yield running


@pytest.fixture
def failing(server: Server) -> Callable[..., str]:
    """Have the server answer as it should, and from a certain moment on with a status alone."""

    def arrange(now: Callable[[], bool], status: int) -> str:
        def answer(handler: Any) -> tuple[int, dict[str, str], bytes]:
            if now():
                return status, {}, b""
            found: tuple[int, dict[str, str], bytes] = handler._file(server.root / "scene.tif")
            return found

        server.answers["/scene.tif"] = answer
        return server.url + "/scene.tif" + QUERY

    return arrange


@pytest.mark.parametrize("by_vrt", [False, True])
def test_a_signature_is_not_told(
    failing: Callable[..., str], server: Server, tmp_path: Path, tiny: Any, by_vrt: bool
) -> None:
    scene = failing(lambda: len(server.asked) > 5, 403)
    if by_vrt:
        source = "<SourceFilename>/vsicurl/" + scene.replace("&", "&amp;") + "</SourceFilename>"
        vrt = tmp_path / "scene.vrt"
        vrt.write_text(
            '<VRTDataset rasterXSize="1280" rasterYSize="1280"><VRTRasterBand dataType="UInt16" '
            f'band="1"><SimpleSource>{source}<SourceBand>1</SourceBand></SimpleSource>'
            "</VRTRasterBand></VRTDataset>"
        )
        scene = str(vrt)
    target = ("-o", tmp_path / "o.tif", "--model", tiny.path, "--verbose")
    result = command("colorize", scene, *target, *OPTIONS, expect=1)
    assert "can't be read at row" in result.stderr
    assert "Traceback" in result.stderr
    assert "SECRET" not in result.stderr


def test_a_server_that_stops_is_told_of_and_what_was_done_is_kept(
    failing: Callable[..., str], server: Server, tmp_path: Path, tiny: Any
) -> None:
    def begun() -> bool:
        return any('"chunk": [' in j.read_text() for j in tmp_path.glob(".*/journal.jsonl"))

    target = ("-o", tmp_path / "o.tif", "--model", tiny.path)
    result = command("colorize", failing(begun, 403), *target, *OPTIONS, expect=1)
    assert "scene.tif?v=1: band 1 can't be read at row" in result.stderr
    assert "the server did not send all that was asked for" in result.stderr
    assert "damaged" not in result.stderr
    assert "What is computed is kept; run again with --resume" in result.stderr
    server.answers.clear()
    again = server.url + "/scene.tif?v=1&X-Amz-Signature=ANOTHER"
    resumed = command("colorize", again, *target, *OPTIONS, "--resume", "--progress", "jsonl")
    assert next(e for e in events(resumed.stdout) if e["event"] == "start")["resumed"] > 0
    whole = ("-o", tmp_path / "whole.tif", "--model", tiny.path)
    command("colorize", server.root / "scene.tif", *whole, *OPTIONS)
    np.testing.assert_array_equal(read(tmp_path / "o.tif")[0], read(tmp_path / "whole.tif")[0])


def test_jpeg_2000_of_which_a_part_does_not_come_is_not_read_as_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_NUM_THREADS", "4")  # GDAL's own choice is all cores
    counts = np.random.default_rng(7).integers(500, 4000, (1280, 1280)).astype(np.uint16)
    path = write_raster(tmp_path / "scene.jp2", counts, driver="JP2OpenJPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    # Several tiles at once; the samples of an opened scene lie in one each.
    with gdal_env(str(path)), rasterio.open(path) as file, pytest.raises(RasterioIOError):
        file.read(1)
