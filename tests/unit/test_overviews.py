"""Overviews that are averaged chunk by chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from nirgeo.blockstore import TiledFile
from nirgeo.overviews import Overviews, halve, level_count, overviews_for
from nirgeo.tiling import ChunkGrid


def by_hand(block: NDArray) -> NDArray:
    """The mean of the valid pixels of every square, one by one."""
    bands, height, width = block.shape
    result = np.zeros((bands, -(-height // 2), -(-width // 2)), dtype=block.dtype)
    for i, j in np.ndindex(result.shape[1:]):
        square = block[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(bands, -1)
        valid = square[:, square[-1] > 0].astype(np.float64)
        whole = block.dtype.kind == "u"
        if valid.shape[1]:
            mean = valid.mean(axis=1)
            result[:, i, j] = np.floor(mean + 0.5) if whole else mean
        else:
            result[:-1, i, j] = 0 if whole else np.nan
    return result


@st.composite
def blocks(draw: st.DrawFn, dtype: type) -> NDArray:
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    values = st.integers(0, 255) if dtype is np.uint8 else st.floats(0, 1, width=32)
    colours = draw(arrays(dtype, shape, elements=values))
    mask = draw(arrays(np.bool_, shape[1:]) | st.just(np.ones(shape[1:], np.bool_)))
    under = 77 if dtype is np.uint8 else np.nan  # what is masked must not matter
    colours = np.where(mask, colours, under).astype(dtype)
    return np.concatenate((colours, np.where(mask, 255, 0).astype(dtype)[None]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_level_holds_the_means_of_valid_pixels(dtype: type, data: st.DataObject) -> None:
    block = data.draw(blocks(dtype))
    found, wanted = halve(block), by_hand(block)
    assert found.dtype == dtype
    if dtype is np.uint8:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(("tiles", "by_chunk"), [(1, 6), (3, 6), (2, 7), (16, 8)])
def test_chunks_make_the_levels_of_the_whole_picture(
    tmp_path: Path, tiles: int, by_chunk: int
) -> None:
    # Eight levels, down to a few pixels: chunks of one tile can make six of them by themselves.
    shape = (301, 1203)
    grid = ChunkGrid(*shape, tiles)
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (4, *shape)).astype(np.uint8)
    picture[-1] = np.where(random.random(shape) > 0.2, 255, 0)
    overviews = Overviews(tmp_path, grid, 4, np.uint8, 8)
    assert overviews.by_chunk == by_chunk
    overviews.create()
    for _, _, window in reversed(list(grid.windows())):
        overviews.add(window.row, window.col, picture[:, *window.slices])
    overviews.finish()
    overviews.close()
    wanted = picture
    for level in overviews.levels:
        wanted = halve(wanted)
        with rasterio.open(level.path) as file:
            np.testing.assert_array_equal(file.read(), wanted)


@given(
    st.tuples(st.integers(0, 90), st.integers(0, 120)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
@settings(max_examples=30, deadline=None)
def test_a_part_is_written_where_it_belongs(
    tmp_path_factory: pytest.TempPathFactory, start: tuple[int, int], size: tuple[int, int]
) -> None:
    path = tmp_path_factory.mktemp("parts") / "parts.tif"
    file = TiledFile(path, (100, 130), 2, 32, np.uint8)
    file.create()
    (row, col), (height, width) = start, size
    height, width = min(height, 100 - row), min(width, 130 - col)
    part = np.random.default_rng(1).integers(1, 256, (2, height, width)).astype(np.uint8)
    file.write_part(row, col, part)
    file.close()
    wanted = np.zeros((2, 100, 130), dtype=np.uint8)
    wanted[:, row : row + height, col : col + width] = part
    with rasterio.open(path) as opened:
        np.testing.assert_array_equal(opened.read(), wanted)
    np.testing.assert_array_equal(file.read_part(row, col, height, width), part)
    np.testing.assert_array_equal(file.read_part(0, 0, 100, 130), wanted)


def test_levels_end_where_one_block_holds_the_picture() -> None:
    assert [level_count((side, 10), 512) for side in (1, 512, 513, 1024, 1025, 100_000)] == [
        *(0, 0, 1, 1, 2, 8)
    ]


def test_gdal_makes_them_where_others_are_asked_for(tmp_path: Path) -> None:
    def made(side: int, **options: str) -> int | None:
        found = overviews_for(tmp_path, ChunkGrid(side, side, 1), 4, np.uint8, options)
        return None if found is None else len(found.levels)

    assert made(100_000) == 8
    assert made(2000) == 2
    assert made(2000, BLOCKSIZE="128") == 4
    for option in ("OVERVIEWS", "OVERVIEW_RESAMPLING", "RESAMPLING", "TARGET_SRS"):
        assert made(2000, **{option: "x"}) is None
