"""The Python in the documentation runs, on small scenes under the names it uses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from documented_commands import ROOT
from documented_scenes import single_scenes
from helpers import UTM
from stac_items import write_scene_item

import nirgeo

PAGES = ("README.md", "docs/xarray.md", "docs/stac.md", "docs/cluster.md")
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def given(folder: Path) -> dict[str, Any]:
    """What a page takes for granted: a cube, an array, items, a picture and its truth."""
    odc_stac = pytest.importorskip("odc.stac", reason="odc-stac is not installed")
    stackstac = pytest.importorskip("stackstac", reason="stackstac is not installed")
    import odc

    file = write_scene_item(folder / "item")
    item = json.loads(file.read_text(encoding="utf-8"))
    west, south, east, north = 9.0, 45.13, 9.03, 45.16  # where the helpers' scenes lie
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    item["bbox"] = [west, south, east, north]
    for asset in item["assets"].values():
        asset["raster:bands"][0]["data_type"] = "uint16"
        asset["proj:shape"], asset["proj:epsg"] = [140, 200], int(UTM.split(":")[1])
        asset["proj:transform"] = [10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0]
    item["stac_extensions"] = [
        "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
        "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    ]
    items = [pystac.Item.from_dict(item)]
    items[0].set_self_href(str(file))
    items[0].make_asset_hrefs_absolute()
    array = nirgeo.open_scene(folder / "scene.tif")
    return {
        "array": array,
        "cube": odc_stac.load(items, bands=["red", "green", "nir"], crs=UTM, resolution=10),
        "items": items,
        "np": np,
        "odc": odc,
        "stackstac": stackstac,
        "truth": nirgeo.colorize(array, "baseline/grey"),
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_one_after_the_other(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single_scenes(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = given(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    assert blocks
    if page == "docs/stac.md":
        nirgeo.write_geotiff(nirgeo.colorize(names["array"]), "scene_rgb.tif")
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], page, "exec"), names)
