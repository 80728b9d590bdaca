"""A COG that is put together of strips is the one that GDAL's driver makes, byte for byte."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nirgeo import cog, cog_strips
from nirgeo.blockstore import BlockStore, TiledFile
from nirgeo.cog_source import Picture
from nirgeo.cores import cores
from nirgeo.creation_options import cog_options
from nirgeo.errors import TargetError
from nirgeo.expected_error import BAND
from nirgeo.grid import Grid
from nirgeo.overviews import Overviews, overviews_for
from nirgeo.tiling import ChunkGrid, Window, joined

PLACE = (10.0, 0.0, 4e5, 0.0, -10.0, 6e6)

OPTIONS = (
    {},
    {"COMPRESS": "NONE"},
    {"COMPRESS": "LZW"},
    {"COMPRESS": "ZSTD", "LEVEL": "3"},
    {"COMPRESS": "DEFLATE", "LEVEL": "9", "PREDICTOR": "NO"},
    {"BIGTIFF": "YES"},
    {"SPARSE_OK": "YES"},
    {"GEOTIFF_VERSION": "1.1", "NUM_THREADS": "3"},
)


def picture_of(
    shape: tuple[int, int],
    bands: tuple[str, ...] = ("red", "green", "blue"),
    dtype: str = "uint8",
    **place: Any,
) -> Picture:
    height, width = shape
    crs = rasterio.CRS.from_epsg(32633).to_wkt()
    known = {"transform": PLACE, "crs": crs, **place}
    grid = Grid(height=height, width=width, **known)
    return Picture(grid, bands, dtype, {"MODEL": "made-up@1", "SOFTWARE": "a test"})


class Work:
    """A block store with pixels in it, its overviews, and where its chunks are not empty."""

    def __init__(
        self,
        folder: Path,
        picture: Picture,
        options: dict[str, str],
        *,
        tiles: int = 2,
        holes: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.folder, self.picture, self.options = folder, picture, options
        self.told: list[float] = []
        random = np.random.default_rng(seed)
        grid = ChunkGrid(picture.grid.height, picture.grid.width, tiles)
        samples = len(picture.bands) + 1
        self.store = BlockStore(folder / "blocks.tif", grid, samples, picture.dtype)
        self.store.create()
        overviews = overviews_for(folder, grid, samples, picture.dtype, options)
        assert isinstance(overviews, Overviews)
        overviews.create()
        filled = []
        for i, j, window in grid.windows():
            if i + j and random.random() < holes:  # a picture of nothing is refused before
                continue
            block = self.pixels(random, samples, window)
            self.store.write(i, j, block)
            overviews.add(window.row, window.col, block)
            filled.append(window)
        overviews.finish()
        self.levels = overviews.levels
        self.areas = joined(filled) if holes else None

    def pixels(self, random: np.random.Generator, samples: int, window: Window) -> NDArray[Any]:
        shape = (samples, window.height, window.width)
        block = random.integers(0, 255, shape).astype(self.picture.dtype)
        if self.picture.dtype == "float32":
            block /= 255
        block[-1] = np.where(random.random(shape[1:]) < 0.9, 255, 0)
        block[:-1, block[-1] == 0] = np.nan if self.picture.dtype == "float32" else 0
        return block

    def write(self, name: str) -> bytes:
        target = self.folder / name
        arguments = (self.store, self.picture, target, self.options, self.areas, self.levels)
        cog.write_cog(*arguments, self.told.append)
        return target.read_bytes()

    def leftovers(self) -> list[str]:
        return [name for name in os.listdir(self.folder) if name.startswith(("strip-", "header"))]

    def both(self, monkeypatch: pytest.MonkeyPatch, pixels: int = 200 * 128) -> tuple[bytes, bytes]:
        """The file put together, and the driver's own; strips are of about so many pixels."""
        with monkeypatch.context() as patch:
            patch.setattr(cog_strips, "_PIXELS", pixels)
            together = self.write("strips.tif")
            assert not self.leftovers()
        assert self.told == sorted(self.told)
        assert self.told[-1] == 1
        with monkeypatch.context() as patch:
            patch.setattr(cog, "can_be_put_together", lambda *_: False)
            told, self.told = self.told, []
            whole = self.write("whole.tif")
            self.told = told
            return together, whole


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_same_bytes_with_every_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], dtype: str
) -> None:
    options = {"BLOCKSIZE": "128", **options}
    work = Work(tmp_path, picture_of((700, 450), dtype=dtype), options, holes=0.4)
    assert len(work.levels) == 3
    together, whole = work.both(monkeypatch)
    assert len(work.told) > 8, "too few strips to say anything"
    assert together == whole
    with rasterio.open(tmp_path / "strips.tif") as file:
        assert file.overviews(1) == [2, 4, 8]
        assert file.dataset_mask().any()
        assert file.tags(ns="NIRGEO")["MODEL"] == "made-up@1"


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    block=st.sampled_from((128, 256, 512)),
    tiles=st.integers(1, 5),
    holes=st.sampled_from((0.0, 0.5, 0.9)),
    sparse=st.booleans(),
    pixels=st.integers(1, 2**18),
    seed=st.integers(0, 99),
)
def test_the_same_bytes_of_every_size(
    height: int,
    width: int,
    block: int,
    tiles: int,
    holes: float,
    sparse: bool,
    pixels: int,
    seed: int,
) -> None:
    options = {"BLOCKSIZE": str(block)} | ({"SPARSE_OK": "TRUE"} if sparse else {})
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        picture = picture_of((height, width))
        work = Work(Path(folder), picture, options, tiles=tiles, holes=holes, seed=seed)
        together, whole = work.both(patch, pixels)
        work.store.close()
        for level in work.levels:
            level.close()
        assert together == whole


@pytest.mark.parametrize(
    "place",
    [
        {"transform": PLACE, "crs": None},
        {"transform": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "crs": None},
        {"area_or_point": "Point"},
        {"gcps": ((0.0, 0.0, 1.0, 2.0, 0.0), (9.0, 9.0, 2.0, 1.0, 0.0), (0.0, 9.0, 2.0, 2.0, 0.0))},
    ],
    ids=lambda place: "-".join(place),
)
def test_the_same_bytes_at_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, Any]
) -> None:
    if "gcps" in place:
        crs = rasterio.CRS.from_epsg(4326).to_wkt()
        place = {"transform": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "crs": None, "gcp_crs": crs, **place}
    work = Work(tmp_path, picture_of((300, 200), **place), {"BLOCKSIZE": "128"})
    together, whole = work.both(monkeypatch)
    assert together == whole


def test_the_same_bytes_with_an_expected_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = picture_of((300, 400), ("red", "green", "blue", BAND))
    together, whole = Work(tmp_path, picture, {"BLOCKSIZE": "128"}).both(monkeypatch)
    assert together == whole
    with rasterio.open(tmp_path / "strips.tif") as file:
        assert file.count == 4
        assert file.units[3] == "degree"


@pytest.mark.parametrize(
    "options", [{"COMPRESS": "JPEG"}, {"COMPRESS": "WEBP"}, {"OVERVIEW_COMPRESS": "LZW"}], ids=str
)
def test_other_options_are_the_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    work = Work(tmp_path, picture_of((300, 200)), {"BLOCKSIZE": "128", **options})
    monkeypatch.setattr(cog, "write_strips", None)
    work.write("made.tif")
    with rasterio.open(tmp_path / "made.tif") as file:
        assert file.shape == (300, 200)


def test_empty_strips_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(tmp_path, picture_of((2000, 130)), {"BLOCKSIZE": "128"}, holes=0.9, seed=3)
    encoded: list[str] = []
    real = cog_strips.encode_strip

    def counted(path: Path, *rest: Any) -> None:
        encoded.append(path.name)
        real(path, *rest)

    monkeypatch.setattr(cog_strips, "encode_strip", counted)
    together, whole = work.both(monkeypatch, 1)
    assert together == whole
    assert len(encoded) == len(set(encoded)) < len(work.told) - 4


def test_no_more_strips_are_ahead_than_threads_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They lie on the disk until it is their turn.
    work = Work(tmp_path, picture_of((3000, 130)), {"BLOCKSIZE": "128", "NUM_THREADS": "2"})
    most = 0
    real = cog_strips._append

    def looked(path: Path, *rest: Any) -> Any:
        nonlocal most
        most = max(most, len(list(tmp_path.glob("strip-*.tif"))))
        return real(path, *rest)

    monkeypatch.setattr(cog_strips, "_append", looked)
    together, whole = work.both(monkeypatch, 1)
    assert together == whole
    assert most <= 4 < len(work.told)


@pytest.mark.parametrize("failing", ["encode_strip", "_append", "_make_header"])
def test_what_fails_ends_the_work_and_leaves_no_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    work = Work(tmp_path, picture_of((900, 500)), {"BLOCKSIZE": "128"})
    calls: list[object] = []
    real = getattr(cog_strips, failing)

    def fails(*arguments: Any) -> Any:
        calls.append(arguments)
        if failing == "_make_header" or len(calls) > 5:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(cog_strips, failing, fails)
    monkeypatch.setattr(cog_strips, "_PIXELS", 1)
    with pytest.raises(TargetError, match="No space left"):
        work.write("made.tif")
    assert not work.leftovers()
    assert not [t for t in threading.enumerate() if t.name.startswith("nirgeo-cog")]


def test_an_interruption_while_a_strip_is_handed_over_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool waits for each thread that it starts, and there signals are handled; it forgets that
    thread then, which may have a strip already."""
    work = Work(tmp_path, picture_of((900, 500)), {"BLOCKSIZE": "128", "NUM_THREADS": "2"})
    begun = threading.Event()
    real, start = cog_strips.encode_strip, threading.Thread.start

    def encode(*arguments: Any) -> None:
        begun.set()
        time.sleep(0.5)
        real(*arguments)

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("nirgeo-cog") and thread.name.endswith("_1"):
            begun.wait(60)
            raise KeyboardInterrupt

    monkeypatch.setattr(cog_strips, "encode_strip", encode)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work.write("made.tif")
    for thread in threading.enumerate():
        if thread.name.startswith("nirgeo-cog"):
            thread.join()
    assert not work.leftovers()


def test_a_strip_that_lost_its_end_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL can lose the end of a file on a full disk without a word."""
    work = Work(tmp_path, picture_of((900, 500)), {"BLOCKSIZE": "128"})
    real = cog_strips.encode_strip

    def cut(path: Path, *rest: Any) -> None:
        real(path, *rest)
        if path.stem == "strip-0-384":
            os.truncate(path, path.stat().st_size - 100)

    monkeypatch.setattr(cog_strips, "encode_strip", cut)
    monkeypatch.setattr(cog_strips, "_PIXELS", 1)
    with pytest.raises(TargetError, match="not whole"):
        work.write("made.tif")


def test_a_file_too_large_for_its_kind_of_tiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(tmp_path, picture_of((300, 300)), {"BLOCKSIZE": "128"})
    real = cog_strips._append

    def far(*arguments: Any) -> Any:
        return [(offsets + 2**32, lengths) for offsets, lengths in real(*arguments)]

    monkeypatch.setattr(cog_strips, "_append", far)
    with pytest.raises(TargetError, match="BigTIFF"):
        work.write("made.tif")


@pytest.mark.parametrize("block", [144, 192, 384, 768, 1008])
@pytest.mark.parametrize("shape", [(240, 240), (1100, 900)])
def test_blocks_that_overviews_can_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, shape: tuple[int, int]
) -> None:
    # The driver gives them blocks of 128, sometimes as many as the others would be.
    work = Work(tmp_path, picture_of(shape), {"BLOCKSIZE": str(block)})
    together, whole = work.both(monkeypatch)
    assert together == whole


@pytest.mark.parametrize(
    "setting",
    [
        {"COMPRESS_OVERVIEW": "LZW"},
        {"COMPRESS_OVERVIEW": "NONE"},
        {"PREDICTOR_OVERVIEW": "1"},
        {"INTERLEAVE_OVERVIEW": "BAND"},
        {"GDAL_TIFF_OVR_BLOCKSIZE": "1024"},
        {"GDAL_TIFF_OVR_BLOCKSIZE": "256"},
        {"GDAL_TIFF_INTERNAL_MASK": "NO"},
        {"GDAL_NUM_THREADS": "3"},
    ],
    ids=str,
)
def test_settings_of_gdals_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, str]
) -> None:
    with rasterio.Env(**setting):
        work = Work(tmp_path, picture_of((1000, 1100)), {"BLOCKSIZE": "512"})
        together, whole = work.both(monkeypatch, 1)
    assert together == whole
    with rasterio.open(tmp_path / "strips.tif", OVERVIEW_LEVEL=0) as file:
        assert file.read().any()


@pytest.mark.parametrize(
    ("option", "config", "expected"),
    [
        ("3", {}, 3),
        ("ALL_CPUS", {}, cores()),
        (None, {"GDAL_NUM_THREADS": "5"}, 5),
        (None, {"GDAL_NUM_THREADS": "ALL_CPUS"}, cores()),
        ("²", {}, cores()),
        ("5000", {}, 32),
        ("16", {"GDAL_MAX_DATASET_POOL_SIZE": "8"}, 4),
        ("16", {"GDAL_MAX_DATASET_POOL_SIZE": "2"}, 1),
    ],
)
def test_threads_are_those_that_were_asked_for(
    tmp_path: Path, option: str | None, config: dict[str, str], expected: int
) -> None:
    options = {"BLOCKSIZE": "512"} | ({} if option is None else {"NUM_THREADS": option})
    file = TiledFile(tmp_path / "a.tif", (9, 9), 4, 64, "uint8")
    with rasterio.Env(**config):
        assert cog_strips._threads(options, file) == expected


def test_a_run_of_so_many_workers_encodes_with_as_many_threads(tmp_path: Path) -> None:
    file = TiledFile(tmp_path / "a.tif", (9, 9), 4, 64, "uint8")

    def threads(options: dict[str, str], workers: int | None) -> int:
        return cog_strips._threads(cog_options(options, workers), file)

    assert threads({}, 3) == 3
    assert threads({"NUM_THREADS": "5"}, 3) == 5
    assert threads({}, None) == cores()
    with rasterio.Env(GDAL_NUM_THREADS="4"):
        assert threads({}, 3) == 4
    # Of large blocks each thread holds several.
    assert threads({"NUM_THREADS": "8", "BLOCKSIZE": "2048"}, None) == 4
    assert threads({"NUM_THREADS": "8", "BLOCKSIZE": "8192"}, None) == 1
