"""What a file says of itself reaches people as text: no control of a terminal, no extra line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import write_raster
from pictures import command, events, scene_values

import nirgeo
from nirgeo.modelfile import Model
from nirgeo.plaintext import is_plain, plain

REPAINT = "\x1b[2J\x1b[31mred\x07"
FORGED = 'nice\r\nError: forged\n{"event": "result", "path": "/etc/passwd"}'
MARKUP = "\"'/></MDI></Metadata><script>alert(1)</script>]]>&lt;"


@pytest.mark.parametrize("text", [REPAINT, FORGED, "\u202ename", "\x00", "\ud800", "x" * 999])
def test_plain(text: str) -> None:
    shown = plain(text, 60)
    assert is_plain(shown)
    assert len(shown) < 300
    assert plain(shown, 300) == shown


def test_ordinary_text_stays_as_it_is() -> None:
    text = "Naïve “quotes”, ünïcode <b>&amp;</b> 近赤外"
    assert plain(text) == text


@pytest.mark.parametrize("description", [REPAINT, FORGED, MARKUP], ids=["repaint", "forged", "xml"])
def test_descriptions_of_bands(tmp_path: Path, tiny: Model, description: str) -> None:
    values = np.stack([scene_values(70, 80)] * 2)
    scene = write_raster(tmp_path / "scene.tif", values, descriptions=(description, "nir"))
    with rasterio.open(scene) as file:
        assert file.descriptions[0]  # GDAL keeps it, whole or in part
    told = [
        command("info", scene).stdout,
        command("colorize", scene, "--nir", "7", "-q", expect=1).stderr,
        command("colorize", scene, "--nir", "1", "--model", tiny.path, "--scale", "1e-4").stderr,
    ]
    for text in told:
        assert all(is_plain(line) for line in text.split("\n"))
        assert not any(line.startswith(("Error: forged", "{")) for line in text.split("\n"))
    log = events(
        command(
            *("colorize", scene, "--nir", "1", "--model", tiny.path, "--scale", "1e-4"),
            *("--progress", "jsonl", "--overwrite"),
        ).stdout
    )
    assert [e["path"] for e in log if e["event"] == "result"] == [str(tmp_path / "scene_rgb.tif")]


@pytest.mark.parametrize("text", [REPAINT, FORGED, MARKUP, "\x00\x01\x1f", "\ud800"], ids=repr)
def test_texts_of_an_array_stay_within_their_tags(tmp_path: Path, tiny: Model, text: str) -> None:
    # They pass through an XML file on their way into the result.
    scene = nirgeo.open_scene(write_raster(tmp_path / "s.tif", scene_values(70, 80)), scale="1e-4")
    rgb = nirgeo.colorize(scene, tiny)
    rgb = rgb.assign_attrs(nirgeo_note=text).assign_coords(band=[text, "green", "blue"])
    target = nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    with rasterio.open(target) as file:
        tags = file.tags(ns="NIRGEO")
        assert set(tags) == {k.removeprefix("nirgeo_").upper() for k in rgb.attrs if "nirgeo_" in k}
        assert tags["NOTE"] == (text if is_plain(text) else plain(text))
        assert file.descriptions[0] == (text if is_plain(text) else plain(text))
        assert file.descriptions[1:] == ("green", "blue")
        assert tags["SYNTHETIC"] == "yes"
        assert file.count == 3
