"""Decoded blocks that threads share: the same pixels, decoded once, in bounded memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from helpers import random_model, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.env import get_gdal_config

import nirgeo
from nirgeo import decoded, gdal_settings
from nirgeo.decoded import Pixels, SharedBlocks, sharing, unit_shape
from nirgeo.errors import SourceError
from nirgeo.opening import open_source
from nirgeo.sent import ChunkTask, compute_chunks, versions_here
from nirgeo.source import RasterSource
from nirgeo.tiling import ChunkGrid, Window

SIZE = (700, 900)


def measured(dtype: str = "uint16", size: tuple[int, int] = SIZE) -> NDArray[Any]:
    """Made-up values; the type's 0 among them, in a corner and in single pixels."""
    values = np.random.default_rng(1).integers(1, 250, size).astype(dtype)
    values[:40, :60] = 0
    values[::97, ::89] = 0
    return values


def pixels(value: int = 0, size: int = 1000) -> Pixels:
    return Pixels(np.full((1, 1, size), value, dtype=np.uint8))


def cache_size() -> int:
    return int(get_gdal_config("GDAL_CACHEMAX"))


@pytest.fixture
def run() -> Iterator[None]:
    """What surrounds the threads of a run."""
    with gdal_settings.bounded_cache(), sharing():
        yield


def blocks() -> SharedBlocks:
    shared = decoded.shared()
    assert shared is not None
    return shared


LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tiled": True, "blockxsize": 256, "blockysize": 256},
    "small tiles": {"tiled": True, "blockxsize": 64, "blockysize": 32},
    "oblong tiles": {"tiled": True, "blockxsize": 512, "blockysize": 128},
    "strips": {"tiled": False, "blockysize": 7},
    "one strip": {"tiled": False, "blockysize": SIZE[0]},
}


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def layout(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LAYOUTS[request.param] | {"compress": "deflate"}


@pytest.fixture(scope="module", params=["nodata", "mask", "alpha", "float", "whole"])
def scene(
    request: pytest.FixtureRequest, layout: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> RasterSource:
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    values = measured()
    kinds: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        "nodata": (values, {"nodata": 0}),
        "mask": (values, {"mask": values > 0}),
        "alpha": (
            np.stack([values.astype(np.uint8), np.where(values > 0, 255, 0).astype(np.uint8)]),
            {"colorinterp": ("gray", "alpha"), "descriptions": ("nir", None)},
        ),
        "float": (np.where(values > 0, values / 255, np.nan).astype(np.float32), {}),
        "whole": (values, {}),
    }
    array, options = kinds[request.param]
    return open_source(write_raster(path, array, **options, **layout))


class TestPixels:
    @settings(max_examples=15, deadline=None)
    @given(st.data())
    def test_every_window_is_as_gdal_reads_it(
        self, scene: RasterSource, data: st.DataObject
    ) -> None:
        number = scene.number_of("nir")
        windows = []
        for _ in range(3):
            row = data.draw(st.integers(0, SIZE[0] - 1))
            col = data.draw(st.integers(0, SIZE[1] - 1))
            height = data.draw(st.integers(1, SIZE[0] - row))
            width = data.draw(st.integers(1, SIZE[1] - col))
            windows.append(Window(row, col, height, width))
        assert decoded.shared() is None
        alone = [scene.read(window, [number]) for window in windows]
        with sharing():
            together = [scene.read(window, [number]) for window in windows]
            assert blocks().decoded > 0
        for (values, valid), (found, found_valid) in zip(alone, together, strict=True):
            np.testing.assert_array_equal(found, values)
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found_valid, valid)

    def test_a_reader_may_change_what_it_got(self, tmp_path: Path, run: None) -> None:
        values = measured(size=(64, 64))
        scene = open_source(write_raster(tmp_path / "a.tif", values, nodata=0))
        window = Window(0, 0, 64, 64)
        first, valid = scene.read(window, [1])
        first[:], valid[:] = 7, False
        again, valid_again = scene.read(window, [1])
        np.testing.assert_array_equal(again[0], values)
        np.testing.assert_array_equal(valid_again, values > 0)

    def test_bands_and_files_are_told_apart(self, tmp_path: Path, run: None) -> None:
        values = np.arange(2 * 50 * 50, dtype=np.uint16).reshape(2, 50, 50)
        window = Window(10, 0, 40, 50)
        for name, array in (("a", values), ("b", values + 1)):
            path = write_raster(tmp_path / f"{name}.tif", array, descriptions=("nir", "red"))
            found, _ = open_source(path).read(window, [2, 1])
            np.testing.assert_array_equal(found, array[::-1, 10:])

    def test_a_changed_file_is_refused(self, tmp_path: Path, run: None) -> None:
        path = write_raster(tmp_path / "a.tif", measured(size=(64, 64)))
        scene = open_source(path)
        scene.read(Window(0, 0, 64, 64), [1])
        write_raster(path, measured(size=(64, 64)) + 1)
        os.utime(path, ns=(1, 1))
        with pytest.raises(SourceError, match="has changed"):
            scene.read(Window(0, 0, 64, 64), [1])

    def test_what_is_resampled_is_left_to_gdal(self, tmp_path: Path, run: None) -> None:
        fine = write_raster(tmp_path / "B08.tif", measured(size=(200, 200)))
        coarse = write_raster(
            tmp_path / "B04.tif",
            measured(size=(100, 100)),
            transform=rasterio.Affine(20, 0, 500_000, 0, -20, 5_000_000),
        )
        scene = open_source(stack={"nir": fine, "red": coarse})
        for role in ("red", "nir"):
            scene.read(Window(0, 0, 200, 200), [scene.number_of(role)])
        shared_files = {key[0][0] for key in blocks()._known}  # type: ignore[index]
        assert shared_files == {str(fine)}


class TestUnits:
    @pytest.mark.parametrize(
        ("block", "raster", "unit"),
        [
            ((512, 512), (5000, 5000), (512, 512)),
            ((64, 64), (5000, 5000), (256, 256)),
            ((96, 96), (5000, 5000), (288, 288)),
            ((1, 5000), (5000, 5000), (64, 5000)),
            ((7, 5000), (5000, 5000), (70, 5000)),
            ((5000, 5000), (5000, 5000), (5000, 5000)),
            ((512, 512), (300, 5000), (300, 512)),
        ],
    )
    def test_whole_blocks_and_not_too_small(
        self, block: tuple[int, int], raster: tuple[int, int], unit: tuple[int, int]
    ) -> None:
        assert unit_shape(block, raster) == unit

    def test_what_does_not_fit_is_read_directly(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        values = measured()
        layout = LAYOUTS["one strip"] | {"compress": "deflate"}
        scene = open_source(write_raster(tmp_path / "a.tif", values, **layout))
        for fit, shared in ((decoded._UNITS, True), (decoded._UNITS - 1, False)):
            monkeypatch.setattr(
                decoded, "_OF_CACHE", fit * values.nbytes / gdal_settings.CACHE_BYTES
            )
            with gdal_settings.bounded_cache(), sharing():
                found, _ = scene.read(Window(100, 100, 20, 30), [1])
                assert (decoded.shared() is not None) == shared
                left = gdal_settings.CACHE_BYTES // 4 if shared else gdal_settings.CACHE_BYTES
                assert cache_size() == left
            np.testing.assert_array_equal(found[0], values[100:120, 100:130])


class TestSharing:
    def test_no_block_is_decoded_twice(self, tmp_path: Path, run: None) -> None:
        values = measured(size=(1024, 1024))
        path = write_raster(tmp_path / "a.tif", values, nodata=0, **LAYOUTS["tiles"])
        scene = open_source(path)
        windows = [
            Window(row, col, min(300, 1024 - row), min(300, 1024 - col))
            for row in range(0, 1024, 100)
            for col in range(0, 1024, 100)
        ]
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda window: scene.read(window, [1])[0][0], windows))
        for window, found in zip(windows, read, strict=True):
            np.testing.assert_array_equal(found, values[window.slices])
        assert blocks().decoded == 16

    def test_who_asks_meanwhile_waits_for_the_first(self) -> None:
        shared, begun, go = SharedBlocks(10**6), threading.Event(), threading.Event()

        def slowly() -> Pixels:
            begun.set()
            assert go.wait(10)
            return pixels(3)

        def never() -> Pixels:
            raise AssertionError("decoded twice")

        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(shared.get, "a", slowly)
            assert begun.wait(10)
            others = [pool.submit(shared.get, "a", never) for _ in range(2)]
            other = shared.get("b", lambda: pixels(4))  # nobody waits for another block
            assert other.values[0, 0, 0] == 4
            go.set()
            assert {future.result().values[0, 0, 0] for future in (first, *others)} == {3}

    @pytest.mark.parametrize("lasting", [True, False])
    def test_who_waited_for_a_failure_tries_for_himself(self, *, lasting: bool) -> None:
        shared, begun, go = SharedBlocks(10**6), threading.Event(), threading.Event()

        def broken() -> Pixels:
            begun.set()
            assert go.wait(10)
            raise ValueError("damaged")

        def another() -> Pixels:
            if lasting:
                raise ValueError("damaged too")
            return pixels(6)

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(shared.get, "a", broken)
            assert begun.wait(10)
            second = pool.submit(shared.get, "a", another)
            while not second.running():
                pass
            go.set()
            with pytest.raises(ValueError, match=r"damaged$"):
                first.result(10)
            if lasting:
                with pytest.raises(ValueError, match="damaged too"):
                    second.result(10)
            else:
                assert second.result(10).values[0, 0, 0] == 6
        assert shared.get("a", lambda: pixels(5)).values[0, 0, 0] in (5, 6)

    def test_damage_beside_a_window_does_not_spoil_it(self, tmp_path: Path, run: None) -> None:
        values = np.random.default_rng(0).integers(1, 60_000, (120, 512)).astype(np.uint16)
        known = {"REFLECTANCE_SCALE": "0.0001"}
        layout = {"tiled": False, "blockysize": 1, "compress": "deflate"}
        path = write_raster(tmp_path / "a.tif", values, tags=known, **layout)
        os.truncate(path, path.stat().st_size // 4 * 3)
        scene = open_source(path)
        found, _ = scene.read(Window(60, 0, 10, 512), [1])  # in one unit with the last rows
        np.testing.assert_array_equal(found[0], values[60:70])
        with pytest.raises(SourceError, match="can't be read at row 100"):
            scene.read(Window(100, 0, 10, 512), [1])

    def test_bands_of_a_file_are_decoded_together(self, tmp_path: Path, run: None) -> None:
        values = np.stack([measured(size=(512, 512)) + band for band in range(4)])
        names = ("blue", "green", "red", "nir")
        options = LAYOUTS["tiles"] | {"interleave": "pixel", "descriptions": names, "nodata": 0}
        scene = open_source(write_raster(tmp_path / "a.tif", values, **options))
        before = blocks().decoded
        numbers = [scene.number_of(role) for role in ("red", "green", "nir")]
        found, valid = scene.read(Window(0, 0, 512, 512), numbers)
        np.testing.assert_array_equal(found, values[[2, 1, 3]])
        np.testing.assert_array_equal(valid, (values[1:] != 0).all(axis=0))
        assert blocks().decoded == before + 4

    def test_a_vrt_is_left_to_gdal(self, tmp_path: Path, run: None) -> None:
        path = write_raster(tmp_path / "a.tif", measured(size=(300, 300)), nodata=0)
        rasterio.shutil.copy(path, tmp_path / "a.vrt", driver="VRT")
        found, _ = open_source(tmp_path / "a.vrt").read(Window(5, 5, 200, 100), [1])
        np.testing.assert_array_equal(found[0], measured(size=(300, 300))[5:205, 5:105])
        assert decoded.shared() is None
        assert cache_size() == gdal_settings.CACHE_BYTES

    def test_a_damaged_block_spoils_only_the_windows_that_meet_it(
        self, tmp_path: Path, run: None
    ) -> None:
        values = np.random.default_rng(0).integers(1, 60_000, (512, 512)).astype(np.uint16)
        layout = LAYOUTS["tiles"] | {"compress": "deflate"}
        known = {"REFLECTANCE_SCALE": "0.0001"}  # else values are looked at, the last ones too
        path = write_raster(tmp_path / "a.tif", values, tags=known, **layout)
        os.truncate(path, path.stat().st_size - 1000)  # the last block
        scene = open_source(path)
        found, _ = scene.read(Window(0, 0, 256, 512), [1])
        np.testing.assert_array_equal(found[0], values[:256])
        for _ in range(2):
            with pytest.raises(SourceError, match="can't be read at row 200, column 200"):
                scene.read(Window(200, 200, 100, 100), [1])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 500)), max_size=60))
    def test_no_more_is_kept_than_the_limit(self, asked: list[tuple[int, int]]) -> None:
        shared = SharedBlocks(1000)
        sizes: dict[int, int] = {}
        for key, size in asked:
            size = sizes.setdefault(key, size)
            shared.get(key, lambda: pixels(1, size))  # noqa: B023
            kept = [future.result().nbytes for future in shared._known.values()]
            assert sum(kept) == shared._bytes <= 1000
            assert key in shared._known

    def test_what_was_used_last_is_kept(self) -> None:
        shared = SharedBlocks(2000)
        for key in ("a", "b", "a", "c"):
            shared.get(key, pixels)
        before = shared.decoded
        shared.get("a", pixels)
        assert shared.decoded == before
        shared.get("b", pixels)
        assert shared.decoded == before + 1


class TestMemory:
    @pytest.fixture
    def read(self, tmp_path: Path) -> Callable[[], object]:
        scene = open_source(write_raster(tmp_path / "a.tif", measured(size=(64, 64))))
        return lambda: scene.read(Window(0, 0, 64, 64), [1])

    @pytest.mark.parametrize("size", [gdal_settings.CACHE_BYTES, 2**24])
    def test_gdals_cache_makes_room_and_gets_it_back(
        self, read: Callable[[], object], size: int
    ) -> None:
        before = cache_size()
        with gdal_settings.cache_of(size), gdal_settings.bounded_cache():
            with sharing(), ThreadPoolExecutor(1) as pool:
                assert cache_size() == size  # until there is something to share
                pool.submit(read).result()
                assert blocks().limit == size // 2
                assert cache_size() == size // 4
            assert cache_size() == size
            assert decoded.shared() is None
        assert cache_size() == before

    def test_the_users_cache_stays(self, read: Callable[[], object]) -> None:
        size = 32 * 2**20
        with rasterio.Env(GDAL_CACHEMAX=size):
            with gdal_settings.bounded_cache(), sharing():
                read()
                assert blocks().decoded == 1
                assert cache_size() == size
            assert decoded.shared() is None
            assert cache_size() == size

    def test_runs_that_overlap_share_until_the_last_ends(self, read: Callable[[], object]) -> None:
        with gdal_settings.bounded_cache():
            first, second = sharing(), sharing()
            first.__enter__()
            read()
            shared = blocks()
            second.__enter__()
            first.__exit__(None, None, None)
            assert decoded.shared() is shared
            assert cache_size() == gdal_settings.CACHE_BYTES // 4
            second.__exit__(None, None, None)
            assert decoded.shared() is None
            assert cache_size() == gdal_settings.CACHE_BYTES

    def test_a_budget_reaches_the_workers_of_a_cluster(self) -> None:
        task = ChunkTask({"size": (cache_size,)}, ["size"])
        ((found,),) = compute_chunks([task], {}, versions_here(), 2**24)
        assert found == 2**24


class TestOrder:
    @given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 3), st.integers(1, 6))
    def test_columns_hold_every_chunk_once(
        self, height: int, width: int, tiles: int, across: int
    ) -> None:
        grid = ChunkGrid(height, width, tiles)
        order = [(i, j) for i, j, _ in grid.windows(across)]
        assert sorted(order) == [(i, j) for i, j, _ in grid.windows()]
        assert [j // across for _, j in order] == sorted(j // across for _, j in order)
        for (i, j), (k, m) in pairwise(order):
            if j // across == m // across:
                assert (i, j) < (k, m)

    @pytest.mark.parametrize("tiled", [True, False])
    def test_a_run_goes_column_by_column_unless_rows_are_one_block(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tiled: bool
    ) -> None:
        monkeypatch.setattr("nirgeo.engine._COLUMN", 128)
        layout = LAYOUTS["tiles"] if tiled else LAYOUTS["strips"]
        path = write_raster(tmp_path / "a.tif", measured(size=(192, 300)), **layout)
        model = random_model(tmp_path / "m", width=4, depth=1)
        rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="1e-4", chunk=1), model)
        seen: list[tuple[int, int]] = []
        read = RasterSource.read

        def noted(self: RasterSource, window: Window, numbers: Any) -> Any:
            seen.append((-(-window.row // 64), -(-window.col // 64)))
            return read(self, window, numbers)

        monkeypatch.setattr(RasterSource, "read", noted)
        nirgeo.write_geotiff(rgb, tmp_path / "out.tif", workers=1)
        across = 2 if tiled else 5
        assert seen == [(i, j) for i, j, _ in ChunkGrid(192, 300, 1).windows(across)]


def test_what_failed_is_forgotten_when_room_is_made() -> None:
    blocks = SharedBlocks(2500)

    def failing() -> Pixels:
        raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"):
        blocks.get("damaged", failing)
    for k in range(4):
        assert blocks.get(k, lambda k=k: pixels(k)).values.max() == k
    assert blocks.get("damaged", pixels).values.max() == 0  # the disk is back
    before = blocks.decoded
    blocks.get("damaged", failing)
    assert blocks.decoded == before
