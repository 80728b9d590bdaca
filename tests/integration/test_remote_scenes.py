"""Scenes on web servers that fail, stall or change among the chunks of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write_raster
from pictures import command
from stac_items import Server, serve

OPTIONS = ("--nir", "1", "--chunk", "2", "--scale", "0.0001", "--workers", "1")
QUERY = "?v=1&X-Amz-Signature=SECRET"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    counts = np.random.default_rng(7).integers(500, 4000, (1, 640, 640)).astype(np.uint16)
    blocks = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    write_raster(tmp_path / "www" / "scene.tif", counts, descriptions=("nir",), **blocks)
    with serve(tmp_path / "www") as running:
        yield running


@pytest.fixture
def failing(server: Server) -> Callable[[int, Any], str]:
    """Have the server answer as it should ``after`` times, and then as ``answer`` does."""

    def arrange(after: int, status: int) -> str:
        served = len(server.asked) + after

        def answer(handler: Any) -> tuple[int, dict[str, str], bytes]:
            if len(server.asked) > served:
                return status, {}, b""
            found: tuple[int, dict[str, str], bytes] = handler._file(server.root / "scene.tif")
            return found

        server.answers["/scene.tif"] = answer
        return server.url + "/scene.tif" + QUERY

    return arrange


@pytest.mark.parametrize("by_vrt", [False, True])
def test_a_signature_is_not_told(
    failing: Callable[[int, Any], str], tmp_path: Path, tiny: Any, by_vrt: bool
) -> None:
    scene = failing(5, 403)
    if by_vrt:
        source = "<SourceFilename>/vsicurl/" + scene.replace("&", "&amp;") + "</SourceFilename>"
        vrt = tmp_path / "scene.vrt"
        vrt.write_text(
            '<VRTDataset rasterXSize="640" rasterYSize="640"><VRTRasterBand dataType="UInt16" '
            f'band="1"><SimpleSource>{source}<SourceBand>1</SourceBand></SimpleSource>'
            "</VRTRasterBand></VRTDataset>"
        )
        scene = str(vrt)
    target = ("-o", tmp_path / "o.tif", "--model", tiny.path, "--verbose")
    result = command("colorize", scene, *target, *OPTIONS, expect=1)
    assert "can't be read at row" in result.stderr
    assert "Traceback" in result.stderr
    assert "SECRET" not in result.stderr
