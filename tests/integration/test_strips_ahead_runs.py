"""Runs that encode strips of the result between chunks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write_raster

import nirgeo
from nirgeo import cog_strips, strips_ahead, write
from nirgeo.modelfile import Model

BLOCK = {"BLOCKSIZE": "128"}


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cog_strips, "_PIXELS", 1)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(500, 5000, (1, 600, 300)).astype(np.uint16)
    values[:, 200:330, 100:] = 0
    return write_raster(tmp_path / "s.tif", values, descriptions=("nir",), nodata=0)


def lazy(scene: Path, model: Model, **options: Any) -> Any:
    return nirgeo.colorize(nirgeo.open_scene(scene, scale="0.0001", chunk=2), model, **options)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of strips made ahead."""
    made: list[str] = []
    real = strips_ahead.encode_strip

    def encode(path: Path, *rest: Any) -> None:
        real(path, *rest)
        made.append(path.stem)

    monkeypatch.setattr(strips_ahead, "encode_strip", encode)
    return made


@pytest.mark.parametrize("output", ["display", "reflectance"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_encodes_while_it_computes(
    scene: Path, tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    small_strips: None, output: str, workers: int,
) -> None:  # fmt: skip
    rgb = lazy(scene, tiny, output=output)
    made = spied(monkeypatch)
    first = tmp_path / "first.tif"
    nirgeo.write_geotiff(rgb, first, creation_options=BLOCK, workers=workers)
    # Until every worker has but two chunks to go; what is left is encoded on all cores.
    last = {1: 384, 2: 256}[workers]
    assert set(made) == {f"strip-0-{row}" for row in range(0, last + 1, 128)}
    monkeypatch.setattr(write, "_strips_ahead", lambda *_: None)
    nirgeo.write_geotiff(rgb, tmp_path / "second.tif", creation_options=BLOCK, workers=workers)
    assert first.read_bytes() == (tmp_path / "second.tif").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["first.tif", "s.tif", "second.tif"]


def test_a_file_that_is_not_made_of_strips_has_none(
    scene: Path, tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_strips: None
) -> None:
    made = spied(monkeypatch)
    options = {**BLOCK, "COMPRESS": "JPEG"}
    nirgeo.write_geotiff(lazy(scene, tiny), tmp_path / "o.tif", creation_options=options)
    assert not made


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_fails_leaves_no_strip_and_goes_on_to_the_same_file(
    scene: Path, tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    small_strips: None, resume: bool,
) -> None:  # fmt: skip
    rgb = lazy(scene, tiny)
    out = tmp_path / "out" / "o.tif"
    out.parent.mkdir()
    nirgeo.write_geotiff(rgb, tmp_path / "whole.tif", creation_options=BLOCK)
    made = spied(monkeypatch)

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nirgeo.write_geotiff(
            rgb, out, resume=resume, creation_options=BLOCK, workers=1, on_progress=stop
        )
    assert made
    left = [name for _, _, names in os.walk(out.parent) for name in names]
    assert not [name for name in left if name.startswith("strip-")]
    assert bool(left) == resume
    before = len(made)
    nirgeo.write_geotiff(rgb, out, resume=resume, creation_options=BLOCK, workers=1)
    again = set(made[before:])
    # Strips of chunks that were there already are left to the end.
    assert ("strip-0-0" in again) is not resume
    assert out.read_bytes() == (tmp_path / "whole.tif").read_bytes()
