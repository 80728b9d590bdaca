"""Scenes larger than memory likes: sparse sources, so that the disk does not have to hold them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
import rasterio
from large_scenes import dense_scene, sparse_scene
from peak_memory import peak_memory
from pictures import start
from rasterio.windows import Window

from nirgeo.modelfile import Model

pytestmark = pytest.mark.slow


def test_memory_does_not_grow_with_the_scene(tmp_path: Path, full_size: Model) -> None:
    peaks = []
    for side in (4096, 12288):
        scene = sparse_scene(tmp_path / f"{side}.tif", side, every=side // 4)
        options = ["--model", full_size.path, "--scale", "0.0001", "--workers", "2", "-q"]
        peaks.append(peak_memory("colorize", scene, "-o", tmp_path / f"{side}_rgb.tif", *options))
    assert peaks[1] < 1.3 * peaks[0], peaks


@pytest.mark.parametrize("output", ["display", "reflectance"])
def test_memory_does_not_grow_with_a_full_scene(tmp_path: Path, tiny: Model, output: str) -> None:
    peaks = []
    for side in (4096, 12288):
        scene = dense_scene(tmp_path / f"{side}.tif", side)
        options = ["--model", tiny.path, "--scale", "0.0001", "--workers", "2", "-q"]
        options += ["--as", output]
        peaks.append(peak_memory("colorize", scene, "-o", tmp_path / f"{side}_rgb.tif", *options))
    # Nine times the pixels. Some 100 MB more are the C library's, which keeps what was freed.
    assert peaks[1] < 1.4 * peaks[0], peaks


def test_a_source_of_more_than_four_gibibytes(tmp_path: Path, tiny: Model) -> None:
    side = 48_000  # 4.3 GiB of 16-bit pixels, were they written
    scene = sparse_scene(tmp_path / "huge.tif", side, every=16_384)
    target = tmp_path / "huge_rgb.tif"
    options = ["--model", tiny.path, "--scale", "0.0001", "--workers", "2", "-q"]
    peak_memory("colorize", scene, "-o", target, *options)
    with target.open("rb") as start:
        assert start.read(4) == b"II\x2b\x00", "6.4 GiB of pixels may need a BigTIFF"
    with rasterio.open(target) as file, rasterio.open(scene) as source:
        assert file.shape == (side, side)
        assert file.transform == source.transform
        for row in range(0, side - 512, 16_384):
            window = Window(row, row, 512, 600)
            mask = file.dataset_mask(window=window)
            assert (mask == source.dataset_mask(window=window)).all()
            assert file.read(window=window)[:, mask > 0].any()


@pytest.mark.timeout(900)
def test_a_hundred_thousand_pixels_wide(tmp_path: Path, tiny: Model) -> None:
    # Ten thousand chunks: it begins, tells how far it is, stops when asked, and goes on from there.
    scene = sparse_scene(tmp_path / "huge.tif", 100_000, every=25_000)
    arguments = ["colorize", scene, "-o", tmp_path / "rgb.tif", "--model", tiny.path]
    arguments += ["--scale", "1e-4", "--workers", 2, "--resume", "--progress", "jsonl"]
    resumed = []
    for wanted in (60, 200):
        child = start(*arguments)
        assert child.stdout is not None
        resumed.append(json.loads(child.stdout.readline())["resumed"])
        for line in child.stdout:
            if json.loads(line)["done"] >= wanted:
                break
        peak = psutil.Process(child.pid).memory_info().rss
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=120)
        assert child.returncode == 130
        assert peak < 1.2e9
    assert resumed[0] == 0
    assert resumed[1] >= 60
    blocks = tmp_path / ".rgb.tif.nirgeo" / "blocks.tif"
    assert blocks.stat().st_size > 40e9
    assert blocks.stat().st_blocks * 512 < 1e9, "holes are written out"


@pytest.mark.timeout(1500)
def test_a_hundred_thousand_pixels_wide_to_the_end(tmp_path: Path) -> None:
    side, every = 100_000, 25_000
    scene = sparse_scene(tmp_path / "huge.tif", side, every=every)
    target = tmp_path / "rgb.tif"
    options = ["--model", "satellite-nir", "--scale", "0.0001", "--workers", "2", "-q"]
    assert peak_memory("colorize", scene, "-o", target, *options) < 900e6
    with rasterio.open(target) as file, rasterio.open(scene) as source:
        assert file.shape == (side, side)
        assert file.transform == source.transform
        assert file.overviews(1)[-1] >= side // 512 // 2
        for row in range(0, side, every):
            for col in range(0, side, every):
                place = (min(row, side - 1200), min(col, side - 1200), 1200, 1200)
                window = Window(place[1], place[0], place[3], place[2])
                mask = file.dataset_mask(window=window)
                assert (mask == source.dataset_mask(window=window)).all()
                colours = file.read(window=window)
                assert colours[:, mask > 0].any(axis=0).all()
                assert not colours[:, mask == 0].any()
    assert target.stat().st_blocks * 512 < 1e9
