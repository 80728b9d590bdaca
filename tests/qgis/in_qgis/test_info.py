"""``nirgeo:info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import processing
import pytest
from nirgeo_qgis.page_file import PageFile
from osgeo import gdal
from plugin_helpers import Fake
from qgis.core import QgsProcessingException, QgsRasterLayer

pytestmark = pytest.mark.qgis


def test_a_scene(real: None, layer: QgsRasterLayer, tmp_path: Path, log: Any) -> None:
    page = tmp_path / "info.html"
    results = processing.run("nirgeo:info", {"INPUT": layer, "OUTPUT": str(page)}, feedback=log)
    facts = json.loads(results["FACTS"])
    assert facts["size"].startswith("64")
    assert facts["crs"] == "EPSG:32632"
    assert "nir=1" in facts["roles"]
    assert "<td>EPSG:32632</td>" in page.read_text("utf-8")
    assert any(text.startswith("scaling: ") for text in log.info)


def test_a_band_is_asked_for_in_words_of_the_form_and_taken(real: None, tmp_path: Path) -> None:
    path = str(tmp_path / "bands.tif")
    made = gdal.GetDriverByName("GTiff").Create(path, 64, 64, 3, gdal.GDT_UInt16)
    for band in range(1, 4):
        made.GetRasterBand(band).Fill(1000 * band)
    del made
    with pytest.raises(QgsProcessingException, match="name it with “Near-infrared band”") as caught:
        processing.run("nirgeo:info", {"INPUT": path})
    assert "--" not in str(caught.value)
    facts = json.loads(processing.run("nirgeo:info", {"INPUT": path, "BAND": 3})["FACTS"])
    assert facts["roles"] == ["nir=3"]


def test_without_a_scene_it_tests_the_installation(real: None, log: Any) -> None:
    facts = json.loads(processing.run("nirgeo:info", {}, feedback=log)["FACTS"])
    assert facts["protocol"] == 1
    assert facts["models"]
    assert Path(facts["python"]).exists()


@pytest.mark.parametrize("place", ["", "missing/info.html", "file/info.html"])
def test_a_page_that_can_not_be_written_is_told_in_words(
    use_fake: Fake, tmp_path: Path, place: str
) -> None:
    use_fake()
    (tmp_path / "file").touch()
    with pytest.raises(QgsProcessingException, match=r"^Information: .* can't be written \("):
        processing.run("nirgeo:info", {"OUTPUT": str(tmp_path / place)})


def test_a_page_that_can_not_be_written_after_all(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    page = PageFile("Information", str(folder / "info.html"))
    page.check()
    assert list(folder.iterdir()) == []
    folder.rmdir()
    with pytest.raises(QgsProcessingException, match="can't be written"):
        page.write({"a": 1})


def test_what_files_say_can_not_become_markup(
    use_fake: Fake, layer: QgsRasterLayer, tmp_path: Path
) -> None:
    python = use_fake()
    text = python.read_text("utf-8")
    python.write_text(
        text.replace(
            'if command == "models":',
            'if command == "info":\n'
            "    print(json.dumps({'bands': ['<script>alert(1)</script>']}))\n"
            "    sys.exit()\n"
            'if command == "models":',
        ),
        "utf-8",
    )
    page = tmp_path / "info.html"
    processing.run("nirgeo:info", {"INPUT": layer, "OUTPUT": str(page)})
    assert "<script>" not in page.read_text("utf-8")
    assert "&lt;script&gt;" in page.read_text("utf-8")


@pytest.mark.parametrize(("protocol", "older"), [(2, "this plugin"), (0, "nirgeo")])
def test_another_protocol_is_refused(use_fake: Fake, protocol: int, older: str) -> None:
    use_fake(protocol=protocol)
    with pytest.raises(QgsProcessingException, match=f"Update {older}"):
        processing.run("nirgeo:info", {})


def test_a_broken_interpreter_says_what_to_do(
    provider: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named nirgeo' >&2; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("NIRGEO_PYTHON", str(python))
    with pytest.raises(QgsProcessingException) as caught:
        processing.run("nirgeo:info", {})
    message = str(caught.value)
    assert "No module named nirgeo" in message
    assert "Options › Processing › Providers › nirgeo" in message
    assert "\n" not in message
