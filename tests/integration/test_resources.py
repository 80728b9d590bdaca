"""What a run takes from its process, and gives back: handles, threads, memory, temporary files."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
import torch
from helpers import NORTH_UP_10M, UTM, write_raster
from large_scenes import dense_scene
from peak_memory import peak_memory
from pictures import command, listing, scene_values, start
from rasterio.env import get_gdal_config

import nirgeo
from nirgeo import budget, decoded, gdal_settings
from nirgeo.errors import SourceError
from nirgeo.modelfile import Model
from nirgeo.own_torch import intra_op_threads


def cache_size() -> object:
    with rasterio.Env():
        return get_gdal_config("GDAL_CACHEMAX")


# --- the process's own settings -------------------------------------------------------------------


@contextmanager
def unchanged() -> Iterator[None]:
    """Fails if torch's threads, GDAL's cache or the handlers of signals are not as before."""
    import signal

    def now() -> list[object]:
        found: list[int] = []  # a new thread takes the process's number
        asking = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        asking.start()
        asking.join()
        handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        return [torch.get_num_threads(), *found, cache_size(), *handlers, dict(os.environ)]

    before = now()
    yield
    assert now() == before


@pytest.mark.parametrize("threads", [1, 3])
def test_settings_come_back(tmp_path: Path, tiny: Model, threads: int) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(150, 150))
    cut = write_raster(tmp_path / "cut.tif", scene_values(300, 300), tiled=True)
    os.truncate(cut, cut.stat().st_size // 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with unchanged():
            options = ("--model", tiny.path, "--scale", "1e-4", "--chunk", 1, "-q")
            command("colorize", scene, *options, "--workers", 2)
            command("colorize", cut, *options, expect=1)
            opened = nirgeo.open_scene(scene, scale="1e-4", chunk=1)
            nirgeo.write_geotiff(nirgeo.colorize(opened, tiny), tmp_path / "out.tif", workers=1)
    finally:
        torch.set_num_threads(before)


def test_runs_that_overlap_leave_the_settings_of_before_the_first() -> None:
    # In one process, in threads: the first to begin ends first, so it is not the last that knows.
    begun, first_ended = threading.Event(), threading.Event()
    seen: list[object] = []

    def first() -> None:
        with gdal_settings.bounded_cache(), intra_op_threads(1):
            begun.set()
            assert second_begun.wait(10)
        first_ended.set()

    second_begun = threading.Event()

    def second() -> None:
        assert begun.wait(10)
        with gdal_settings.bounded_cache(), intra_op_threads(1):
            second_begun.set()
            assert first_ended.wait(10)
            seen.append(cache_size())

    with unchanged():
        threads = [threading.Thread(target=run) for run in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [gdal_settings.CACHE_BYTES]


# --- handles --------------------------------------------------------------------------------------


def open_files() -> int:
    process = psutil.Process()
    return process.num_fds() if os.name == "posix" else process.num_handles()


@pytest.mark.parametrize(
    "scenes", [40, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_handles_and_threads_do_not_grow_with_scenes(
    tmp_path: Path, tiny: Model, scenes: int
) -> None:
    settled = 20  # every thread may keep some datasets open
    numbers: list[tuple[int, int]] = []
    options = ("--model", tiny.path, "--scale", "1e-4", "--workers", 2, "--chunk", 1, "-q")
    for k in range(scenes):
        scene = write_raster(tmp_path / f"{k}.tif", scene_values(70 + k % 7, 140), tiled=True)
        if k % 10 == 9:  # failures count too
            os.truncate(scene, scene.stat().st_size // 2)
        command("colorize", scene, *options, expect=1 if k % 10 == 9 else 0)
        numbers.append((open_files(), threading.active_count()))
    for kind in zip(*numbers, strict=True):
        assert max(kind[settled:]) <= max(kind[:settled]), kind


# --- temporary files ------------------------------------------------------------------------------


def everything_in(folder: Path) -> set[str]:
    """What is there just now; ``rglob`` fails where a folder goes while it looks."""
    return {
        str(Path(place, name).relative_to(folder))
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def test_temporary_files_lie_beside_the_target(tmp_path: Path, tiny: Model) -> None:
    # GDAL makes some too, for overviews and mask.
    for name in ("in", "out", "tmp", "cwd"):
        (tmp_path / name).mkdir()
    scene = write_raster(tmp_path / "in" / "scene.tif", scene_values(1400, 1300), nodata=1200)
    target = tmp_path / "out" / "rgb.tif"
    seen: dict[str, set[str]] = {name: set() for name in ("in", "out", "tmp", "cwd")}
    child = start(
        *("colorize", scene, "-o", target, "--model", tiny.path, "--scale", "1e-4", "-q"),
        cwd=tmp_path / "cwd",
        env={"TMPDIR": str(tmp_path / "tmp"), "TMP": str(tmp_path / "tmp")},
    )
    while child.poll() is None:
        for name, found in seen.items():
            found |= everything_in(tmp_path / name)
    _, err = child.communicate()
    assert child.returncode == 0, err
    assert seen["in"] == {"scene.tif"}
    assert seen["tmp"] == seen["cwd"] == set()
    assert {name.split("/")[0] for name in seen["out"]} <= {".rgb.tif.nirgeo", "rgb.tif"}
    assert ".rgb.tif.nirgeo/blocks.tif" in seen["out"]
    assert list(listing(tmp_path / "out")) == ["rgb.tif"]


# --- a source that changes ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["replaced", "written to"])
def test_a_scene_that_changes_during_the_run_is_noticed(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    from nirgeo import inference

    scene = write_raster(tmp_path / "in" / "scene.tif", scene_values(300, 300, seed=1))
    other = write_raster(tmp_path / "in" / "other.tif", scene_values(300, 300, seed=2))
    original = inference.run_network
    calls: list[None] = []

    def change(*arguments: object, **options: object) -> object:
        calls.append(None)
        if len(calls) == 3:
            if how == "replaced":
                os.replace(other, scene)
            else:
                with rasterio.open(scene, "r+") as file:
                    file.write(scene_values(300, 300, seed=2), 1)
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(inference, "run_network", change)
    options = ("--model", tiny.path, "--scale", "1e-4", "--chunk", 1, "--workers", 1)
    result = command("colorize", scene, "-o", tmp_path / "out.tif", *options, "-q", expect=1)
    assert "scene.tif: has changed since it was opened" in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_an_array_of_a_scene_that_changed_says_so(tmp_path: Path, tiny: Model) -> None:
    path = write_raster(tmp_path / "scene.tif", scene_values(90, 90))
    rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="1e-4"), tiny)
    first = rgb.values
    write_raster(path, scene_values(91, 90))
    with pytest.raises(SourceError, match="open it again"):
        rgb.compute()
    again = nirgeo.colorize(nirgeo.open_scene(path, scale="1e-4"), tiny)
    assert again.values.shape == (3, 91, 90) != first.shape


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [2, 8])
def test_peak_memory_of_a_run_and_its_children(
    tmp_path: Path, full_size: Model, workers: int
) -> None:
    # No more than `nirgeo info` says.
    side = 4096  # two chunks for each of eight workers
    scene = dense_scene(tmp_path / "scene.tif", side)
    arguments = ["colorize", scene, "-o", tmp_path / "out.tif", "--model", full_size.path]
    peak = peak_memory(*arguments, "--scale", "1e-4", "--workers", workers, "--chunk", 16, "-q")
    options = ("--model", full_size.path, "--scale", "1e-4", "--workers", workers, "--chunk", 16)
    said = json.loads(command("info", scene, *options, "--json").stdout)["memory"]
    found = re.fullmatch(rf"about (\d+) MB with {workers} workers", said)
    assert found is not None, said
    stated = int(found[1]) * 2**20
    assert peak <= stated, (peak, stated)
    # Or it says nothing. Workers beyond the cores seldom need the most at the same time.
    assert peak > (0.5 if workers == 2 else 0.3) * stated, (peak, stated)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_two_workers_stays_within_600_mb(tmp_path: Path, full_size: Model) -> None:
    budget = 600 * 2**20
    scene = dense_scene(tmp_path / "scene.tif", 4096)
    arguments = ["colorize", scene, "--model", full_size.path, "--scale", "1e-4", "-q"]

    def peak(name: str, *options: object) -> int:
        return peak_memory(*arguments, "-o", tmp_path / name, "--workers", 2, *options)

    assert peak("asked.tif", "--memory", "600M") <= budget
    assert peak("usual.tif") <= budget
    # And with larger chunks the same scene takes more, or the test says nothing.
    assert peak("large.tif", "--chunk", 32) > budget
    pictures = []
    for name in ("asked.tif", "usual.tif", "large.tif"):
        with rasterio.open(tmp_path / name) as file:
            pictures.append(file.read())
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_a_block_that_no_cache_holds_is_counted_for_every_worker(
    tmp_path: Path, full_size: Model
) -> None:
    side = 8192  # 128 MiB of 16 bits
    values = np.zeros((side, side), dtype=np.uint16)
    stated = {}
    for name, rows in (("strips", 64), ("one", side)):
        scene = write_raster(
            tmp_path / f"{name}.tif", values, compress="deflate", tiled=False, blockysize=rows
        )
        for workers in (1, 2):
            options = ("--model", full_size.path, "--scale", "1e-4", "--workers", workers)
            said = json.loads(command("info", scene, *options, "--json").stdout)["memory"]
            found = re.fullmatch(rf"about (\d+) MB with {workers} workers?", said)
            assert found is not None, said
            stated[name, workers] = int(found[1])
    for workers in (1, 2):
        more = stated["one", workers] - stated["strips", workers]
        assert more == pytest.approx(256 * workers, abs=1)
    # Two blocks and all else at its smallest would not fit.
    plan = json.loads(command("info", scene, *options[:4], "--memory", "900M", "--json").stdout)
    assert "with 1 worker" in plan["memory"]


# --- wide strips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--memory", "900M")])
def test_strips_of_a_wide_scene_are_decoded_once(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    # Rows of chunks need all strips that they touch; the usual cache holds none of a wide scene's.
    monkeypatch.setattr(budget, "CACHE_BYTES", 2**20)
    decoded_of_run: list[int] = []
    end = decoded._Sharing.end

    def ended(self: decoded._Sharing) -> None:
        if self.blocks is not None:
            decoded_of_run.append(self.blocks.decoded)
        end(self)

    monkeypatch.setattr(decoded._Sharing, "end", ended)
    values = scene_values(700, 2100)
    scene = write_raster(tmp_path / "scene.tif", values, compress="deflate", blockysize=4)
    command(
        *("colorize", scene, "--model", tiny.path, "--scale", "1e-4", "--chunk", 2, "-q"),
        *("--workers", 1, *options),
    )
    # Of 64 rows each; sampling the scene beforehand decodes by itself.
    assert decoded_of_run == [-(-700 // 64)]


@pytest.mark.parametrize(
    ("width", "dtype", "layout", "cache"),
    [
        (24576, "float32", {}, 2 * 24576 * 4 * (768 + 2 * 37)),
        (8192, "uint16", {}, 0),
        (24576, "float32", {"tiled": True, "blockxsize": 512, "blockysize": 512}, 0),
        (
            12288,
            "float32",
            {"blockysize": 900, "compress": "deflate"},
            0,
        ),  # a strip alone is more than a cache
        (300_000, "float32", {}, 0),
    ],
)
def test_a_cache_for_a_row_of_chunks(
    tmp_path: Path, width: int, dtype: str, layout: dict[str, Any], cache: int
) -> None:
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=900, count=1, dtype=dtype, **layout,
        SPARSE_OK=True, transform=NORTH_UP_10M, crs=UTM,
    ):  # fmt: skip
        pass
    scene = nirgeo.open_scene(path, scale="1e-4")
    plan = budget.plan_for(None, scene, "satellite-nir")
    if cache:
        assert cache < plan.cache_bytes < 2 * cache
    else:
        assert plan.cache_bytes == gdal_settings.CACHE_BYTES
