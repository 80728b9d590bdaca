"""Numbers and names of options, as programs give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from helpers import write_raster

import nirgeo
from nirgeo import given
from nirgeo.errors import OptionError
from nirgeo.modelfile import Model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(200, 4000, (70, 80), dtype=np.uint16)
    return write_raster(tmp_path / "scene.tif", values)


def test_numbers() -> None:
    for value in (2, 2.0, np.float32(2), np.int64(2), np.array(2)):
        assert given.number("--gamma", value) == 2.0
    assert given.number_or_none("--nodata", None) is None
    assert given.count("--chunk", np.int32(4)) == 4
    for wrong in ("2", b"2", None, [1, 2], object()):
        with pytest.raises(OptionError, match=r"--gamma .*a number is needed"):
            given.number("--gamma", wrong)
    for wrong in (2.0, "2", None):
        with pytest.raises(OptionError, match=r"--chunk .*a whole number is needed"):
            given.count("--chunk", wrong)


def test_names_of_files(path: Path, tmp_path: Path) -> None:
    assert given.file_name("--model", Path("a.tif")) == given.file_name("--model", "a.tif")
    with rasterio.open(path) as opened, pytest.raises(OptionError, match=r"scene: a Dataset\w+ wh"):
        nirgeo.open_scene(opened)
    with pytest.raises(OptionError, match="scene: a bytes"):
        nirgeo.open_scene([bytes(path)])
    scene = nirgeo.open_scene(path)
    for model in (None, 3):
        with pytest.raises(OptionError, match=f"--model: a {type(model).__name__} where a path"):
            nirgeo.colorize(scene, model)
    with pytest.raises(OptionError, match="--reference: a int where a path"):
        nirgeo.colorize(scene, reference=5)
    with pytest.raises(OptionError, match="result: a NoneType where a path"):
        nirgeo.write_geotiff(nirgeo.colorize(scene), None)


def test_a_device_that_no_machine_has_is_refused_at_once(path: Path) -> None:
    scene = nirgeo.open_scene(path)
    for device in ("quantum", "cuda:first", ""):
        with pytest.raises(OptionError, match=f"--device {device}: not available"):
            nirgeo.colorize(scene, device=device)
    # Workers may have what this machine does not have.
    assert nirgeo.colorize(scene, device="cuda:63").dtype == np.uint8


def test_numpys_numbers_are_options(path: Path, tmp_path: Path, tiny: Model) -> None:
    scene = nirgeo.open_scene(path, chunk=np.int64(1), scale=np.float32(1e-4), nodata=np.uint16(0))
    rgb = nirgeo.colorize(
        scene,
        tiny,
        brightness=np.float32(1.5),
        gamma=np.float64(1.25),
        nodata=np.int64(0),
        uncertainty=np.bool_(False),
        device=torch.device("cpu"),
    )
    nirgeo.write_geotiff(rgb, tmp_path / "a.tif", workers=np.int64(1))
    same = nirgeo.open_scene(path, chunk=1, scale=float(np.float32(1e-4)), nodata=0)
    again = nirgeo.colorize(same, tiny, brightness=1.5, gamma=1.25)
    nirgeo.write_geotiff(again, tmp_path / "b.tif", workers=1)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    # A result that recorded its scaling, by whatever names a file.
    taken = nirgeo.open_scene(path, scale=tmp_path / "a.tif").attrs["nirgeo_scaling"]
    assert taken == scene.attrs["nirgeo_scaling"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nodata": "0"}, "--nodata '0'"),
        ({"chunk": "4"}, "--chunk '4'"),
        ({"chunk": 1.5}, "--chunk 1.5"),
        ({"bounds": (1, 2, 3)}, "need west, south, east, north"),
        ({"bounds": "1234"}, "need west, south, east, north"),
        ({"bounds": (1, "2", 3, 4)}, "--bounds '2'"),
    ],
)
def test_what_is_no_number_is_refused_on_opening(
    path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        nirgeo.open_scene(path, **options)


@pytest.mark.parametrize("name", ["nodata", "brightness", "gamma", "max_error"])
def test_and_before_anything_is_computed(path: Path, tiny: Model, name: str) -> None:
    scene = nirgeo.open_scene(path, scale=1e-4)
    with pytest.raises(OptionError, match=f"--{name.replace('_', '-')} '0': a str where"):
        nirgeo.colorize(scene, tiny, **{name: "0"})
    with pytest.raises(OptionError, match="--workers '2'"):
        nirgeo.write_geotiff(nirgeo.colorize(scene, tiny), path.with_name("x.tif"), workers="2")
