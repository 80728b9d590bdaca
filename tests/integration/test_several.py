"""Several scenes in one run: what is refused before the first, and who is meant by a message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import write_raster
from pictures import command, events, listing, scene_values
from stac_items import write_scene_item

from nirgeo.modelfile import Model


@pytest.fixture
def options(tiny: Model) -> list[object]:
    return ["--model", tiny.path, "--scale", "0.0001"]


def test_no_scene_is_written_over_for_another(tmp_path: Path, options: list[object]) -> None:
    site = write_raster(tmp_path / "site.tif", scene_values(50, 70))
    other = write_raster(tmp_path / "site_rgb.tif", scene_values(50, 70, seed=1))
    before = listing(tmp_path)
    failed = command("colorize", site, other, "--overwrite", *options, expect=1)
    assert "site_rgb.tif is a file of the scene itself" in failed.stderr
    assert listing(tmp_path) == before


def test_nor_is_the_item_of_another(tmp_path: Path, options: list[object]) -> None:
    path = write_scene_item(tmp_path)
    shutil.copy(path, tmp_path / "item_rgb.json")
    before = listing(tmp_path)
    scenes = (path, tmp_path / "item_rgb.json")
    failed = command("colorize", *scenes, "--stac", "--overwrite", *options, expect=1)
    assert "item_rgb.json is a file of the scene itself" in failed.stderr
    assert listing(tmp_path) == before


def test_a_saved_search_is_not_written_over(tmp_path: Path, options: list[object]) -> None:
    one = json.loads(write_scene_item(tmp_path).read_text())
    search = tmp_path / "search.json"
    both = {"type": "FeatureCollection", "features": [one | {"id": "a"}, one | {"id": "b"}]}
    search.write_text(json.dumps(both))
    target = ("-o", tmp_path / "search.tif", "--stac", "--overwrite")
    failed = command("colorize", f"{search}#a", *target, *options, expect=1)
    assert "search.json is a file of the scene itself" in failed.stderr
    assert json.loads(search.read_text()) == both


def test_what_exists_is_refused_before_the_first(tmp_path: Path, options: list[object]) -> None:
    scenes = [write_raster(tmp_path / f"{k}.tif", scene_values(50, 70, seed=k)) for k in range(3)]
    (tmp_path / "2_rgb.tif").write_bytes(b"mine")
    before = listing(tmp_path)
    failed = command("colorize", *scenes, *options, expect=1)
    assert "2_rgb.tif exists" in failed.stderr
    assert listing(tmp_path) == before


def test_messages_name_their_scene(tmp_path: Path, tiny: Model) -> None:
    good = write_raster(tmp_path / "good.tif", scene_values(50, 70))
    colours = np.stack([scene_values(50, 70, seed=k) for k in range(3)])
    bad = write_raster(tmp_path / "bad.tif", colours, descriptions=("red", "green", "blue"))
    given = ("--model", tiny.path, "--out-dir", tmp_path / "out", "--progress", "jsonl")
    found = events(command("colorize", good, bad, *given, expect=1).stdout)
    warned = [e["message"] for e in found if e["event"] == "warning"]
    assert warned
    assert all(text.startswith(f"{good}: ") for text in warned)
    assert found[-1]["message"].startswith(f"{bad}: nothing says which band is near infrared")
    # One scene alone is no news.
    single = events(command("colorize", bad, *given, expect=1).stdout)
    assert single[-1]["message"].startswith("nothing says")
