"""Overviews of the result, made from every chunk while it is still in memory.

GDAL makes them at the end from the whole picture, on one core, in two passes over everything; that
takes longer than compressing it. As long as a chunk is a whole number of overview pixels wide, its
own pixels are all that its part of an overview depends on. So it is averaged when it is written:
from one level to the next, among valid pixels only, rounded half up. Levels beyond that, a
four-thousandth of the picture at most, follow at the end, so that every chunk size makes the same.

Overviews are never trusted after a kill: they are made anew from the chunks that were.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.blockstore import TiledFile
from nirgeo.creation_options import OVERVIEW_OPTIONS, cog_options
from nirgeo.tiling import ChunkGrid

_SIDES = (256, 192, 128, 96, 64, 48, 32, 16)
"""Sides of the tiles in the temporary files: the first that divides a chunk's part, which is then
written tile by tile and not line by line. A TIFF's are multiples of 16."""


def level_count(shape: tuple[int, int], block: int) -> int:
    """How often a picture of (height, width) is halved until it fits into one block."""
    count = 0
    while max(shape) > block << count:
        count += 1
    return count


def overviews_for(
    folder: Path, grid: ChunkGrid, samples: int, dtype: Any, options: Mapping[str, str]
) -> Overviews | None:
    """The overviews of a result with these creation options; None if GDAL has to make them."""
    if OVERVIEW_OPTIONS & set(options):
        return None
    block = int(cog_options(options)["BLOCKSIZE"])
    count = level_count((grid.height, grid.width), block)
    return Overviews(folder, grid, samples, dtype, count)


class Overviews:
    """The files of all levels, beside the block store; the last band is the mask.

    Safe to call from several threads, for different chunks.
    """

    def __init__(self, folder: Path, grid: ChunkGrid, samples: int, dtype: Any, count: int) -> None:
        self.levels = []
        for level in range(1, count + 1):
            halved = (-(-grid.height // 2**level), -(-grid.width // 2**level))
            path = folder / f"overview-{2**level}.tif"
            part = grid.step // 2**level
            side = next((side for side in _SIDES if part % side == 0), 64)
            self.levels.append(TiledFile(path, halved, samples, side, dtype))
        whole = (level for level in range(count, -1, -1) if grid.step % 2**level == 0)
        self.by_chunk = next(whole)
        """Levels whose pixels lie in one chunk each."""

    def create(self) -> None:
        for file in self.levels:
            file.create()

    @contextmanager
    def attached(self) -> Iterator[Self]:
        """Handles of their own on files that another process has laid out like these.

        Raises
        ------
        OSError : they are not there, or may not be written
        """
        mine = copy.copy(self)
        with ExitStack() as stack:
            mine.levels = [stack.enter_context(file.attached()) for file in self.levels]
            yield mine

    def add(self, row: int, col: int, block: NDArray[Any]) -> None:
        """Average a chunk (samples, height, width) that begins at this pixel, into every level."""
        for file in self.levels[: self.by_chunk]:
            block, row, col = halve(block), row // 2, col // 2
            file.write_part(row, col, block)

    def finish(self) -> None:
        """Make the levels that no chunk can make by itself, when all chunks were added."""
        for number in range(self.by_chunk, len(self.levels)):
            before, file = self.levels[number - 1], self.levels[number]
            height, width = before.shape
            step = 2 * before.tile
            for top in range(0, height, step):
                rows = before.read_part(top, 0, min(step, height - top), width)
                file.write_part(top // 2, 0, halve(rows))

    def close(self) -> None:
        for file in self.levels:
            file.close()


def halve(block: NDArray[Any]) -> NDArray[Any]:
    """Means of 2×2 pixels, of the valid ones among them: (samples, ⌈height/2⌉, ⌈width/2⌉).

    The last band is the mask. What has no valid pixel is 0, or NaN in floats.
    """
    odd = [side % 2 for side in block.shape[1:]]
    if any(odd):
        block = np.pad(block, ((0, 0), (0, odd[0]), (0, odd[1])))
    whole = block.dtype.kind == "u"
    if whole and block[-1].all():
        return ((_quads(block) + 2) >> 2).astype(block.dtype)
    mask = block[-1] > 0
    count = _quads(mask)
    total = _quads(np.where(mask, block[:-1], np.zeros((), block.dtype)))
    result = np.empty((len(block), *count.shape), dtype=block.dtype)
    some = np.maximum(count, 1)
    if whole:
        result[:-1] = (total + count // 2) // some
    else:
        result[:-1] = np.where(count > 0, total / some, np.nan)
    result[-1] = np.where(count > 0, 255, 0)
    return result


def _quads(values: NDArray[Any]) -> NDArray[Any]:
    """Sums of 2×2 pixels of (…, height, width); those of single bytes in 16 bits."""
    if values.dtype.itemsize == 1:
        # Two neighbours as one number of 16 bits: no steps in memory, which would be three times
        # as slow. Which of the two is the low byte does not matter.
        pairs = np.ascontiguousarray(values).view(np.uint16)
        sums = (pairs & np.uint16(255)) + (pairs >> np.uint16(8))
        total: NDArray[Any] = sums[..., ::2, :] + sums[..., 1::2, :]
        return total
    total = values[..., ::2, ::2].copy()
    for down, across in ((0, 1), (1, 0), (1, 1)):
        total += values[..., down::2, across::2]
    return total
