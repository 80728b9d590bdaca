"""Tasks for the chunks of any DataArray: each is handed the blocks that its window touches.

Blocks that are small beside the halo are computed together and then cut apart, so that an array in
tiles of 64 pixels costs little more than one in large chunks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, product
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from nirgeo.errors import GridError
from nirgeo.inference import colorize_block
from nirgeo.nodata import as_stored
from nirgeo.recipe import Recipe
from nirgeo.scene_attributes import VALID
from nirgeo.tiling import TILE, InputWindow, Window, input_window

WIDE_ENOUGH = 8 * TILE
"""Pixels to a side from which on the halo around a chunk costs little beside it."""

Cuts = dict[tuple[int, int], tuple[tuple[str, int, int], tuple[slice, slice] | None]]
"""Of every chunk the task that makes it, and where in its result it lies; None if it is all."""


class Axis:
    """Blocks along one axis."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self._ends = [0, *accumulate(sizes)]

    def touched(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Blocks that touch start…stop, and where each starts."""
        block = bisect_right(self._ends, start) - 1
        while block < len(self.sizes) and self._ends[block] < stop:
            if self.sizes[block]:
                yield block, self._ends[block]
            block += 1

    def groups(self) -> Iterator[tuple[range, int, int]]:
        """Blocks side by side that together are wide enough to be computed; from where to where."""
        first = 0
        for block, stop in enumerate(self._ends[1:]):
            last = block + 1 == len(self.sizes)
            if stop - self._ends[first] >= WIDE_ENOUGH or last:
                yield range(first, block + 1), self._ends[first], stop
                first = block + 1

    def within(self, block: int, start: int) -> slice:
        """Where a block lies in what begins at ``start``."""
        return slice(self._ends[block] - start, self._ends[block + 1] - start)


def chunk_tasks(
    blocks: da.Array, mask: da.Array | None, nodata: float | None, recipe: Recipe, work: str
) -> tuple[dict[Any, Any], Cuts]:
    """Tasks that return colours and mask, and in which of them the chunks lie.

    Parameters
    ----------
    blocks : the bands that the model eats (bands, H, W), all bands in one block
    mask : where they are valid (H, W), in the same blocks
    nodata : value of missing pixels
    work : name of the tasks, which begins their keys
    """
    rows, cols = Axis(blocks.chunks[1]), Axis(blocks.chunks[2])
    tasks: dict[Any, Any] = {}
    cuts: Cuts = {}
    for (i, (down, r0, r1)), (j, (across, c0, c1)) in product(
        enumerate(rows.groups()), enumerate(cols.groups())
    ):
        window = input_window(
            Window(r0, c0, r1 - r0, c1 - c0),
            halo=recipe.halo,
            stride=recipe.colouriser.stride,
            raster=blocks.shape[1:],
        )
        read = window.read
        near = [
            (a, b, top, left)
            for a, top in rows.touched(read.row, read.row_stop)
            for b, left in cols.touched(read.col, read.col_stop)
        ]
        keys: list[Any] = [(blocks.name, 0, a, b) for a, b, _, _ in near]
        if mask is not None:
            keys += [(mask.name, a, b) for a, b, _, _ in near]
        function = partial(
            _colorize_parts,
            [(top, left) for _, _, top, left in near],
            len(near) if mask is not None else 0,
            window,
            nodata,
            recipe,
        )
        tasks[(work, i, j)] = (function, *keys)
        alone = len(down) == len(across) == 1
        for a, b in product(down, across):
            part = None if alone else (rows.within(a, r0), cols.within(b, c0))
            cuts[a, b] = (work, i, j), part
    return tasks, cuts


def pick(
    which: int, part: tuple[slice, slice] | None, made: tuple[NDArray[Any], ...]
) -> NDArray[Any]:
    """Colours or mask of what a task has made, or a part of them."""
    return made[which] if part is None else made[which][..., *part].copy()


def _colorize_parts(
    placed: Sequence[tuple[int, int]],
    valid_count: int,
    window: InputWindow,
    nodata: float | None,
    recipe: Recipe,
    *parts: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One chunk from the blocks its window touches: values first, then masks if there are any.

    ``placed`` holds the raster position (row, col) of each value block's origin.
    """
    read = window.read
    blocks = parts[: len(parts) - valid_count]
    bands = blocks[0].shape[0]
    values = np.empty((bands, read.height, read.width), dtype=blocks[0].dtype)
    valid = np.ones((read.height, read.width), dtype=np.bool_)
    for k, (row, col) in enumerate(placed):
        block = blocks[k]
        r0, r1 = max(read.row, row), min(read.row_stop, row + block.shape[1])
        c0, c1 = max(read.col, col), min(read.col_stop, col + block.shape[2])
        into = (slice(r0 - read.row, r1 - read.row), slice(c0 - read.col, c1 - read.col))
        out_of = (slice(r0 - row, r1 - row), slice(c0 - col, c1 - col))
        values[(slice(None), *into)] = block[(slice(None), *out_of)]
        if valid_count:
            valid[into] = parts[len(blocks) + k][out_of]
    return colorize_block(values, valid & known_pixels(values, nodata), window, recipe)


def mask_of(array: xr.DataArray) -> da.Array:
    """Where the coordinate ``valid`` is true (H, W), which may be of other numbers.

    Raises
    ------
    GridError : it is not one value for every pixel
    """
    coordinate = array.coords[VALID]
    if set(coordinate.dims) != {"y", "x"}:
        raise GridError(
            f"the coordinate {VALID!r} has dimensions {tuple(coordinate.dims)}; need ('y', 'x'), "
            "one value for every pixel"
        )
    if coordinate.dtype.kind != "b":  # NaN, of pixels that were added, is not true
        coordinate = coordinate == 1
    return da.asarray(coordinate.transpose("y", "x").data).astype(np.bool_)


def known_pixels(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Where no band (bands, …) holds nodata, NaN or infinity: (…)."""
    known = np.ones(values.shape[1:], dtype=np.bool_)
    marks = None if nodata is None else as_stored(values.dtype, nodata)
    if marks is not None:  # NaN equals nothing; it is masked below
        known &= (values != marks).all(axis=0)
    if values.dtype.kind == "f":
        known &= np.isfinite(values).all(axis=0)
    return known
