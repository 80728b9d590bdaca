"""Chunks, halos and the lattice: integers, checked over sizes that nobody would think of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nirgeo.tiling import TILE, ChunkGrid, Window, cells, input_window, lattice

# Around tile edges, primes, strips of one pixel, and anything else.
ODD_SIZES = (1, 2, 3, 5, 61, 63, 64, 65, 127, 128, 129, 131, 192, 251, 257)
sizes = st.one_of(st.sampled_from(ODD_SIZES), st.integers(1, 400))
rasters = st.tuples(sizes, sizes)
halos = st.integers(0, 90)
strides = st.integers(1, 17)


@st.composite
def targets(draw: st.DrawFn) -> tuple[tuple[int, int], Window]:
    """A raster and any window inside it, chunk or not."""
    height, width = draw(rasters)
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return (height, width), Window(
        row, col, draw(st.integers(1, height - row)), draw(st.integers(1, width - col))
    )


class TestWindow:
    def test_stops_and_slices_cut_the_same_pixels(self) -> None:
        window = Window(3, 5, 2, 4)
        raster = np.arange(100).reshape(10, 10)
        assert (window.row_stop, window.col_stop) == (5, 9)
        np.testing.assert_array_equal(raster[window.slices], raster[3:5, 5:9])
        assert window.shifted(-3, 1) == Window(0, 6, 2, 4)

    @pytest.mark.parametrize(
        ("window", "inside"),
        [
            (Window(0, 0, 10, 20), True),
            (Window(9, 19, 1, 1), True),
            (Window(-1, 0, 5, 5), False),
            (Window(0, -1, 5, 5), False),
            (Window(6, 0, 5, 5), False),
            (Window(0, 16, 5, 5), False),
            (Window(2, 2, 0, 5), False),
            (Window(2, 2, 5, 0), False),
        ],
    )
    def test_within(self, window: Window, inside: bool) -> None:
        assert window.within((10, 20)) is inside


class TestChunkGrid:
    @given(rasters, st.integers(1, 7))
    def test_chunks_partition_the_raster(self, raster: tuple[int, int], tiles: int) -> None:
        grid = ChunkGrid(raster[0], raster[1], tiles)
        visits = np.zeros(raster, dtype=np.int64)
        count = 0
        for i, j, window in grid.windows():
            assert window.within(raster)
            assert window == grid.window(i, j)
            assert (window.height, window.width) == (grid.row_sizes[i], grid.col_sizes[j])
            assert window.row % TILE == window.col % TILE == 0
            visits[window.slices] += 1
            count += 1
        assert visits.min() == visits.max() == 1
        assert count == len(grid) == grid.shape[0] * grid.shape[1]

    @given(rasters, st.integers(1, 7))
    def test_only_the_last_row_and_column_of_chunks_are_small(
        self, raster: tuple[int, int], tiles: int
    ) -> None:
        grid = ChunkGrid(raster[0], raster[1], tiles)
        for line, size in zip((grid.row_sizes, grid.col_sizes), raster, strict=True):
            assert set(line[:-1]) <= {tiles * TILE}
            assert 0 < line[-1] <= tiles * TILE
            assert sum(line) == size

    def test_a_raster_of_exactly_one_chunk_has_no_empty_second_one(self) -> None:
        grid = ChunkGrid(128, 64, tiles=1)
        assert grid.shape == (2, 1)
        assert grid.row_sizes == (64, 64)
        assert grid.col_sizes == (64,)

    @pytest.mark.parametrize("position", [(-1, 0), (0, -1), (2, 0), (0, 3)])
    def test_a_chunk_outside_the_grid_is_refused(self, position: tuple[int, int]) -> None:
        with pytest.raises(IndexError, match="grid of 2×3"):
            ChunkGrid(100, 190, tiles=1).window(*position)

    @pytest.mark.parametrize("bad", [(0, 5, 1), (5, 0, 1), (-3, 5, 1), (5, 5, 0)])
    def test_sizes_below_one_are_refused(self, bad: tuple[int, int, int]) -> None:
        with pytest.raises(ValueError, match="at least one"):
            ChunkGrid(*bad)


class TestInputWindow:
    @given(targets(), halos, strides)
    def test_crop_of_the_padded_read_is_exactly_the_target(
        self, case: tuple[tuple[int, int], Window], halo: int, stride: int
    ) -> None:
        raster, target = case
        window = input_window(target, halo=halo, stride=stride, raster=raster)
        # Every pixel carries its own address, so a crop that is off by one can't go unseen.
        pixels = np.arange(raster[0] * raster[1]).reshape(raster)
        padded = np.pad(
            pixels[window.read.slices],
            ((0, window.pad_bottom), (0, window.pad_right)),
            mode="edge",
        )
        assert padded.shape == window.shape
        np.testing.assert_array_equal(padded[window.crop], pixels[target.slices])

    @given(targets(), halos, strides)
    def test_geometry(self, case: tuple[tuple[int, int], Window], halo: int, stride: int) -> None:
        raster, target = case
        window = input_window(target, halo=halo, stride=stride, raster=raster)
        read = window.read
        assert read.within(raster)
        assert read.row % stride == read.col % stride == 0
        assert window.shape[0] % stride == window.shape[1] % stride == 0
        # The halo is covered wherever the raster has it.
        assert read.row <= max(0, target.row - halo)
        assert read.col <= max(0, target.col - halo)
        assert read.row_stop >= min(raster[0], target.row_stop + halo)
        assert read.col_stop >= min(raster[1], target.col_stop + halo)
        # Nothing is padded but the raster's own last cell, and that only as far as it must be.
        for pad, stop, size in (
            (window.pad_bottom, read.row_stop, raster[0]),
            (window.pad_right, read.col_stop, raster[1]),
        ):
            assert 0 <= pad < stride
            assert pad == 0 or stop == size
            assert pad == (-size % stride if stop == size else 0)
        # No more is read than alignment asks for.
        assert read.row > target.row - halo - stride or read.row == 0
        assert read.col > target.col - halo - stride or read.col == 0
        assert read.row_stop < target.row_stop + halo + stride
        assert read.col_stop < target.col_stop + halo + stride

    def test_a_grown_target_stops_at_the_raster(self) -> None:
        window = input_window(Window(64, 0, 64, 64), halo=40, stride=4, raster=(150, 150))
        assert window.target == Window(64, 0, 64, 64)
        grown = window.grown(30)
        assert grown.target == Window(34, 0, 116, 94)
        assert (grown.read, grown.shape) == (window.read, window.shape)

    @pytest.mark.parametrize(
        "target",
        [Window(0, 0, 11, 5), Window(-1, 0, 5, 5), Window(0, 6, 5, 5), Window(0, 0, 0, 5)],
    )
    def test_a_target_beyond_the_raster_is_refused(self, target: Window) -> None:
        with pytest.raises(ValueError, match="inside a raster of 10×10"):
            input_window(target, halo=1, stride=1, raster=(10, 10))

    @pytest.mark.parametrize(("halo", "stride"), [(-1, 4), (4, 0), (4, -4)])
    def test_impossible_reach_is_refused(self, halo: int, stride: int) -> None:
        with pytest.raises(ValueError, match="halo must be"):
            input_window(Window(0, 0, 5, 5), halo=halo, stride=stride, raster=(10, 10))


def _coarse_network(image: NDArray[np.int64], stride: int, reach: int) -> NDArray[np.int64]:
    """Stands for a generator: sums over coarse cells, a box filter over cells, back to pixels.

    Integers, so "equal" means equal. Cells beyond the array count as zero, as in a convolution.
    """
    height, width = image.shape
    cells = image.reshape(height // stride, stride, width // stride, stride).sum(axis=(1, 3))
    around = np.pad(cells, reach)
    total = np.zeros_like(cells)
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            total += around[i : i + cells.shape[0], j : j + cells.shape[1]] * (1 + i + 3 * j)
    spread: NDArray[np.int64] = np.repeat(np.repeat(total, stride, axis=0), stride, axis=1)
    return image + spread


def _run_tiled(
    image: NDArray[np.int64], tiles: int, halo: int, stride: int, reach: int
) -> NDArray[np.int64]:
    result = np.full_like(image, -1)
    for _, _, target in ChunkGrid(image.shape[0], image.shape[1], tiles).windows():
        window = input_window(
            target, halo=halo, stride=stride, raster=(image.shape[0], image.shape[1])
        )
        padded = np.pad(
            image[window.read.slices],
            ((0, window.pad_bottom), (0, window.pad_right)),
            mode="edge",
        )
        result[target.slices] = _coarse_network(padded, stride, reach)[window.crop]
    return result


class TestTiledEqualsWhole:
    @given(rasters, st.integers(1, 4), st.sampled_from((1, 2, 3, 4, 5, 8)), st.integers(0, 3))
    def test_box_filter_on_a_coarse_grid(
        self, raster: tuple[int, int], tiles: int, stride: int, reach: int
    ) -> None:
        image = np.random.default_rng(raster).integers(0, 1000, raster)
        pad = ((0, -raster[0] % stride), (0, -raster[1] % stride))
        whole = _coarse_network(np.pad(image, pad, mode="edge"), stride, reach)
        # A pixel sees its own cell and `reach` cells around it: up to this many pixels away.
        halo = reach * stride + stride - 1
        tiled = _run_tiled(image, tiles, halo, stride, reach)
        np.testing.assert_array_equal(tiled, whole[: raster[0], : raster[1]])

    def test_a_halo_one_cell_too_small_is_noticed(self) -> None:
        # Guards the test above: it must be able to fail.
        image = np.random.default_rng(0).integers(0, 1000, (128, 128))
        whole = _coarse_network(image, 4, 2)
        assert not np.array_equal(_run_tiled(image, 1, 4, 4, 2), whole)


class TestLattice:
    @given(rasters, st.integers(1, 6))
    def test_tiles_lie_inside_and_reach_the_corners(
        self, raster: tuple[int, int], per_side: int
    ) -> None:
        windows = lattice(*raster, per_side=per_side)
        assert 1 <= len(windows) <= per_side**2
        assert len(set(windows)) == len(windows)
        for window in windows:
            assert window.within(raster)
            assert window.height == min(TILE, raster[0])
            assert window.width == min(TILE, raster[1])
        assert (windows[0].row, windows[0].col) == (0, 0)
        if per_side > 1:
            assert (windows[-1].row_stop, windows[-1].col_stop) == raster

    @given(st.integers(1, 5000), st.integers(1, 5000))
    def test_tiles_are_spread_evenly(self, height: int, width: int) -> None:
        rows = sorted({window.row for window in lattice(height, width)})
        gaps = [b - a for a, b in pairwise(rows)]
        if gaps:
            assert max(gaps) - min(gaps) <= 1

    def test_a_small_raster_is_covered_whole(self) -> None:
        assert lattice(1, 1) == (Window(0, 0, 1, 1),)
        assert lattice(64, 64) == (Window(0, 0, 64, 64),)
        covered = np.zeros((130, 65), dtype=bool)
        for window in lattice(130, 65):
            covered[window.slices] = True
        assert covered.all()

    def test_known_positions(self) -> None:
        # Statistics of a scene rest on these: moving them changes old results.
        starts = sorted({window.row for window in lattice(10980, 10980)})
        assert starts == [0, 3639, 7277, 10916]
        assert len(lattice(10980, 10980)) == 16


@given(
    st.integers(0, 50), st.integers(0, 50), st.integers(1, 60), st.integers(1, 60),
    st.integers(1, 30), st.integers(1, 30),
)  # fmt: skip
def test_cells_share_every_pixel_of_a_window_once(
    row: int, col: int, height: int, width: int, rows: int, cols: int
) -> None:
    numbers = np.arange(150 * 150).reshape(150, 150)
    window = Window(row, col, height, width)
    found = np.full((height, width), -1)
    for (top, left), in_window, in_cell in cells(window, rows, cols):
        assert top % rows == left % cols == 0
        assert (found[in_window] == -1).all()
        found[in_window] = numbers[top : top + rows, left : left + cols][in_cell]
    np.testing.assert_array_equal(found, numbers[window.slices])
