"""What large runs rest on: budgets, pieces of a graph, areas, groups of chunks, many scenes."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
from helpers import random_model, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st

import nirgeo
from nirgeo import budget, pieces
from nirgeo.blockstore import BlockStore
from nirgeo.cli.scenes import expand
from nirgeo.errors import OptionError, ResumeError, SourceError
from nirgeo.estimate import Estimate
from nirgeo.hrefs import stem
from nirgeo.journal import Finished, Journal
from nirgeo.keeping import MAX_WAITING, Keeper, keep_chunk
from nirgeo.overviews import Overviews
from nirgeo.tiling import DEFAULT_CHUNK_TILES, TILE, ChunkGrid, joined

# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"), [("600M", 600 * 2**20), ("1.5 GiB", 3 * 2**29), ("2gb", 2**31)]
)
def test_sizes(text: str, size: int) -> None:
    assert budget.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "600", "M", "-1G", "0M", "1 PB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(OptionError, match="such as 600M"):
        budget.parse_size(text)


def cost(side: int, workers: int) -> Estimate:
    useful = (64 * side / (64 * side + 96)) ** 2
    return Estimate(48, useful, 100 + workers * side**2, 0, 0.0, workers)


@given(st.integers(101, 2000))
def test_a_plan_stays_within_its_budget(memory: int) -> None:
    def costs(memory: int) -> Estimate:
        plan = budget.fit(memory, cost)
        assert plan.workers is not None
        return cost(plan.chunk, plan.workers)

    within, larger = costs(memory), costs(2 * memory)
    assert within.memory_bytes <= memory
    assert larger.workers * larger.useful >= within.workers * within.useful


def test_what_was_asked_for_stays() -> None:
    assert budget.fit(10**6, cost, chunk=3, workers=1).chunk == 3
    with pytest.raises(OptionError, match="with this --chunk and --workers"):
        budget.fit(150, cost, chunk=16, workers=2)
    with pytest.raises(OptionError, match="at least"):
        budget.fit(100, cost)


def test_without_a_budget_chunks_are_smaller_for_what_takes_more_memory(tmp_path: Path) -> None:
    def chunk(width: int, runtime: str = "torch", **options: Any) -> int:
        model = random_model(tmp_path, name=f"of-{width}", width=width)
        plan = budget.plan_for(None, scene, model, runtime=runtime, **options)
        assert plan.workers is None
        return plan.chunk

    scene = nirgeo.open_scene(
        write_raster(tmp_path / "scene.tif", np.ones((70, 70), np.uint16)), scale="1e-4"
    )
    assert chunk(32) == DEFAULT_CHUNK_TILES > chunk(64)
    assert chunk(64, chunk=16) == 16
    # A GPU has memory of its own, whatever the network, and waits for work in small chunks.
    assert chunk(64, device="cuda") == chunk(32, device="cuda") == 16
    assert chunk(64, device="cuda", chunk=8) == 8
    pytest.importorskip("onnxruntime")
    assert chunk(32, "onnx") == chunk(64)


# --- graphs ---------------------------------------------------------------------------------------


def test_chunks_that_share_nothing_are_cut_apart() -> None:
    array = da.ones((4, 6), chunks=2) * 3 + 1
    graph = dict(array.dask)
    blocks = {(i, j): [(array.name, i, j)] for i in range(2) for j in range(3)}
    cut = pieces.cut(graph, blocks)
    assert cut is not None
    assert sum(map(len, cut.values())) == len({key for piece in cut.values() for key in piece})
    for chunk, piece in cut.items():
        (found,) = pieces.run(piece, blocks[chunk])
        assert np.array_equal(found, np.full((2, 2), 4.0))


def test_chunks_that_need_each_other_are_not() -> None:
    array = da.ones((4, 6), chunks=2)
    array = array - array.mean()
    blocks = {(i, j): [(array.name, i, j)] for i in range(2) for j in range(3)}
    assert pieces.cut(dict(array.dask), blocks) is None


# --- areas ----------------------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_joined_windows_cover_the_same_once(height: int, width: int, data: st.DataObject) -> None:
    grid = ChunkGrid(height, width, 1)
    windows = [window for _, _, window in grid.windows() if data.draw(st.booleans())]
    before, after = np.zeros((2, height, width), dtype=int)
    for window in windows:
        before[window.slices] += 1
    areas = joined(windows)
    for window in areas:
        after[window.slices] += 1
    assert np.array_equal(before, after)
    assert len(areas) <= len(windows)


def test_a_full_grid_is_one_area() -> None:
    grid = ChunkGrid(300, 500, 1)
    (area,) = joined(window for _, _, window in grid.windows())
    assert area.slices == (slice(0, 300), slice(0, 500))


# --- chunks in groups -----------------------------------------------------------------------------


def test_a_line_in_the_journal_comes_after_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ChunkGrid(64 * 4, 64 * 4, 1)
    store = BlockStore(tmp_path / "blocks.tif", grid, 2, np.uint8)
    journal = Journal(tmp_path / "journal.jsonl")
    store.create()
    journal.create({"work": 1})
    happened: list[tuple[str, object]] = []
    sync, done, write = store.sync, journal.done, store.write

    monkeypatch.setattr(store, "sync", lambda: (happened.append(("sync", None)), sync())[1])

    def noted_done(chunks: list[Finished]) -> None:
        happened.append(("lines", [(chunk.i, chunk.j) for chunk in chunks]))
        done(chunks)

    def noted_write(i: int, j: int, block: object, *, sync: bool = True) -> int:
        pixels = write(i, j, block, sync=sync)  # type: ignore[arg-type]
        happened.append(("written", (i, j)))
        return pixels

    monkeypatch.setattr(journal, "done", noted_done)
    monkeypatch.setattr(store, "write", noted_write)
    with Keeper(store, journal) as keeper:
        for i, j, window in grid.windows():
            keeper.put(i, j, np.full((1, window.height, window.width), 7, dtype=np.uint8))
    assert keeper.kept == 16
    written: set[object] = set()
    synced: set[object] = set()
    for what, which in happened:
        if what == "written":
            written.add(which)
        elif what == "sync":
            synced = set(written)
        else:
            assert isinstance(which, list)
            assert set(which) <= synced
    journal.close()
    finished = Journal(journal.path).resume({"work": 1})
    assert finished is not None
    assert {(i, j): 4096 for i, j, _ in grid.windows()} == {
        chunk: kept.valid for chunk, kept in finished.items()
    }


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    tiles=st.integers(1, 4) | st.just(17),  # of seventeen only one makes a TIFF tile
    dtype=st.sampled_from([np.uint8, np.float32]),
    data=st.data(),
)
def test_a_byte_that_changes_spoils_the_chunk_that_it_lies_in(
    height: int, width: int, tiles: int, dtype: type, data: st.DataObject
) -> None:
    grid = ChunkGrid(height, width, tiles)
    random = np.random.default_rng(height * 401 + width)
    with tempfile.TemporaryDirectory() as folder:
        store = BlockStore(Path(folder) / "blocks.tif", grid, 2, dtype)
        store.create()
        checksums, blocks = {}, {}
        for i, j, window in grid.windows():
            block = random.integers(1, 255, (2, window.height, window.width)).astype(dtype)
            if random.random() < 0.5:  # an empty chunk is not written
                block[:] = 0
            checksums[i, j], blocks[i, j] = store.write(i, j, block), block
        store.close()

        def spoilt() -> list[tuple[int, int]]:
            return [
                chunk
                for chunk, found in checksums.items()
                if store.recovered(*chunk, found) is None
            ]

        assert spoilt() == []
        for chunk, block in blocks.items():
            np.testing.assert_array_equal(store.recovered(*chunk, checksums[chunk]), block)
        raw = bytearray(store.path.read_bytes())
        with rasterio.open(store.path) as file:  # GDAL knows where its tiles are
            down, across = file.block_shapes[0]
            row = data.draw(st.integers(0, (height - 1) // down), "row of tiles")
            col = data.draw(st.integers(0, (width - 1) // across), "column of tiles")
            band = data.draw(st.sampled_from((1, 2)), "band")
            start, length = (
                int(file.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band))
                for what in ("OFFSET", "SIZE")
            )
        raw[start + data.draw(st.integers(0, length - 1), "byte")] ^= 1 << data.draw(
            st.integers(0, 7), "bit"
        )
        store.path.write_bytes(raw)
        assert spoilt() == [(row * down // (tiles * TILE), col * across // (tiles * TILE))]


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="written otherwise there")
@pytest.mark.parametrize("size", [(64, 64), (70, 100)])
def test_a_disk_that_takes_a_part_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    # As file systems over a network do, and full ones before they say so.
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:999], at))
    store = BlockStore(tmp_path / "blocks.tif", ChunkGrid(*size, 1), 2, np.uint16)
    store.create()
    blocks = np.random.default_rng(1).integers(1, 60_000, (2, *size)).astype(np.uint16)
    for i, j, window in store.grid.windows():
        store.write(i, j, blocks[(slice(None), *window.slices)])
    store.close()
    with rasterio.open(store.path) as file:
        np.testing.assert_array_equal(file.read(), blocks)


def test_an_empty_chunk_is_written_where_a_resumed_store_is_not_empty(tmp_path: Path) -> None:
    grid = ChunkGrid(64, 128, 1)
    store = BlockStore(tmp_path / "blocks.tif", grid, 2, np.float32)
    empty = np.zeros((2, 64, 64), np.float32)
    store.create()
    store.write(0, 1, empty + 7)
    store.close()
    assert store.open()
    untouched = store.path.stat().st_blocks
    assert store.recovered(0, 0, store.write(0, 0, empty)) is not None
    assert store.path.stat().st_blocks == untouched  # a hole stays one
    assert store.recovered(0, 1, store.write(0, 1, empty)) is not None
    store.close()
    with rasterio.open(store.path) as file:
        assert not file.read().any()


def begun(folder: Path) -> tuple[BlockStore, Journal]:
    """Store and journal of a run that has made nothing yet."""
    store = BlockStore(folder / "blocks.tif", ChunkGrid(64, 128, 1), 2, np.uint8)
    journal = Journal(folder / "journal.jsonl")
    store.create()
    journal.create({})
    return store, journal


def full() -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, journal = begun(tmp_path)
    monkeypatch.setattr(store, "sync", full)
    with pytest.raises(OSError, match="No space"), Keeper(store, journal) as keeper:
        keeper.put(0, 0, np.ones((1, 64, 64), dtype=np.uint8))
    assert keeper.kept == 0


# --- scenes ---------------------------------------------------------------------------------------


def test_a_folder_stands_for_its_scenes(tmp_path: Path) -> None:
    for name in ("b.tif", "a.TIF", "a_rgb.tif", ".hidden.tif", "notes.txt"):
        write_raster(tmp_path / name, np.ones((4, 4), np.uint8), driver="GTiff")
    assert expand([str(tmp_path)]) == [str(tmp_path / "a.TIF"), str(tmp_path / "b.tif")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="a folder without scenes"):
        expand([str(tmp_path / "empty")])


def test_a_saved_search_stands_for_its_items(tmp_path: Path) -> None:
    items = [{"type": "Feature", "id": f"S2.{k}", "assets": {}} for k in range(2)]
    search = tmp_path / "search.json"
    search.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    assert expand([str(search)]) == [f"{search}#S2.0", f"{search}#S2.1"]
    assert stem(f"{search}#S2.1") == "S2.1"
    search.write_text(json.dumps({"type": "FeatureCollection", "features": items[:1] * 2}))
    with pytest.raises(SourceError, match="two of one"):
        expand([str(search)])


def test_a_collection_stands_for_what_it_links_to(tmp_path: Path) -> None:
    collection = tmp_path / "collection.json"
    links = [{"rel": "item", "href": "./a/a.json"}, {"rel": "root", "href": "./catalog.json"}]
    collection.write_text(json.dumps({"type": "Collection", "id": "c", "links": links}))
    assert expand([str(collection)]) == [str(tmp_path / "a" / "a.json")]


@pytest.mark.parametrize(
    "more", [{"reference": "b"}, {"model": "b"}, {}], ids=["added", "changed", "left"]
)
def test_a_journal_of_other_work_is_not_resumed(tmp_path: Path, more: dict[str, str]) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.create({"model": "a"} if more else {"model": "a", "reference": "b"})
    journal.close()
    with pytest.raises(ResumeError, match=r"was other work: (reference|model)"):
        Journal(journal.path).resume({"model": "a"} | more)


def test_a_chunk_that_is_taken_over_is_in_the_overviews(tmp_path: Path) -> None:
    grid = ChunkGrid(128, 128, 1)
    store = BlockStore(tmp_path / "blocks.tif", grid, 2, np.uint8)
    overviews = Overviews(tmp_path, grid, 2, np.uint8, 1)
    journal = Journal(tmp_path / "journal.jsonl")
    store.create()
    overviews.create()
    journal.create({})
    with Keeper(store, journal, overviews) as keeper:
        for number, (i, j, _) in enumerate(grid.windows(), start=1):
            keeper.put(i, j, np.full((1, 64, 64), number, dtype=np.uint8))
    journal.close()
    wanted = overviews.levels[0].read_part(0, 0, 64, 64)
    overviews.create()  # as a run that goes on does
    finished = Journal(journal.path).resume({})
    assert finished is not None
    assert all(Keeper(store, journal, overviews).recover(chunk) for chunk in finished.values())
    np.testing.assert_array_equal(overviews.levels[0].read_part(0, 0, 64, 64), wanted)
    assert len(np.unique(wanted[0])) == 4


def test_after_a_disk_has_failed_nothing_more_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, journal = begun(tmp_path)
    monkeypatch.setattr(store, "sync", full)
    taken = 0
    with pytest.raises(OSError, match="No space"), Keeper(store, journal) as keeper:  # noqa: PT012
        for _ in range(10 * MAX_WAITING):
            taken += 1
            keeper.put(0, 0, np.ones((1, 64, 64), dtype=np.uint8))
            time.sleep(0.001)
    assert taken < 2 * MAX_WAITING


def test_whoever_waits_for_a_disk_that_fails_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, journal = begun(tmp_path)
    waiting, go_on = threading.Event(), threading.Event()

    def slow_and_full() -> None:
        waiting.set()
        assert go_on.wait(30)
        full()

    monkeypatch.setattr(store, "sync", slow_and_full)
    ones, told = np.ones((1, 64, 64), dtype=np.uint8), threading.Event()

    def fill(keeper: Keeper) -> None:
        keeper.put(0, 0, ones)
        assert waiting.wait(30)
        for _ in range(MAX_WAITING):
            keeper.put(0, 0, ones)
        threading.Timer(0.1, go_on.set).start()
        with pytest.raises(OSError, match="No space"):
            keeper.put(0, 0, ones)  # one too many
        told.set()

    keeper = Keeper(store, journal)
    keeper.__enter__()
    threading.Thread(target=fill, args=(keeper,), daemon=True).start()
    assert told.wait(30)


def test_a_pixel_without_one_of_its_colours_is_not_valid(tmp_path: Path) -> None:
    store = BlockStore(tmp_path / "blocks.tif", ChunkGrid(64, 64, 1), 4, np.float32)
    store.create()
    colours = np.ones((3, 64, 64), dtype=np.float32)
    colours[1, 5, 7] = np.nan
    kept = keep_chunk(store, None, 0, 0, colours)
    block = store.recovered(0, 0, kept.pixels)
    assert block is not None
    assert kept.valid == 64 * 64 - 1
    assert block[-1, 5, 7] == 0
